#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use super::super::{Actor, Decision, Entry, Event, Head};
use super::*;
use std::{fs, time::Duration};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn release(second: i64, member: &str, connection: &str, decision: Decision) -> Entry {
    Entry {
        member: Some(member.into()),
        vault: Some("team-a/main".into()),
        connection: Some(format!("team-a/{connection}")),
        decision,
        reason: None,
        ..Entry::about_itself(Event::Release, Actor::ANONYMOUS, timestamp(at(second)), String::new())
    }
}

/// A log of files with these records each.
fn log(files: &[Vec<Entry>]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut head = Head::genesis();
    for entries in files {
        let (path, mut lines) = (files::path_of(dir.path(), head.next_seq), Vec::new());
        entries.iter().for_each(|entry| head.append(entry.clone(), &mut lines));
        fs::write(path, lines).unwrap();
    }
    dir
}

fn wanted(member: Option<&str>) -> Wanted {
    Wanted {
        vault: "team-a/main".into(),
        member: member.map(str::to_owned),
        connection: None,
        event: None,
        since: None,
        until: None,
        sees: Box::new(|_| true),
    }
}

fn seqs(page: &Page) -> Vec<u64> {
    let seq = |line: &String| serde_json::from_str::<Found>(line).unwrap().seq;
    page.lines.iter().map(seq).collect()
}

fn three_files() -> tempfile::TempDir {
    use Decision::{Allowed, Denied};
    let mut elsewhere = release(11, "bob", "github", Allowed);
    elsewhere.vault = Some("team-b/main".into());
    log(&[
        vec![release(0, "bob", "github", Allowed), release(1, "web", "github", Allowed)],
        vec![release(10, "bob", "aws", Allowed), elsewhere],
        vec![
            release(120, "bob", "github", Allowed),
            release(121, "bob", "slack", Denied),
            release(122, "web", "aws", Allowed),
        ],
    ])
}

/// C10: who read what, over all files, and not what was denied or belongs to another vault.
#[test]
fn the_last_release_of_each_connection_to_each_member_is_found_in_whatever_file_it_is() {
    let dir = three_files();
    let found = last_reads(dir.path(), &wanted(Some("bob")), later()).unwrap();
    let read = |member: &str, connection: &str| (member.to_owned(), format!("team-a/{connection}"));
    let times = |all: &[((String, String), i64)]| -> BTreeMap<_, _> {
        all.iter().map(|(read, second)| (read.clone(), timestamp(at(*second)))).collect()
    };
    let of_bob = [(read("bob", "aws"), 10), (read("bob", "github"), 120)];
    assert_eq!(found, LastReads { times: times(&of_bob), truncated: false });
    let everybody = last_reads(dir.path(), &wanted(None), later()).unwrap();
    let of_web = [(read("web", "aws"), 122), (read("web", "github"), 1)];
    assert_eq!(everybody.times, times(&[of_bob, of_web].concat()));
}

#[test]
fn times_are_from_and_before_to_the_second() {
    let dir = three_files();
    let since = |second| Wanted { since: Some(at(second)), ..wanted(Some("bob")) };
    let found = |wanted: &Wanted| seqs(&newest(dir.path(), wanted, None, 10_000, later()).unwrap());
    assert_eq!(found(&wanted(Some("bob"))), [6, 5, 3, 1]);
    assert_eq!(found(&since(10)), [6, 5, 3]);
    assert_eq!(found(&since(11)), [6, 5]);
    assert_eq!(found(&Wanted { until: Some(at(120)), ..since(10) }), [3]);
    assert_eq!(found(&Wanted { until: Some(at(121)), ..since(120) }), [5]);
}

#[test]
fn records_are_found_by_member_connection_and_event_and_by_what_may_be_seen() {
    let dir = three_files();
    let found = |wanted: &Wanted| seqs(&newest(dir.path(), wanted, None, 10_000, later()).unwrap());
    let all = || wanted(None);
    assert_eq!(found(&Wanted { connection: Some("aws".into()), ..all() }), [7, 3]);
    assert_eq!(found(&Wanted { event: Some("release".into()), ..all() }), [7, 6, 5, 3, 2, 1]);
    assert!(found(&Wanted { event: Some("audit.query".into()), ..all() }).is_empty());
    let sees: Sees = Box::new(|connection| connection == Some("team-a/slack"));
    assert_eq!(found(&Wanted { sees, ..all() }), [6]);
}

#[test]
fn pages_follow_on_each_other_without_gaps_or_repetitions() {
    let dir = three_files();
    let whole = newest(dir.path(), &wanted(None), None, 10_000, later()).unwrap();
    assert_eq!((seqs(&whole), whole.next), (vec![7, 6, 5, 3, 2, 1], None));
    let room = room_of(&whole.lines[0]) * 2 + 20;
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = newest(dir.path(), &wanted(None), before, room, later()).unwrap();
        assert!((1..=2).contains(&page.lines.len()), "{page:?}");
        seen.extend(seqs(&page));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, seqs(&whole));
}

/// T4: a line that is being written, or that a crash has torn, is none yet.
#[test]
fn a_torn_last_line_is_no_record() {
    let dir = three_files();
    let newest_file = files::list(dir.path()).unwrap().pop().unwrap();
    let bytes = fs::read(&newest_file).unwrap();
    for torn in [1, 20] {
        fs::write(&newest_file, &bytes[..bytes.len() - torn]).unwrap();
        let page = newest(dir.path(), &wanted(None), None, 10_000, later()).unwrap();
        assert_eq!(seqs(&page), [6, 5, 3, 2, 1], "without its last {torn} bytes");
    }
}

#[test]
fn what_there_is_no_time_for_is_told_of() {
    let dir = three_files();
    let past = Instant::now();
    assert!(newest(dir.path(), &wanted(None), None, 10_000, past).unwrap().truncated);
    assert!(last_reads(dir.path(), &wanted(None), past).unwrap().truncated);
}

#[test]
fn an_empty_log_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(newest(dir.path(), &wanted(None), None, 100, later()).unwrap(), Page::default());
}
