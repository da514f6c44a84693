//! No record, no release.

use crate::world::{World, account};
use coffer_broker::audit::{ActorKind, Decision, Event};
use std::sync::atomic::Ordering;

fn world() -> World {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "hunter2");
    world
}

/// C10: the record says who, as which member, what, whose, and by which request.
#[tokio::test]
async fn a_release_is_on_record_with_everything_that_the_design_names() {
    let world = world();
    let pod = world.tokens.pod("web");
    let answer = world.ask(&pod, &["team-a/github"]).await;
    let records = world.records().await;
    assert_eq!(records.len(), 1);
    let line = serde_json::to_value(&records[0]).unwrap();
    assert_eq!(
        line,
        serde_json::json!({
            "seq": 1,
            "prevHash": "0".repeat(64),
            "time": "2026-03-01T12:00:00.000Z",
            "event": "release",
            "actor": {
                "kind": "ServiceAccount", "name": "system:serviceaccount:team-a:web", "uid": "sa-web",
                "pod": "team-a/web-0", "node": "n1",
            },
            "member": "web",
            "vault": "team-a/main",
            "connection": "team-a/github",
            "owner": "alice",
            "crossIdentity": true,
            "verb": "use",
            "door": "workload",
            "decision": "allowed",
            "requestID": answer.request.request_id,
            "keyEpoch": 1,
        })
    );
}

/// T4: the volume is gone: nothing is released, nothing is told but 503, readiness goes; it comes back by itself.
#[tokio::test]
async fn without_the_audit_log_nothing_is_released_and_it_comes_back_by_itself() {
    let world = world();
    let (pod, stranger) = (world.tokens.pod("web"), world.tokens.pod("stranger"));
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.values(&pod), ["hunter2"]);
    assert!(world.readiness.is_ready());
    world.sink_is_gone.store(true, Ordering::SeqCst);
    let answer = world.ask(&pod, &["team-a/github"]).await;
    assert_eq!((answer.status, answer.retry_after), (503, Some(1)));
    let denied = world.ask(&stranger, &["team-a/github"]).await;
    assert_eq!(denied.body, answer.body, "who is denied is told no more than who is not");
    assert!(!world.readiness.is_ready());
    assert!(world.readiness.report().contains("[-]audit"));

    world.sink_is_gone.store(false, Ordering::SeqCst);
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.values(&pod), ["hunter2"]);
    assert!(world.readiness.is_ready());
    let records = world.records().await;
    let events: Vec<_> = records.iter().map(|record| (record.entry.event, record.entry.actor.kind)).collect();
    assert_eq!(
        events,
        [
            (Event::Release, ActorKind::ServiceAccount),
            (Event::Recovered, ActorKind::Broker),
            (Event::Release, ActorKind::ServiceAccount),
        ]
    );
}

/// T4: N releases are N records: one for each Connection, also when the answer holds several.
#[tokio::test]
async fn every_connection_of_an_answer_has_a_record_of_its_own() {
    let mut world = world();
    world.connection("slack", &["*"], "two");
    let pod = world.tokens.pod("web");
    for _ in 0..10 {
        assert_eq!(world.ask(&pod, &["team-a/github", "slack"]).await.status, 200);
    }
    let records = world.records().await;
    assert_eq!(records.len(), 20);
    assert!(records.iter().all(|record| record.entry.decision == Decision::Allowed));
    for pair in records.chunks(2) {
        assert_eq!(pair[0].entry.request_id, pair[1].entry.request_id);
    }
}

/// Who is denied over and over cannot fill the disk; what was left out is counted.
#[tokio::test]
async fn a_flood_of_denials_is_bounded_and_counted() {
    let world = world();
    let stranger = world.tokens.pod("stranger");
    for _ in 0..1500 {
        assert_eq!(world.ask(&stranger, &["team-a/github"]).await.status, 404);
        assert_eq!(world.ask_as(&stranger, None, None, &["team-a/github"]).await.status, 401);
    }
    let records = world.records().await;
    assert!(records.len() < 2600, "{}", records.len());
    assert!(records.len() >= 2000);
    let pod = world.tokens.pod("web");
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 200, "others are not affected");
}

/// C27, T13: a record never holds a value, whatever is asked for.
#[tokio::test]
async fn no_value_is_ever_in_the_log() {
    let world = world();
    let pod = world.tokens.pod("web");
    for reference in ["team-a/github", "team-a/absent", "github"] {
        world.ask(&pod, &[reference]).await;
    }
    world.records().await;
    for entry in std::fs::read_dir(world.audit_dir()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for needle in [&b"hunter2"[..], pod.token.as_bytes()] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle));
        }
    }
}
