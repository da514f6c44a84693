//! Where an answer goes on: the replica, and the place in its log.

use std::collections::BTreeMap;

/// The replica that a page is of.
pub(super) fn replica_of(page: &str) -> &str {
    page.split_once('/').map_or(page, |(replica, _)| replica)
}

/// The place in that replica's log.
pub(super) fn place_of(page: &str) -> &str {
    page.split_once('/').map_or("", |(_, place)| place)
}

/// The page that goes on from a place.
pub(super) fn page(replica: &str, place: &str) -> String {
    format!("{replica}/{place}")
}

/// Of reads by member and Connection, those after `after` that have room; and the last of them, if there are more.
pub(super) fn part(
    all: BTreeMap<(String, String), String>,
    after: Option<&str>,
    room: usize,
) -> (BTreeMap<String, BTreeMap<String, String>>, Option<String>) {
    let (mut part, mut left) = (BTreeMap::<String, BTreeMap<String, String>>::new(), room);
    let after = after.and_then(|place| place.split_once('/'));
    let mut last = None;
    for ((member, connection), time) in all {
        if after.is_some_and(|after| (member.as_str(), connection.as_str()) <= after) {
            continue;
        }
        // Three quoted texts, braces, colons and commas. None has characters that JSON escapes.
        let takes = member.len() + connection.len() + time.len() + 12;
        let Some(rest) = left.checked_sub(takes) else { return (part, last) };
        left = rest;
        last = Some(format!("{member}/{connection}"));
        part.entry(member).or_default().insert(connection, time);
    }
    (part, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_one_replica_s_and_says_where_it_goes_on() {
        let next = page("coffer-broker-1", "bob/team-a/github");
        assert_eq!((replica_of(&next), place_of(&next)), ("coffer-broker-1", "bob/team-a/github"));
        assert_eq!((replica_of("7"), place_of("7")), ("7", ""));
    }

    #[test]
    fn parts_follow_on_each_other_and_are_all_of_it() {
        let read = |n: usize| ((format!("m{}", n % 3), format!("team-a/c{n:02}")), format!("12:00:{n:02}Z"));
        let all: BTreeMap<_, _> = (0..50).map(read).collect();
        let (mut after, mut seen): (Option<String>, BTreeMap<_, _>) = (None, BTreeMap::new());
        loop {
            let (found, next) = part(all.clone(), after.as_deref(), 200);
            let text = serde_json::to_string(&found).expect("texts are JSON");
            assert!(text.len() <= 202 && !found.is_empty(), "{text}");
            for (member, reads) in found {
                for (connection, time) in reads {
                    assert!(seen.insert((member.clone(), connection), time).is_none(), "nothing twice");
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }
}
