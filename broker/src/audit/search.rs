//! Finds records in a log that is being written: the newest first, or when each Connection was last released to whom.
//!
//! Blocking, and bounded in time and room: files are read from the newest back, each line by line.

use super::{files, record::timestamp};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    time::Instant,
};

/// By how much records may be out of their order in time: a decision waits for its commit, and clocks are set.
const DISORDER: SignedDuration = SignedDuration::from_mins(1);
/// After so many lines the time that is left is looked at.
const BREATH: u64 = 4096;
/// Members and Connections that are told of, of one log.
const MAX_READS: usize = 100_000;

/// Which Connections somebody may hear of; asked with the `connection` of a record.
pub type Sees = Box<dyn Fn(Option<&str>) -> bool + Send>;

/// Which records.
pub struct Wanted {
    /// Of this vault, `namespace/name`.
    pub vault: String,
    /// Of this member.
    pub member: Option<String>,
    /// About the Connection of this name, in whatever namespace.
    pub connection: Option<String>,
    /// Of this event, as records write it.
    pub event: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of those, what whoever asks may see.
    pub sees: Sees,
}

/// Records, as far as there was room and time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first, each without its newline.
    pub lines: Vec<String>,
    /// There are more, all with smaller numbers than this.
    pub next: Option<u64>,
    /// There was no time to look at all.
    pub truncated: bool,
}

/// When each Connection was last released to each member, as far as there was time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastReads {
    /// Times as records write them, by member and Connection.
    pub times: BTreeMap<(String, String), String>,
    /// There was no time to look at all.
    pub truncated: bool,
}

/// The newest records of `dir` with numbers below `before`, as many as `room` bytes hold.
///
/// # Errors
/// The log cannot be read.
pub fn newest(
    dir: &Path,
    wanted: &Wanted,
    before: Option<u64>,
    room: usize,
    deadline: Instant,
) -> io::Result<Page> {
    let before = before.unwrap_or(u64::MAX);
    let (mut page, mut left) = (Page::default(), room);
    let ended = each_file_back(dir, wanted, deadline, |search| {
        let mut tail = Tail { lines: VecDeque::new(), bytes: 0, room: left, cut: false };
        let ended = search.each(|record, line| {
            if record.seq >= before {
                return false;
            }
            tail.push(record.seq, line);
            true
        })?;
        // Not read to its end, its newest records are missing: the file does not count.
        if ended != Ended::InTime {
            return Ok(ended);
        }
        left -= tail.bytes;
        for (seq, line) in tail.lines.into_iter().rev() {
            page.next = Some(seq);
            page.lines.push(line);
        }
        Ok(if tail.cut { Ended::Full } else { Ended::InTime })
    })?;
    page.truncated = ended == Ended::TooLate;
    if ended == Ended::InTime {
        page.next = None;
    }
    Ok(page)
}

/// When each Connection was last released to each member, by the records that are wanted.
///
/// # Errors
/// The log cannot be read.
pub fn last_reads(dir: &Path, wanted: &Wanted, deadline: Instant) -> io::Result<LastReads> {
    let mut times: BTreeMap<(String, String), String> = BTreeMap::new();
    let ended = each_file_back(dir, wanted, deadline, |search| {
        search.each(|record, _| {
            let released = record.event == "release" && record.decision == "allowed";
            // What is opened by break glass is opened for no member.
            if let Some(read) = record.member.zip(record.connection).filter(|_| released) {
                if times.len() >= MAX_READS && !times.contains_key(&read) {
                    return true;
                }
                let known = times.entry(read).or_default();
                if record.time > *known {
                    *known = record.time;
                }
            }
            true
        })
    })?;
    Ok(LastReads { truncated: ended == Ended::TooLate || times.len() >= MAX_READS, times })
}

/// How a search came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// At the end of what there is.
    InTime,
    /// There is no room for more.
    Full,
    /// Before that.
    TooLate,
}

/// The newest lines that have room.
struct Tail {
    lines: VecDeque<(u64, String)>,
    bytes: usize,
    room: usize,
    cut: bool,
}

impl Tail {
    fn push(&mut self, seq: u64, line: &[u8]) {
        let line = String::from_utf8_lossy(line).into_owned();
        self.bytes += room_of(&line);
        self.lines.push_back((seq, line));
        while self.bytes > self.room {
            let Some((_, gone)) = self.lines.pop_front() else { return };
            self.bytes -= room_of(&gone);
            self.cut = true;
        }
    }
}

/// What a line takes as a JSON string, and the comma after it.
fn room_of(line: &str) -> usize {
    line.len() + line.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + 3
}

/// One file under search.
struct Search<'a> {
    lines: files::Lines,
    wanted: &'a Wanted,
    since: Option<String>,
    until: Option<String>,
    deadline: Instant,
    /// The time in its first record.
    began: Option<String>,
}

impl Search<'_> {
    /// Calls `found` with every record that is wanted, until it says that no further one is.
    fn each(&mut self, mut found: impl FnMut(Found, &[u8]) -> bool) -> io::Result<Ended> {
        let mut number = 0;
        while let Some(line) = self.lines.next_line()? {
            if number % BREATH == 0 && Instant::now() >= self.deadline {
                return Ok(Ended::TooLate);
            }
            number += 1;
            // The broker may be in the middle of writing the last one.
            let record = serde_json::from_slice::<Found>(line.bytes).ok().filter(|_| line.whole);
            let Some(record) = record else { continue };
            self.began.get_or_insert_with(|| record.time.clone());
            let in_time = self.since.as_ref().is_none_or(|since| record.time >= *since)
                && self.until.as_ref().is_none_or(|until| record.time < *until);
            if in_time && self.wanted.matches(&record) && !found(record, line.bytes) {
                break;
            }
        }
        Ok(Ended::InTime)
    }
}

/// Searches file after file from the newest back, as long as `search` comes to an end in time and older ones may hold
/// what is wanted.
fn each_file_back(
    dir: &Path,
    wanted: &Wanted,
    deadline: Instant,
    mut search: impl FnMut(&mut Search<'_>) -> io::Result<Ended>,
) -> io::Result<Ended> {
    let oldest = wanted.since.map(|since| timestamp(since.saturating_sub(DISORDER).unwrap_or(since)));
    for path in files::list(dir)?.iter().rev() {
        let lines = match files::Lines::open(path) {
            Ok(lines) => lines,
            // Deleted since, as configured; so are those before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let (since, until) = (wanted.since.map(timestamp), wanted.until.map(timestamp));
        let mut file = Search { lines, wanted, since, until, deadline, began: None };
        let ended = search(&mut file)?;
        if ended != Ended::InTime {
            return Ok(ended);
        }
        if file.began.zip(oldest.as_ref()).is_some_and(|(began, oldest)| began < *oldest) {
            break;
        }
    }
    Ok(Ended::InTime)
}

/// What of a record a search looks at.
#[derive(Deserialize)]
struct Found {
    seq: u64,
    time: String,
    event: String,
    decision: String,
    #[serde(default)]
    vault: Option<String>,
    #[serde(default)]
    member: Option<String>,
    #[serde(default)]
    connection: Option<String>,
}

impl Wanted {
    fn matches(&self, record: &Found) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let connection = record.connection.as_deref();
        record.vault.as_ref() == Some(&self.vault)
            && is(&self.member, record.member.as_deref())
            && is(&self.connection, connection.map(|found| found.rsplit('/').next().unwrap_or(found)))
            && is(&self.event, Some(&record.event))
            && (self.sees)(connection)
    }
}

#[cfg(test)]
mod tests;
