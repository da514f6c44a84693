//! Answers open for one request, one requester, one key.

use crate::world::{Answer, Pod, World, account, rng};
use coffer_broker_api::{DOOR, Released};
use coffer_keys::answer::{AnswerContext, EphemeralKey};
use sha2::{Digest as _, Sha256};

async fn answered() -> (Answer, Pod) {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "hunter2");
    let pod = world.tokens.pod("web");
    let answer = world.ask(&pod, &["team-a/github"]).await;
    (answer, pod)
}

/// T2: another key, or another value in any field of the context, and the answer stays shut.
#[tokio::test]
async fn a_sealed_answer_opens_only_with_its_request_s_key_and_in_its_context() {
    let (answer, pod) = answered().await;
    assert_eq!(answer.values(&pod), ["hunter2"]);
    let sealed = answer.sealed();
    assert!(!answer.body.windows(7).any(|window| window == b"hunter2"));
    let digest: [u8; 32] = Sha256::digest(answer.request.canonical()).into();
    let mut other_request = answer.request.clone();
    other_request.connections = vec!["team-a/gitlab".into()];
    let other_digest: [u8; 32] = Sha256::digest(other_request.canonical()).into();
    let right = AnswerContext {
        door: DOOR,
        request_id: &answer.request.request_id,
        requester_username: &pod.username,
        requester_uid: &pod.account_uid,
        request_sha256: &digest,
    };
    assert!(answer.key.open(&right, &sealed).is_ok());
    assert!(EphemeralKey::generate(&mut rng()).open(&right, &sealed).is_err());
    for wrong in [
        AnswerContext { door: "request", ..right },
        AnswerContext { request_id: "00000000000000000000000000000000", ..right },
        AnswerContext { requester_username: "system:serviceaccount:team-a:intern", ..right },
        AnswerContext { requester_uid: "sa-intern", ..right },
        AnswerContext { request_sha256: &other_digest, ..right },
    ] {
        assert!(answer.key.open(&wrong, &sealed).is_err(), "{wrong:?}");
    }
}

/// T33: two members at once, many times; nobody ever holds the other's value.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_members_in_parallel_never_mix() {
    let mut world = World::new();
    for name in ["web", "api"] {
        world.member(name, account(name), "member");
        world.connection(&format!("of-{name}"), &[name], &format!("value of {name}"));
    }
    let world = std::sync::Arc::new(world);
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..100 {
        for (name, other) in [("web", "api"), ("api", "web")] {
            let world = world.clone();
            tasks.spawn(async move {
                let pod = world.tokens.pod(name);
                let own = format!("team-a/of-{name}");
                let foreign = format!("team-a/of-{other}");
                let answer = world.ask(&pod, &[&own]).await;
                assert_eq!(answer.values(&pod), [format!("value of {name}")], "round {round}");
                let denied = world.ask(&pod, &[&own, &foreign]).await;
                assert_eq!(denied.status, 403);
                assert!(denied.error().message.contains(&format!("to member '{name}'. Allowed: {other}")));
            });
        }
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let records = world.records().await;
    assert_eq!(records.len(), 400);
    for record in &records {
        let member = record.entry.member.as_deref().unwrap();
        assert_eq!(record.entry.actor.name, Some(format!("system:serviceaccount:team-a:{member}")));
    }
}

#[tokio::test]
async fn an_opened_answer_holds_everything_that_the_node_writes() {
    let (answer, pod) = answered().await;
    let released: Released = answer.open(&pod);
    assert_eq!(released.connections.len(), 1);
    assert_eq!(released.size(), 7);
}
