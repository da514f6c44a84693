//! Checks a whole log, file after file.

use super::{chain::Head, files};
use std::{fmt, io, path::Path};

/// What a log holds and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files read.
    pub files: usize,
    /// Lines that are records in their place.
    pub records: u64,
    /// The first record's number; above 1 when older files were deleted.
    pub first_seq: Option<u64>,
    /// What the next line's `prevHash` will be: names the state of the whole log in one word.
    pub head_hash: Option<String>,
    /// Every line that does not continue the chain.
    pub problems: Vec<Problem>,
}

/// A line that does not continue the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name.
    pub file: String,
    /// The line's number in its file, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

impl Verification {
    /// Whether every line is a record that continues the chain.
    pub fn intact(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}:{}: {}", problem.file, problem.line, problem.what)?;
        }
        let verdict = if self.intact() { "intact" } else { "BROKEN" };
        write!(f, "chain {verdict}: {} records in {} files", self.records, self.files)?;
        if let Some(first) = self.first_seq {
            write!(f, ", from seq {first}")?;
        }
        if let Some(hash) = &self.head_hash {
            write!(f, ", head {hash}")?;
        }
        match self.problems.len() {
            0 => Ok(()),
            count => write!(f, ", {count} problems"),
        }
    }
}

/// Follows the chain through every file of `dir`. A file that is being written to may end in the middle of a
/// line: only the newest file's last line is forgiven that.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn verify(dir: &Path) -> io::Result<Verification> {
    let all = files::list(dir)?;
    let mut found = Verification { files: all.len(), ..Verification::default() };
    let mut head = match all.first().and_then(|path| files::first_seq(path)) {
        Some(1) => Some(Head::genesis()),
        Some(_) | None => None,
    };
    for (index, path) in all.iter().enumerate() {
        let newest = index + 1 == all.len();
        let mut lines = files::Lines::open(path)?;
        let mut number = 0;
        while let Some(line) = lines.next_line()? {
            number += 1;
            if !line.whole && newest {
                break;
            }
            let expected = head.get_or_insert_with(|| Head::before(line.bytes).unwrap_or_else(Head::genesis));
            found.first_seq.get_or_insert(expected.next_seq);
            match expected.follow(line.bytes) {
                Ok(()) => found.records += 1,
                Err(problem) => {
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    found.problems.push(Problem { file, line: number, what: problem.to_string() });
                    // Go on from what this line says, so that one damage is reported once.
                    if let Some(after) = Head::after(line.bytes) {
                        *expected = after;
                    }
                }
            }
        }
    }
    found.head_hash = head.map(|head| head.prev_hash);
    Ok(found)
}
