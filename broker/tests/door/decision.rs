//! Which denial answers, and that denials tell nothing.

use crate::world::{Pod, World, account, connection};
use coffer_broker::{
    audit::{Decision, Event},
    limits::MemberUid,
};
use coffer_crds::{Custody, RateLimit, RoleSpec, Sharing, Verb};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::atomic::Ordering;

/// What can be the matter, in the order in which it is to be told.
const FAULTS: [&str; 8] =
    ["no token", "no member", "no verb", "not in globs", "not in scope", "expired", "no quota", "too many"];

/// A world in which exactly these faults are present, for a pod of `web` that asks for two Connections.
async fn world_with(fault: impl Fn(&str) -> bool) -> (World, Pod) {
    let mut world = World::new();
    let verb = if fault("no verb") { Verb::List } else { Verb::Use };
    let glob = if fault("not in globs") { "other-*" } else { "git*" };
    world.vault.spec.roles = vec![RoleSpec {
        name: "ci".into(),
        verbs: vec![verb],
        connections: Some(vec![glob.into()]),
        rate_limit: Some("1/60s".into()),
        max_connections: fault("too many").then_some(1),
    }];
    world.apply_vault();
    if !fault("no member") {
        world.member("web", account("web"), "ci");
    }
    world.member("dev", account("dev"), "member");
    for name in ["github", "gitlab"] {
        let members: &[&str] = if fault("not in scope") { &["dev"] } else { &["dev", "web"] };
        let mut connection = connection(name, "alice", Some(members));
        if fault("expired") {
            connection.spec.expires_at = Some(Time(crate::world::now()));
        }
        world.apply_envelope(world.envelope(&connection, name));
        world.apply_connection(connection);
    }
    if fault("no quota") {
        let limit = RateLimit { count: 1, window_seconds: 60 };
        let limits = &world.door.releaser.limits;
        limits.charge(&MemberUid("uid-web".into()), limit).await.unwrap();
    }
    let pod = world.tokens.pod("web");
    (world, pod)
}

/// DESIGN §7's order, at the door, for every combination of reasons; C21's codes; T15.
#[tokio::test]
async fn whatever_else_is_the_matter_the_first_reason_in_order_answers() {
    for present in 0_u32..(1 << FAULTS.len()) {
        let fault = |name: &str| {
            FAULTS.iter().position(|known| *known == name).is_some_and(|index| present & (1 << index) != 0)
        };
        let (world, pod) = world_with(fault).await;
        let token = (!fault("no token")).then_some(pod.token.as_str());
        let answer = world.ask_as(&pod, token, None, &["team-a/github", "team-a/gitlab"]).await;
        let first = FAULTS.iter().find(|name| fault(name)).copied();
        let expected = match first {
            None => (200, None),
            Some("no token") => (401, Some("TokenMissing")),
            Some("no member") => (404, Some("NotAMember")),
            Some("no verb") => (403, Some("VerbNotAllowed")),
            Some("not in globs") => (403, Some("RoleDoesNotCover")),
            Some("not in scope") => (403, Some("OutOfScope")),
            Some("expired") => (403, Some("Expired")),
            Some("no quota") => (429, Some("RateLimited")),
            Some("too many") => (413, Some("TooManyConnections")),
            Some(other) => unreachable!("{other} is no fault of the table"),
        };
        let records = world.records().await;
        let reason = records.last().and_then(|record| record.entry.reason.as_deref());
        assert_eq!((answer.status, reason), expected, "with {first:?} of {present:08b}");
        match first {
            None => assert_eq!(answer.values(&pod), ["github", "gitlab"]),
            Some(_) => assert_eq!(answer.error().code, answer.status),
        }
        assert_eq!(answer.retry_after.is_some(), answer.status == 429);
    }
}

/// T15: a call that is denied by scope uses up no quota, and one that is allowed does.
#[tokio::test]
async fn a_denial_uses_up_no_quota() {
    let (world, pod) = world_with(|_| false).await;
    for _ in 0..5 {
        assert_eq!(world.ask(&pod, &["team-a/absent"]).await.status, 404);
        assert_eq!(world.ask(&pod, &["team-a/github", "team-a/absent"]).await.status, 404);
    }
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 200);
    let answer = world.ask(&pod, &["team-a/github"]).await;
    assert_eq!(answer.status, 429);
    assert!(answer.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)));
}

/// C34, word for word.
#[tokio::test]
async fn a_member_outside_the_scope_is_told_exactly_who_is_in_it() {
    let mut world = World::new();
    world.member("fleet-dev", account("fleet-dev"), "member");
    world.member("fleet-rev", account("fleet-rev"), "member");
    let mut shared = connection("github", "alice", Some(&["fleet-dev"]));
    shared.spec.alias = Some("github_pat".into());
    world.apply_envelope(world.envelope(&shared, "v"));
    world.apply_connection(shared);
    let pod = world.tokens.pod("fleet-rev");
    let text = "Credential 'github_pat' is not accessible to member 'fleet-rev'. Allowed: fleet-dev";
    for reference in ["team-a/github", "github_pat"] {
        let answer = world.ask(&pod, &[reference]).await;
        assert_eq!((answer.status, answer.error().message.as_str()), (403, text));
    }
}

/// T28, C14: absent, of a vault that one is no member of, never shared, suspended, expired: byte for byte the same,
/// and each is on record with its real reason.
#[tokio::test]
async fn absent_foreign_and_unshared_give_the_same_bytes() {
    let mut answers = Vec::new();
    let mut reasons = Vec::new();
    for case in [
        "absent",
        "not a member",
        "never shared",
        "suspended",
        "expired member",
        "deleted member",
        "no vault",
    ] {
        let mut world = World::new();
        if case != "not a member" {
            world.member("web", account("web"), "member");
        }
        if case == "never shared" {
            world.vault.spec.sharing = Sharing::Owner;
            world.apply_vault();
        }
        if case != "absent" {
            world.connection_of("github", "alice", None, "v");
        }
        let mut member = world.members.get("web").cloned();
        match (case, member.take()) {
            ("suspended", Some(mut member)) => {
                member.spec.suspended = true;
                world.apply_member(member);
            }
            ("expired member", Some(mut member)) => {
                member.spec.expires_at = Some(Time(crate::world::now()));
                world.apply_member(member);
            }
            ("deleted member", Some(_)) => world.delete_member("web"),
            ("no vault", Some(_)) => {
                let mut elsewhere = connection("github", "alice", None);
                elsewhere.spec.vault.as_mut().unwrap().name = Some("gone".into());
                world.apply_connection(elsewhere);
            }
            (_, _) => {}
        }
        let pod = world.tokens.pod("web");
        let before = world.records().await.len();
        let answer = world.ask(&pod, &["team-a/github"]).await;
        assert_eq!((answer.status, answer.retry_after), (404, None), "{case}");
        answers.push(answer.body);
        let records = world.records().await;
        // All that takes longer than a look into a table: the same for each.
        let (reviews, rereads) = (&world.tokens.asked, &world.reread.asked);
        let steps = (reviews.load(Ordering::SeqCst), rereads.load(Ordering::SeqCst), records.len() - before);
        assert_eq!(steps, (1, 0, 1), "{case}: token reviews, rereads, durable records");
        let record = records.into_iter().next_back().unwrap().entry;
        assert_eq!((record.event, record.decision), (Event::Release, Decision::Denied));
        reasons.push(record.reason.unwrap());
    }
    assert!(answers.iter().all(|body| *body == answers[0]));
    assert_eq!(
        reasons,
        [
            "NotFound",
            "NotAMember",
            "NeverShared",
            "MemberSuspended",
            "MemberExpired",
            "NotAMember",
            "VaultNotFound"
        ]
    );
}

/// A bare word that means what the caller may not know of is as absent as one that means nothing.
#[tokio::test]
async fn a_bare_word_finds_nothing_that_the_caller_may_not_know_of() {
    let mut world = World::new();
    world.vault.spec.sharing = Sharing::Owner;
    world.apply_vault();
    world.member("web", account("web"), "member");
    world.connection_of("github", "alice", None, "alice's");
    let pod = world.tokens.pod("web");
    let hidden = world.ask(&pod, &["github"]).await;
    let absent = world.ask(&pod, &["gitlab"]).await;
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(text(&hidden.body).replace("github", "gitlab"), text(&absent.body));
    world.connection_of("own", "web", None, "web's");
    assert_eq!(world.ask(&pod, &["own"]).await.values(&pod), ["web's"]);
}

/// C12, T10: two that are meant equally well are never guessed between.
#[tokio::test]
async fn an_ambiguous_word_is_refused_with_the_candidates_and_on_record() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    for name in ["github-a", "github-b"] {
        let mut one = connection(name, "alice", None);
        one.spec.alias = Some("github".into());
        world.apply_envelope(world.envelope(&one, name));
        world.apply_connection(one);
    }
    let pod = world.tokens.pod("web");
    let answer = world.ask(&pod, &["github"]).await;
    let text = "Credential 'github' is ambiguous. Name one of: team-a/github-a (owner alice), team-a/github-b (owner alice)";
    assert_eq!((answer.status, answer.error().message.as_str()), (400, text));
    assert_eq!(world.records().await[0].entry.reason.as_deref(), Some("Ambiguous"));
    assert_eq!(world.ask(&pod, &["github-b"]).await.values(&pod), ["github-b"], "names are not ambiguous");
}

/// C12: what is not for a member is not in the way of a word that means something that is.
#[tokio::test]
async fn a_word_means_what_is_in_scope_whatever_others_call_theirs() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    for (name, members) in [("github-a", &["web"] as &[&str]), ("github-b", &[])] {
        let mut one = connection(name, "alice", Some(members));
        one.spec.alias = Some("github".into());
        world.apply_envelope(world.envelope(&one, name));
        world.apply_connection(one);
    }
    let pod = world.tokens.pod("web");
    assert_eq!(world.ask(&pod, &["github"]).await.values(&pod), ["github-a"]);
}

/// All or nothing: one that is denied withholds the others, and the first denial in the request's order answers.
#[tokio::test]
async fn several_connections_are_released_together_or_not_at_all() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "one");
    world.connection("slack", &["*"], "two");
    world.connection("secret", &["alice"], "three");
    let pod = world.tokens.pod("web");
    assert_eq!(world.ask(&pod, &["team-a/slack", "team-a/github"]).await.values(&pod), ["two", "one"]);
    let answer = world.ask(&pod, &["team-a/slack", "team-a/absent", "team-a/secret"]).await;
    assert_eq!(
        (answer.status, answer.error().message.as_str()),
        (404, "Credential 'team-a/absent' not found")
    );
    let answer = world.ask(&pod, &["team-a/slack", "team-a/secret", "team-a/absent"]).await;
    assert_eq!(answer.status, 403);
    let records = world.records().await;
    let told: Vec<_> =
        records.iter().map(|r| (r.entry.decision, r.entry.connection.as_deref().unwrap())).collect();
    assert_eq!(
        told,
        [
            (Decision::Allowed, "team-a/slack"),
            (Decision::Allowed, "team-a/github"),
            (Decision::Denied, "team-a/absent"),
            (Decision::Denied, "team-a/secret"),
        ]
    );
}

/// T21: to the second.
#[tokio::test]
async fn a_connection_expires_at_its_second() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    let pod = world.tokens.pod("web");
    for (seconds, status) in [(1, 200), (0, 403), (-1, 403)] {
        let mut one = connection("github", "alice", Some(&["web"]));
        one.spec.expires_at = Some(Time(crate::world::now() + SignedDuration::from_secs(seconds)));
        world.apply_envelope(world.envelope(&one, "v"));
        world.apply_connection(one);
        assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, status, "{seconds} s before its end");
    }
}

/// The answer has a size that a node can hold; nobody learns of it before everything else is allowed.
#[tokio::test]
async fn more_than_one_answer_carries_is_413() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    let value = "x".repeat(coffer_broker_api::MAX_RELEASED_BYTES / 2 + 1);
    world.connection("big-a", &["web"], &value);
    world.connection("big-b", &["web"], &value);
    let pod = world.tokens.pod("web");
    assert_eq!(world.ask(&pod, &["team-a/big-a"]).await.status, 200);
    let answer = world.ask(&pod, &["team-a/big-a", "team-a/big-b"]).await;
    assert_eq!((answer.status, answer.error().code), (413, 413));
    assert_eq!(world.ask(&pod, &["team-a/big-a", "team-a/absent"]).await.status, 404);
}

/// 503, not 403 and not 404: a member whose credential is not to be had because of the broker.
#[tokio::test]
async fn without_keys_members_are_told_503_and_strangers_404() {
    let mut world = World::with_keys(false);
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "v");
    let answer = world.ask(&world.tokens.pod("web"), &["team-a/github"]).await;
    assert_eq!((answer.status, answer.retry_after), (503, Some(1)));
    assert_eq!(world.records().await[0].entry.reason.as_deref(), Some("KeyUnavailable"));
    assert_eq!(world.ask(&world.tokens.pod("stranger"), &["team-a/github"]).await.status, 404);
}

/// A member that keeps its own key: nothing that the broker holds opens for it, and it is told so.
#[tokio::test]
async fn a_member_with_a_key_of_its_own_is_not_served_here() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["*"], "v");
    let mut registered = world.keyring.member("web").unwrap().clone();
    registered.custody = Custody::Own;
    registered.key_hash = Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into());
    world.keyring.register(registered).unwrap();
    world.apply_keyring();
    let answer = world.ask(&world.tokens.pod("web"), &["team-a/github"]).await;
    assert_eq!(answer.status, 403);
    assert!(answer.error().message.contains("own key of member 'web'"), "{}", answer.error().message);
    assert_eq!(world.records().await[0].entry.reason.as_deref(), Some("SelfCustody"));
}
