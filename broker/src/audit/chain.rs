//! The hash chain: each line names the SHA-256 of the line before it.

use super::record::{Entry, Record};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Longest line that is ever read back, in bytes; real ones are under 2 KiB.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// Where a chain stands: what the next line must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the next record.
    pub next_seq: u64,
    /// What its `prevHash` must be.
    pub prev_hash: String,
}

impl Head {
    /// The head of an empty log.
    pub fn genesis() -> Self {
        Self { next_seq: 1, prev_hash: "0".repeat(64) }
    }

    /// Puts `entry` at the end of the chain: appends its line, newline included, to `out` and moves the head on.
    pub fn append(&mut self, entry: Entry, out: &mut Vec<u8>) {
        let start = out.len();
        let record = Record { seq: self.next_seq, prev_hash: std::mem::take(&mut self.prev_hash), entry };
        serde_json::to_writer(&mut *out, &record).expect("strings and numbers always serialize into memory");
        self.prev_hash = hash(&out[start..]);
        self.next_seq = self.next_seq.saturating_add(1);
        out.push(b'\n');
    }

    /// Checks that `line` (without newline) is the next one and moves the head on.
    ///
    /// # Errors
    /// What is wrong with the line; the head stays.
    pub fn follow(&mut self, line: &[u8]) -> Result<(), BrokenLink> {
        let place = place(line).ok_or(BrokenLink::NotARecord)?;
        if place.seq != self.next_seq {
            return Err(BrokenLink::WrongSeq { expected: self.next_seq, found: place.seq });
        }
        if place.prev_hash != self.prev_hash {
            return Err(BrokenLink::WrongHash { seq: place.seq });
        }
        *self = Self { next_seq: place.seq.saturating_add(1), prev_hash: hash(line) };
        Ok(())
    }

    /// The head after `line`, trusting what it says of its own place; `None` when it is no record.
    pub fn after(line: &[u8]) -> Option<Self> {
        let next_seq = place(line)?.seq.checked_add(1)?;
        Some(Self { next_seq, prev_hash: hash(line) })
    }

    /// The head before `line`, trusting what it says of its own place; `None` when it is no record.
    pub fn before(line: &[u8]) -> Option<Self> {
        let place = place(line)?;
        Some(Self { next_seq: place.seq, prev_hash: place.prev_hash })
    }
}

/// How a line fails to continue the chain.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum BrokenLink {
    /// The line is no record.
    #[error("is not a record")]
    NotARecord,
    /// Records are missing, repeated or out of order.
    #[error("has seq {found} where {expected} was due")]
    WrongSeq {
        /// The number that was due.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// The line before was changed, or this line was.
    #[error("with seq {seq} does not carry the hash of the line before it")]
    WrongHash {
        /// The number of the record whose `prevHash` is wrong.
        seq: u64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    seq: u64,
    prev_hash: String,
}

fn place(line: &[u8]) -> Option<Place> {
    // The whole line is parsed, not only these two fields: a torn one has no closing brace.
    serde_json::from_slice::<Place>(line).ok()
}

fn hash(line: &[u8]) -> String {
    Sha256::digest(line).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        hex
    })
}
