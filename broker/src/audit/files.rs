//! The log's folder: which files there are, in which order, and how one is read line by line.

use super::chain::{Head, MAX_LINE_BYTES};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";

/// The file whose first record is `first_seq`: zero-padded, so that names sort as numbers do.
pub(super) fn path_of(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{first_seq:020}{SUFFIX}"))
}

/// The log's files, oldest first. Others in the folder are not the log's and are left alone.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if first_seq(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The number in a file's name; `None` when it is not one of the log's.
pub(super) fn first_seq(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Reads a file line by line without ever holding more than one line.
pub(super) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
}

/// One line, as far as it is there.
pub(super) struct Line<'a> {
    /// Without its newline; cut at [`MAX_LINE_BYTES`], which no record reaches.
    pub(super) bytes: &'a [u8],
    /// How many bytes of the file it takes, newline included.
    pub(super) length: u64,
    /// Whether the newline is there.
    pub(super) whole: bool,
}

impl Lines {
    /// Opens `path` at its beginning.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, File::open(path)?), line: Vec::new() })
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut length = 0;
        let whole = loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                break false;
            }
            let newline = chunk.iter().position(|&b| b == b'\n');
            let content = &chunk[..newline.unwrap_or(chunk.len())];
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&content[..content.len().min(room)]);
            let taken = content.len() + usize::from(newline.is_some());
            self.reader.consume(taken);
            length += taken as u64;
            if newline.is_some() {
                break true;
            }
        };
        Ok((length > 0).then_some(Line { bytes: &self.line, length, whole }))
    }
}

/// The last line of a file that ends with a newline; `None` when it is empty or does not.
///
/// # Errors
/// The file cannot be read.
pub(super) fn last_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let tail = length.min(MAX_LINE_BYTES as u64 + 2);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Ok(None);
    }
    let start = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    Ok(Some(bytes.split_off(start)))
}

/// What a file holds, seen as the continuation of a chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the chain stands after the last line that continues it.
    pub(super) head: Head,
    /// Where in the file that line ends, in bytes.
    pub(super) valid_bytes: u64,
    /// The file's whole length in bytes.
    pub(super) total_bytes: u64,
    /// The head after the last record beyond the first broken line. Then that line is no torn end: something
    /// in the middle was damaged, and the file is evidence.
    pub(super) beyond: Option<Head>,
}

/// Follows the chain through `path`, from `start`, or from what the first line says of its own place.
///
/// # Errors
/// The file cannot be read.
pub(super) fn scan(path: &Path, start: Option<Head>) -> io::Result<Scan> {
    let mut lines = Lines::open(path)?;
    let (mut head, mut valid_bytes, mut total_bytes, mut beyond, mut broken) = (start, 0, 0, None, false);
    while let Some(line) = lines.next_line()? {
        total_bytes += line.length;
        if broken {
            beyond = line.whole.then(|| Head::after(line.bytes)).flatten().or(beyond);
            continue;
        }
        // A line that is complete but for its newline is torn all the same: the next would be glued to it.
        let expected = head.get_or_insert_with(|| Head::before(line.bytes).unwrap_or_else(Head::genesis));
        if line.whole && expected.follow(line.bytes).is_ok() {
            valid_bytes = total_bytes;
        } else {
            broken = true;
            beyond = line.whole.then(|| Head::after(line.bytes)).flatten();
        }
    }
    Ok(Scan { head: head.unwrap_or_else(Head::genesis), valid_bytes, total_bytes, beyond })
}
