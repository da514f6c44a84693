#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn servers() -> Vec<Server> {
    Server::all("coffer-system")
}

/// What lies in the Secrets after everything was made at `at`.
fn made(at: Timestamp) -> (Issued, String, Vec<(Server, Option<ServingFacts>)>) {
    let authority = issue_authority(at).unwrap();
    let bundle = bundle_pem(Some(&authority.certificate), &[]);
    let serving = servers().into_iter().map(|server| {
        let issued = issue_serving(&server, &authority, at).unwrap();
        let facts = read_serving(issued.certificate.as_bytes(), issued.key.as_bytes());
        (server, facts)
    });
    let serving = serving.collect();
    (authority, bundle, serving)
}

fn facts(authority: &Issued, bundle: &str) -> AuthorityFacts {
    read_authority(authority.certificate.as_bytes(), authority.key.as_bytes(), bundle.as_bytes()).unwrap()
}

#[test]
fn at_first_start_everything_is_made() {
    let nothing: Vec<_> = servers().into_iter().map(|server| (server, None)).collect();
    let plan = plan(None, &nothing, now());
    assert!(plan.new_authority);
    assert_eq!(plan.issue, servers());
    assert!(plan.bundle.is_empty());
}

#[test]
fn what_was_made_is_left_alone_until_a_month_before_its_end() {
    let (authority, bundle, serving) = made(now());
    let authority = facts(&authority, &bundle);
    let fresh = plan(Some(&authority), &serving, now());
    assert!(!fresh.new_authority && fresh.issue.is_empty(), "{fresh:?}");
    assert_eq!(fresh.next, now() + SERVING_LIFETIME - SERVING_RENEW_BEFORE);
    assert_eq!(bundle_pem(None, &fresh.bundle), bundle);
    let late = plan(Some(&authority), &serving, fresh.next);
    assert_eq!(late.issue, servers());
    assert!(!late.new_authority);
}

#[test]
fn a_new_authority_is_trusted_before_it_signs_and_the_old_one_stays_trusted() {
    let (authority, bundle, _) = made(now());
    let old = facts(&authority, &bundle);
    let later = old.not_after - AUTHORITY_RENEW_BEFORE;
    let serving = recent(&authority, later);
    let turn = plan(Some(&old), &serving, later);
    assert!(turn.new_authority && turn.issue.is_empty(), "{turn:?}");

    let new = issue_authority(later).unwrap();
    let bundle = bundle_pem(Some(&new.certificate), &turn.bundle);
    let new = facts(&new, &bundle);
    assert_eq!(new.trusted.len(), 2);
    let before = plan(Some(&new), &serving, later + SignedDuration::from_mins(1));
    assert!(before.issue.is_empty() && !before.new_authority);
    let after = plan(Some(&new), &serving, before.next);
    assert_eq!(after.issue, servers());
    assert_eq!(after.bundle.len(), 2);
}

fn recent(authority: &Issued, at: Timestamp) -> Vec<(Server, Option<ServingFacts>)> {
    let serving = servers().into_iter().map(|server| {
        let issued = issue_serving(&server, authority, at).unwrap();
        let facts = read_serving(issued.certificate.as_bytes(), issued.key.as_bytes());
        (server, facts)
    });
    serving.collect()
}

#[test]
fn other_names_a_foreign_authority_and_a_clock_that_was_wrong_each_make_a_new_certificate() {
    let (authority, bundle, serving) = made(now());
    let authority = facts(&authority, &bundle);
    let mut renamed = serving.clone();
    renamed[0].0.names.insert(String::from("more.example"));
    assert_eq!(plan(Some(&authority), &renamed, now()).issue.len(), 1);

    let foreign = recent(&issue_authority(now()).unwrap(), now());
    assert_eq!(plan(Some(&authority), &foreign, now()).issue.len(), 2);

    let early = now() - SignedDuration::from_hours(24);
    let turned_back = plan(Some(&authority), &serving, early);
    assert!(turned_back.new_authority, "an authority that has not begun signs nothing");
    assert_eq!(turned_back.issue.len(), 2);
}

#[test]
fn a_key_that_is_not_the_certificate_s_counts_as_absent() {
    let (a, b) = (issue_authority(now()).unwrap(), issue_authority(now()).unwrap());
    assert!(read_authority(a.certificate.as_bytes(), b.key.as_bytes(), b"").is_none());
    assert!(read_serving(a.certificate.as_bytes(), b"no key").is_none());
    assert!(read_authority(b"", b"", b"").is_none());
}

#[test]
fn the_names_are_those_that_callers_use() {
    let all = servers();
    assert!(all[0].names.contains("coffer-webhook.coffer-system.svc"));
    assert!(all[1].names.contains("coffer-broker.coffer-system.svc"));
    assert!(all[1].names.contains("*.coffer-broker-peers.coffer-system.svc.cluster.local"));
}
