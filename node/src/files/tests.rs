#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::{
    os::unix::fs::MetadataExt as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn payload(folders: &[(&str, &[(&str, &str)])]) -> Payload {
    let folders = folders.iter().map(|(alias, items)| {
        let items =
            items.iter().map(|(name, value)| ((*name).to_owned(), ItemValue::new(value.as_bytes().to_vec())));
        let folder = Folder { connection: format!("team-a/{alias}"), version: 1, items: items.collect() };
        ((*alias).to_owned(), folder)
    });
    Payload { folders: folders.collect() }
}

fn now() -> Timestamp {
    "2026-11-23T20:56:40.123456789Z".parse().unwrap()
}

const ANYBODY: Access = Access { group: None };

fn entries(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_volume_has_a_folder_per_alias_behind_the_kubelet_s_kind_of_link() {
    let root = tempfile::tempdir().unwrap();
    let files = Files::new(root.path(), ANYBODY);
    assert!(files.read().unwrap().is_none());
    let content = payload(&[("github", &[("token", "t"), ("user", "u")]), ("slack", &[("hook", "h")])]);
    assert_eq!(files.replace(&content, now()).unwrap(), Replaced::Swapped);
    assert_eq!(entries(root.path()), ["..2026_11_23_20_56_40.123456789", "..data", "github", "slack"]);
    assert_eq!(fs::read_link(root.path().join("github")).unwrap(), Path::new("..data/github"));
    assert_eq!(fs::read(root.path().join("github/token")).unwrap(), b"t");
    assert!(files.read().unwrap() == Some(content));
}

#[test]
fn the_same_content_again_touches_nothing() {
    let root = tempfile::tempdir().unwrap();
    let files = Files::new(root.path(), ANYBODY);
    let content = payload(&[("github", &[("token", "t")])]);
    files.replace(&content, now()).unwrap();
    let before = fs::metadata(root.path().join("github/token")).unwrap().ino();
    assert_eq!(files.replace(&content, now()).unwrap(), Replaced::Unchanged);
    assert_eq!(fs::metadata(root.path().join("github/token")).unwrap().ino(), before);
}

#[test]
fn a_change_takes_new_folders_in_and_old_ones_out_and_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let files = Files::new(root.path(), ANYBODY);
    files
        .replace(&payload(&[("old", &[("k", "1")]), ("both", &[("k", "1"), ("gone", "1")])]), now())
        .unwrap();
    let next = payload(&[("new", &[("k", "2")]), ("both", &[("k", "2")])]);
    assert_eq!(files.replace(&next, now()).unwrap(), Replaced::Swapped);
    assert_eq!(entries(root.path()), ["..2026_11_23_20_56_40.123456789.1", "..data", "both", "new"]);
    assert_eq!(entries(&root.path().join("both")), ["k"]);
    assert_eq!(fs::read(root.path().join("both/k")).unwrap(), b"2");
    files.replace(&Payload::default(), now()).unwrap();
    assert_eq!(entries(root.path()), ["..2026_11_23_20_56_40.123456789", "..data"], "wiped");
}

#[test]
fn modes_are_what_the_pod_needs_whatever_the_umask() {
    let root = tempfile::tempdir().unwrap();
    let own = fs::metadata(root.path()).unwrap().gid();
    for access in [ANYBODY, Access { group: Some(own) }] {
        Files::new(root.path(), access).replace(&payload(&[]), now()).unwrap();
        Files::new(root.path(), access).replace(&payload(&[("github", &[("token", "t")])]), now()).unwrap();
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("github/token"), access.file_mode());
        assert_eq!(mode("github"), access.folder_mode());
        assert_eq!(mode("..data"), access.folder_mode());
        assert_eq!(mode("..data/..volume.json"), 0o400);
    }
}

/// Every state in which a killed driver may have left the volume leads to the same end.
#[test]
fn an_interrupted_write_is_finished_by_the_next_one() {
    let content = payload(&[("github", &[("token", "2")])]);
    let interruptions: [fn(&Path); 4] = [
        |root| fs::create_dir_all(root.join("..2026_11_23_20_56_40.123456789/github")).unwrap(),
        |root| symlink("..2000_01_01", root.join("..data_tmp")).unwrap(),
        |root| fs::remove_file(root.join("github")).unwrap(),
        |root| symlink("..data/left", root.join("left")).unwrap(),
    ];
    for interrupt in interruptions {
        for before in [payload(&[("github", &[("token", "1")])]), content.clone()] {
            let root = tempfile::tempdir().unwrap();
            let files = Files::new(root.path(), ANYBODY);
            files.replace(&before, "2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
            interrupt(root.path());
            files.replace(&content, now()).unwrap();
            assert_eq!(fs::read(root.path().join("github/token")).unwrap(), b"2");
            assert_eq!(entries(root.path()).len(), 3, "{:?}", entries(root.path()));
        }
    }
}

#[test]
fn a_damaged_volume_is_written_anew() {
    let root = tempfile::tempdir().unwrap();
    let files = Files::new(root.path(), ANYBODY);
    let content = payload(&[("github", &[("token", "1")])]);
    files.replace(&content, now()).unwrap();
    let index = root.path().join("..data").join(INDEX);
    fs::remove_file(&index).unwrap();
    fs::write(&index, "{").unwrap();
    assert!(files.read().is_err());
    assert_eq!(files.replace(&content, now()).unwrap(), Replaced::Swapped);
    assert!(files.read().unwrap() == Some(content));
}

#[test]
fn a_name_that_could_leave_its_folder_is_not_written() {
    let root = tempfile::tempdir().unwrap();
    let files = Files::new(root.path(), ANYBODY);
    for content in [payload(&[("../x", &[])]), payload(&[("a", &[("../../x", "v")])])] {
        assert_eq!(files.replace(&content, now()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(files.read().unwrap().is_none());
}

#[test]
fn readers_see_the_old_files_or_the_new_ones_never_some_of_each() {
    let root = tempfile::tempdir().unwrap();
    let files = Files::new(root.path(), ANYBODY);
    let generations = ["a", "b"].map(|value| payload(&[("github", &[("token", value), ("user", value)])]));
    files.replace(&generations[0], now()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut complete = 0;
            while !done.load(Ordering::Relaxed) || complete == 0 {
                // One look at the link, as `cd /coffer/github` does; then both files.
                let seen = root.path().join(fs::read_link(root.path().join(DATA)).unwrap()).join("github");
                let (token, user) = (fs::read(seen.join("token")), fs::read(seen.join("user")));
                // A generation may be removed while it is read: gone is not half.
                if let (Ok(token), Ok(user)) = (token, user) {
                    assert_eq!(token, user);
                    assert!(!token.is_empty());
                    complete += 1;
                }
                fs::read(root.path().join("github/token")).map(|token| assert_eq!(token.len(), 1)).ok();
            }
        });
        for turn in 1..300 {
            // As by a clock that goes on: the name of a generation that is gone is not given again.
            let later = now() + SignedDuration::from_nanos(turn);
            files.replace(&generations[usize::from(turn % 2 == 1)], later).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_was_there_before_the_volume_holds_what_it_was_told(
        contents in proptest::collection::vec(
            proptest::collection::btree_map("[a-c]", proptest::collection::btree_map("[a-c.]{2}x", ".{0,3}", 0..3), 0..3),
            1..4,
        )
    ) {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(root.path(), ANYBODY);
        for content in contents {
            let folders: Vec<(&str, Vec<(&str, &str)>)> = content.iter().map(|(alias, items)| {
                (alias.as_str(), items.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
            }).collect();
            let folders: Vec<(&str, &[(&str, &str)])> =
                folders.iter().map(|(alias, items)| (*alias, items.as_slice())).collect();
            let content = payload(&folders);
            files.replace(&content, now()).unwrap();
            prop_assert!(files.read().unwrap() == Some(content.clone()));
            prop_assert_eq!(entries(root.path()).len(), content.folders.len() + 2);
        }
    }
}
