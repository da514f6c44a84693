//! Prints a log for people and pipes.

use super::files;
use std::{
    collections::VecDeque,
    io::{self, Write},
    path::Path,
};

/// Writes the records of `dir` to `out`, oldest first, one JSON line each: all of them, or the last `last`.
///
/// # Errors
/// The log cannot be read or `out` cannot be written.
pub fn print(dir: &Path, last: Option<usize>, out: &mut impl Write) -> io::Result<()> {
    let all = files::list(dir)?;
    let Some(last) = last else {
        return all.iter().try_for_each(|path| each_line(path, |line| writeln(out, line)));
    };
    // From the newest file back, only as far as needed.
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    for path in all.iter().rev() {
        let missing = last - kept.len();
        if missing == 0 {
            break;
        }
        let mut tail = VecDeque::with_capacity(missing.min(1024));
        each_line(path, |line| {
            if tail.len() == missing {
                tail.pop_front();
            }
            tail.push_back(line.to_vec());
            Ok(())
        })?;
        tail.append(&mut kept);
        kept = tail;
    }
    kept.iter().try_for_each(|line| writeln(out, line))
}

fn each_line(path: &Path, mut f: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut lines = files::Lines::open(path)?;
    while let Some(line) = lines.next_line()? {
        // The broker may be in the middle of writing the last one.
        if line.whole {
            f(line.bytes)?;
        }
    }
    Ok(())
}

fn writeln(out: &mut impl Write, line: &[u8]) -> io::Result<()> {
    out.write_all(line)?;
    out.write_all(b"\n")
}
