//! `coffer-broker audit`, as `kubectl exec` runs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use coffer_broker::audit::{Actor, Entry, Event, FileLimits, FileSink, Sink as _};
use std::{path::Path, process::Command};

fn write(dir: &Path, count: usize) {
    let mut sink = FileSink::new(dir.to_owned(), FileLimits { file_bytes: 1 << 20, keep_files: 0 });
    let mut head = sink.open().unwrap().head;
    for index in 0..count {
        let (first_seq, mut lines) = (head.next_seq, Vec::new());
        let time = String::from("2026-01-02T03:04:05.000Z");
        let entry =
            Entry::about_itself(Event::Recovered, Actor::broker("b"), time, format!("record {index}"));
        head.append(entry, &mut lines);
        sink.commit(&lines, first_seq).unwrap();
    }
}

/// Exit code, standard output by lines, standard error.
fn audit(dir: &Path, arguments: &[&str]) -> (i32, Vec<String>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer-broker"));
    let output = command.arg("audit").arg("--dir").arg(dir).args(arguments).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (output.status.code().unwrap(), lines, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_last_records_are_printed_one_json_line_each() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 5);
    let (code, lines, _) = audit(dir.path(), &["--last", "2"]);
    assert_eq!((code, lines.len()), (0, 2));
    let reason = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["reason"].clone();
    assert_eq!(lines.iter().map(reason).collect::<Vec<_>>(), ["record 3", "record 4"]);
    assert_eq!(audit(dir.path(), &[]).1.len(), 5);
}

#[test]
fn verify_ends_with_a_summary_and_fails_on_a_broken_chain() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 3);
    let (code, lines, _) = audit(dir.path(), &["--last", "1", "--verify"]);
    assert_eq!((code, lines.len()), (0, 2));
    assert!(lines[1].starts_with("chain intact: 3 records in 1 files, from seq 1, head "), "{}", lines[1]);

    let file = dir.path().join("audit-00000000000000000001.jsonl");
    let changed = std::fs::read_to_string(&file).unwrap().replace("record 1", "record 7");
    std::fs::write(&file, changed).unwrap();
    let (code, lines, _) = audit(dir.path(), &["--last", "0", "--verify"]);
    assert_eq!(code, 1);
    assert!(lines.last().unwrap().starts_with("chain BROKEN: 2 records in 1 files"), "{lines:?}");
    assert!(lines[0].contains("00001.jsonl:3: with seq 3 does not carry the hash"), "{lines:?}");
}

#[test]
fn a_log_that_is_not_there_is_named() {
    let (code, lines, error) = audit(Path::new("/nonexistent/audit"), &["--verify"]);
    assert_eq!((code, lines.len()), (1, 0));
    assert!(error.contains("/nonexistent/audit"), "{error}");
}
