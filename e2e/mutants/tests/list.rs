//! The list names what is there, and all of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use coffer_mutants::{
    LIST, Then,
    calls::{self, Call},
    parse, read,
};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// T32: `make mutants` is only as good as its list.
#[test]
fn every_line_of_the_list_is_in_its_file_once_and_is_replaced_by_another() {
    for entry in parse(LIST).unwrap() {
        let text = read(&root(), &entry.file).unwrap();
        let with = match &entry.then {
            Then::Fails(with) => with.clone(),
            Then::Exempt(because) => {
                assert!(because.len() > 20, "{}: why?", entry.door);
                String::new()
            }
        };
        assert_ne!(entry.apply(&text, &with).unwrap(), text, "{}", entry.door);
    }
}

/// T32: a door that asks for a decision in a new place has a test for it, or says why not.
#[test]
fn every_call_of_a_decision_in_a_door_is_on_the_list() {
    let entries = parse(LIST).unwrap();
    let calls = calls::all(&root()).unwrap();
    assert!(calls.len() > 20, "only {} were found", calls.len());
    let known = |call: &Call| entries.iter().any(|entry| entry.file == call.file && entry.find == call.line);
    let missing: Vec<_> = calls.into_iter().filter(|call| !known(call)).collect();
    assert!(missing.is_empty(), "e2e/mutants/doors.txt lacks {missing:#?}");
}

#[test]
fn a_block_that_is_none_is_told() {
    let block = "door: a\nfile: b\nfind: c\n";
    assert!(parse(&format!("{block}with: d\n")).is_ok() && parse(&format!("{block}because: d\n")).is_ok());
    for bad in [block, "file: b\nfind: c\nwith: d\n", "door: a\ndoor: b\nfile: b\nfind: c\nwith: d\n"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!(parse(&format!("{block}with: d\nbecause: e\n")).is_err());
}
