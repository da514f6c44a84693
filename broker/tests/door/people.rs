//! People: Release objects, answered once, to whoever admission says asked.

use crate::{
    hall::{Hall, all_of, asking},
    world::{World, account, group, user},
};
use coffer_broker::audit::{ActorKind, Decision, Record};
use coffer_broker_api::people::{Answer, DOOR, Delivered};
use coffer_crds::{ReleaseConnection, RequestPhase, Sharing};
use coffer_keys::{
    member_key::{MemberKeyKind, MemberSecretKey},
    signature::VaultPublicKey,
};
use coffer_runtime::Readiness;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::time::{Duration, Instant};

/// A vault of alice with bob as a member, who may read `github` and not `deploy`.
fn hall(replicas: usize) -> Hall {
    let mut world = World::new();
    world.member("bob", user("bob"), "member");
    world.member("devs", group("operators"), "member");
    world.connection("github", &["*"], "hunter2");
    world.connection("deploy", &[], "hunter3");
    Hall::new(world, replicas)
}

fn token(answer: Answer) -> Option<String> {
    match answer.granted().ok()?.into_iter().next()? {
        Delivered::Items(connection) => String::from_utf8(connection.items["token"].expose().to_vec()).ok(),
        Delivered::Wrapped(_) => None,
    }
}

fn only(records: Vec<Record>) -> coffer_broker::audit::Entry {
    let [record] = <[Record; 1]>::try_from(records).unwrap();
    record.entry
}

/// C9, C10: items for a member without a key, and a record that says who, why and through which door.
#[tokio::test]
async fn a_member_without_a_key_gets_the_items_and_a_record_comes_first() {
    let hall = hall(1);
    assert_eq!(token(hall.ask("bob", vec![all_of("github")]).await).as_deref(), Some("hunter2"));
    let entry = only(hall.world.records().await);
    assert_eq!((entry.decision, entry.door.as_deref()), (Decision::Allowed, Some(DOOR)));
    assert_eq!((entry.actor.kind, entry.actor.name.as_deref()), (ActorKind::User, Some("bob")));
    assert_eq!((entry.verb.as_deref(), entry.member.as_deref()), (Some("read"), Some("bob")));
    assert_eq!((entry.request_id.as_deref(), entry.purpose.as_deref()), (Some("uid-0"), Some("on call")));
    assert!(entry.cross_identity && !entry.impersonation_possible);
    let taken = hall.shelf.taken.lock().unwrap().clone();
    assert_eq!(taken, ["claim coffer-broker-0", "answer coffer-broker-0"]);
}

/// C9: nobody opens what is wrapped for a key but that key, and only under the custodian key that was pinned.
#[tokio::test]
async fn a_member_with_its_own_key_gets_what_only_that_key_opens() {
    let mut world = World::new();
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut crate::world::rng());
    world.own_member("carol", user("carol"), "member", key.public());
    world.connection("github", &["*"], "hunter2");
    let pinned = VaultPublicKey::parse(&world.keyring.custodian_key()).unwrap();
    let hall = Hall::new(world, 1);
    let narrowed = ReleaseConnection { items: vec!["token".into()], ..all_of("github") };
    for asked in [all_of("github"), narrowed] {
        let answer = hall.ask("carol", vec![asked]).await;
        assert!(!answer.encode().windows(7).any(|bytes| bytes == b"hunter2"), "no plaintext");
        let Some(Delivered::Wrapped(own)) = answer.granted().unwrap().into_iter().next() else {
            panic!("items were released");
        };
        assert_eq!((own.member.name.as_str(), own.envelope.version), ("carol", 1));
        let opened = own.open(&key, &pinned).unwrap();
        assert_eq!(opened.items["token"].expose(), b"hunter2");
        let other = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut crate::world::rng());
        assert!(own.open(&other, &pinned).is_err());
    }
    let records = hall.world.records().await;
    assert!(records.iter().all(|record| record.entry.decision == Decision::Allowed));
}

fn not_found(name: &str) -> (u16, String) {
    (404, format!("Credential '{name}' not found"))
}

/// C14, T28: absent, of another vault, of no vault, or asked for by a stranger: one answer.
#[tokio::test]
async fn strangers_and_members_who_ask_for_what_is_not_there_get_one_answer() {
    let mut hall = hall(1);
    hall.world.vault.spec.sharing = Sharing::Owner;
    hall.world.apply_vault();
    assert_eq!(hall.refused("mallory", "github").await, not_found("github"));
    assert_eq!(hall.refused("bob", "nothing").await, not_found("nothing"));
    assert_eq!(hall.refused("bob", "deploy").await, not_found("deploy"), "never shared");
    let nowhere = asking("elsewhere", vec![all_of("github")]);
    hall.create(&nowhere, "bob", |_| {});
    let denied = nowhere.open(&hall.finished(&nowhere).await).ok().unwrap().granted().err().unwrap();
    assert_eq!((denied.code, denied.message), not_found("github"));
    let vaults: Vec<_> = hall.world.records().await.into_iter().map(|r| r.entry.vault.unwrap()).collect();
    assert_eq!(vaults, ["team-a/main", "team-a/main", "team-a/main", "team-a/elsewhere"]);
}

/// C34.
#[tokio::test]
async fn a_member_outside_the_scope_is_told_exactly_and_one_of_a_group_is_served() {
    let hall = hall(1);
    let text = "Credential 'deploy' is not accessible to member 'bob'. Allowed: alice";
    assert_eq!(hall.refused("bob", "deploy").await, (403, text.to_owned()));
    let pending = asking("main", vec![all_of("github")]);
    hall.create(&pending, "dave", |release| {
        release.spec.requester.as_mut().unwrap().groups = vec!["operators".into()];
    });
    assert_eq!(token(pending.open(&hall.finished(&pending).await).ok().unwrap()).as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn items_are_narrowed_to_those_that_are_asked_for_and_an_unknown_one_is_named() {
    let hall = hall(1);
    let asked = |item: &str| ReleaseConnection {
        namespace: Some("team-a".into()),
        items: vec![item.into()],
        ..all_of("github")
    };
    assert_eq!(token(hall.ask("bob", vec![asked("token")]).await).as_deref(), Some("hunter2"));
    let denied = hall.ask("bob", vec![asked("user")]).await.granted().err().unwrap();
    assert_eq!((denied.code, denied.message.as_str()), (404, "Credential 'github' has no item 'user'"));
}

/// T26: a ServiceAccount is who its uid says. T20: a request that may be somebody else's is marked.
#[tokio::test]
async fn a_serviceaccount_comes_with_its_uid_and_a_request_that_may_be_impersonated_is_marked() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["*"], "hunter2");
    let hall = Hall::new(world, 1);
    for (uid, served) in [("sa-web", true), ("sa-another", false)] {
        let pending = asking("main", vec![all_of("github")]);
        hall.create(&pending, "system:serviceaccount:team-a:web", |release| {
            release.spec.requester.as_mut().unwrap().uid = Some(uid.into());
            release.spec.impersonation_possible = Some(true);
        });
        let answer = pending.open(&hall.finished(&pending).await).ok().unwrap();
        assert_eq!(token(answer).is_some(), served);
    }
    for record in hall.world.records().await {
        assert!(record.entry.impersonation_possible);
        assert_eq!(record.entry.actor.kind, ActorKind::ServiceAccount);
    }
}

#[tokio::test]
async fn one_replica_answers_and_the_next_takes_over_after_two_seconds() {
    let hall = hall(3);
    assert!(token(hall.ask("bob", vec![all_of("github")]).await).is_some());
    hall.kill(0);
    let began = Instant::now();
    assert!(token(hall.ask("bob", vec![all_of("github")]).await).is_some());
    assert!(began.elapsed().as_millis() >= 2000, "{:?}", began.elapsed());
    let taken = hall.shelf.taken.lock().unwrap().clone();
    let by = |index: usize| [format!("claim coffer-broker-{index}"), format!("answer coffer-broker-{index}")];
    assert_eq!(taken, [by(0), by(1)].concat());
}

/// A replica that has not seen everything yet would tell that what is there is absent.
#[tokio::test]
async fn a_replica_answers_nothing_before_it_is_ready_and_then_what_has_waited() {
    let mut world = World::new();
    world.connection("github", &["*"], "hunter2");
    let readiness = Readiness::new();
    let check = readiness.check("watch/vaultmembers");
    let hall = Hall::starting(world, 1, &readiness);
    let pending = asking("main", vec![all_of("github")]);
    hall.create(&pending, "alice", |_| {});
    let early = tokio::time::timeout(Duration::from_millis(300), hall.finished(&pending)).await;
    assert!(early.is_err() && hall.shelf.taken.lock().unwrap().is_empty());
    check.ready();
    let answered = hall.finished(&pending).await;
    assert_eq!(token(pending.open(&answered).ok().unwrap()).as_deref(), Some("hunter2"));
}

/// Never two answers: whoever hung after its claim and was overtaken finds its answer refused.
#[tokio::test]
async fn a_replica_that_was_overtaken_after_its_claim_does_not_answer_too() {
    let hall = hall(2);
    *hall.shelf.held.lock().unwrap() = Some("coffer-broker-0".into());
    let pending = asking("main", vec![all_of("github")]);
    hall.create(&pending, "bob", |_| {});
    let answered = hall.finished(&pending).await;
    assert_eq!(answered.status.clone().unwrap().answered_by.as_deref(), Some("coffer-broker-1"));
    *hall.shelf.held.lock().unwrap() = None;
    hall.shelf.let_go.notify_waiters();
    while hall.shelf.refused.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(hall.shelf.get(pending.name()), answered);
    assert_eq!(hall.shelf.refused.lock().unwrap().clone(), ["answer coffer-broker-0"]);
    assert!(token(pending.open(&answered).ok().unwrap()).is_some());
}

#[tokio::test]
async fn one_requester_s_flood_is_refused_in_words_and_another_is_served() {
    let hall = hall(1);
    for _ in 0..4 {
        assert!(token(hall.ask("bob", vec![all_of("github")]).await).is_some());
    }
    let denied = hall.ask("bob", vec![all_of("github")]).await.granted().err().unwrap();
    assert_eq!(denied.code, 429);
    assert!(denied.message.starts_with("You ask too often: at most 4/60s"), "{}", denied.message);
    assert!(denied.retry_after_seconds.is_some_and(|seconds| (1..=60).contains(&seconds)));
    assert!(token(hall.ask("alice", vec![all_of("github")]).await).is_some());
    let last = hall.world.records().await.into_iter().rev().nth(1).unwrap().entry;
    assert_eq!(last.reason.as_deref(), Some("AskedTooOften"));
}

/// T20: a requester is believed only while the API server vouches for it.
#[tokio::test]
async fn nothing_is_released_while_what_vouches_for_requesters_is_missing() {
    let mut hall = hall(1);
    let guarded = |status: &str| Condition {
        type_: "Guarded".into(),
        status: status.into(),
        reason: "GuardMissing".into(),
        message: String::new(),
        last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(crate::world::now()),
        observed_generation: None,
    };
    hall.world.vault.status.as_mut().unwrap().conditions = vec![guarded("False")];
    hall.world.apply_vault();
    let (code, text) = hall.refused("bob", "github").await;
    assert_eq!(code, 503);
    assert!(text.contains("not as shipped") && text.contains("helm upgrade"), "{text}");
    // T28: whoever is nobody there does not learn that there is such a vault.
    assert_eq!(hall.refused("mallory", "github").await, not_found("github"));
    hall.world.vault.status.as_mut().unwrap().conditions = vec![guarded("True")];
    hall.world.apply_vault();
    assert!(token(hall.ask("bob", vec![all_of("github")]).await).is_some());
}

/// T44, T45: what nobody can seal to fails in words and holds up nothing.
#[tokio::test]
async fn a_request_that_cannot_be_answered_fails_with_the_field_that_is_wrong() {
    let hall = hall(1);
    for (wrong, field) in [(true, "spec.publicKey"), (false, "spec.requester")] {
        let pending = asking("main", vec![all_of("github")]);
        hall.create(&pending, "bob", |release| {
            if wrong {
                release.spec.public_key = "A".repeat(1624);
            } else {
                release.spec.requester = None;
            }
        });
        let status = hall.finished(&pending).await.status.unwrap();
        assert_eq!((status.phase, status.result), (Some(RequestPhase::Failed), None));
        assert!(status.message.unwrap().contains(field));
    }
    assert!(token(hall.ask("bob", vec![all_of("github")]).await).is_some());
}
