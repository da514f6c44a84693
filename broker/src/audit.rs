//! The audit log: what is recorded, how it becomes durable before anything is released, and how it is checked.
//!
//! Each replica has its own log: files of JSON lines in one folder, chained by SHA-256. [`AuditLog::record`]
//! returns when the records are on the disk; one fsync covers everything that waited. When the disk is full or
//! gone, nothing is released until it is back (T4).

mod budget;
mod chain;
mod files;
mod log;
mod print;
mod record;
pub mod search;
mod sink;
#[cfg(test)]
mod tests;
mod verify;

pub use budget::DenialBudget;
pub use chain::{BrokenLink, Head};
pub use log::{AuditLog, AuditUnavailable, Observer};
pub use print::print;
pub use record::{Actor, ActorKind, Decision, Entry, Event, Record, timestamp};
pub use sink::{Committed, FileLimits, FileSink, Opened, Sink};
pub use verify::{Problem, Verification, verify};
