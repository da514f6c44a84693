mod membership;

use super::*;
use crate::fixtures::*;
use crate::identity::Evidence;
use coffer_crds::{EnvelopeSpec, Subject};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What is wrong with a request, in the order in which it must be found.
const REASONS: [&str; 8] = [
    "Unauthenticated",
    "NotAMember",
    "VerbNotAllowed",
    "RoleDoesNotCover",
    "OutOfScope",
    "Expired",
    "RateLimited",
    "TooManyConnections",
];

struct World {
    caller: Option<Caller>,
    vault: Vault,
    members: Vec<MemberView>,
    connections: [Connection; 2],
    window_full: bool,
}

/// A request for two Connections in which exactly these things are wrong, bit by bit.
fn world(wrong: u32) -> World {
    let is = |reason: usize| wrong & (1 << reason) != 0;
    let vault = vault(json!({ "roles": [{
        "name": "ci",
        "verbs": [if is(2) { "list" } else { "use" }],
        "connections": [if is(3) { "other-*" } else { "gh-*" }],
        "rateLimit": "30/60s",
        "maxConnections": if is(7) { 1 } else { 2 },
    }] }));
    let spec = json!({
        "vault": {"name": "v"}, "owner": "alice", "alias": null,
        "members": if is(4) { json!(["fleet-dev"]) } else { json!(["fleet-dev", "web"]) },
        "expiresAt": if is(5) { "2026-06-01T12:00:00Z" } else { "2026-06-01T12:00:01Z" },
    });
    let members =
        if is(1) { vec![view("alice", "owner")] } else { vec![view("alice", "owner"), view("web", "ci")] };
    World {
        caller: (!is(0)).then(|| user("web")),
        vault,
        members,
        connections: [connection("gh-a", spec.clone()), connection("gh-b", spec)],
        window_full: is(6),
    }
}

fn ask(world: &World, charged: &mut usize) -> Result<Vec<String>, Denial> {
    let asked: Vec<Asked<'_>> = world
        .connections
        .iter()
        .map(|connection| Asked {
            reference: connection.metadata.name.as_deref().unwrap_or_default(),
            target: Some(Target { vault: &world.vault, members: &world.members, connection, envelope: None }),
        })
        .collect();
    let request = Request { caller: world.caller.as_ref(), verb: Verb::Use, now: now(), asked: &asked };
    let granted = decide(&request, |_| {
        *charged += 1;
        if world.window_full { Err(RetryAfter(SignedDuration::from_millis(200))) } else { Ok(()) }
    });
    granted.map(|grants| grants.iter().map(|g| g.member.name.clone()).collect())
}

/// DESIGN §7: one decision in one order. Every subset of the eight reasons; the first of it is the answer.
#[test]
fn the_first_reason_of_any_subset_is_the_answer() {
    for wrong in 0..(1 << REASONS.len()) {
        let mut charged = 0;
        let answer = ask(&world(wrong), &mut charged);
        let first = (0..REASONS.len()).find(|i| wrong & (1 << i) != 0);
        match first {
            Some(first) => assert_eq!(answer.map_err(|d| d.reason()), Err(REASONS[first]), "{wrong:08b}"),
            None => assert_eq!(answer, Ok(vec!["web".to_owned(), "web".to_owned()])),
        }
        // T15: what is denied before the rate limit uses no quota; what reaches it is charged once, however many
        // Connections it names.
        let reaches = first.is_none_or(|first| first >= 6);
        assert_eq!(charged, usize::from(reaches), "{wrong:08b}");
    }
}

/// C21: distinct codes, the same at every door.
#[test]
fn each_reason_has_its_code() {
    let codes = [401, 404, 403, 403, 403, 403, 429, 413];
    for (i, code) in codes.into_iter().enumerate() {
        let denial = ask(&world(1 << i), &mut 0).expect_err("one thing is wrong");
        assert_eq!(denial.code(), code, "{denial}");
        assert_eq!(denial.retry_after_seconds().is_some(), code == 429, "{denial}");
    }
}

/// C18: `Retry-After` ≥ 1.
#[test]
fn retry_after_is_never_zero() {
    let denial = ask(&world(1 << 6), &mut 0).expect_err("the window is full");
    assert_eq!(denial.retry_after_seconds(), Some(1));
}

fn one<'a>(
    caller: &'a Caller,
    vault: &'a Vault,
    members: &'a [MemberView],
    connection: &'a Connection,
    envelope: Option<&'a EnvelopeSpec>,
) -> Result<Grant<'a>, Denial> {
    let asked =
        Asked { reference: "github_pat", target: Some(Target { vault, members, connection, envelope }) };
    judge(Some(caller), Verb::Use, now(), &asked)
}

/// C34, word for word.
#[test]
fn the_denial_text_is_exactly_the_promised_one() {
    let vault = vault(json!({}));
    let members = [view("fleet-dev", "member"), view("fleet-rev", "member"), view("alice", "owner")];
    let spec = json!({"owner": "fleet-dev", "alias": "github_pat", "members": ["fleet-dev"]});
    let shared = connection("gh", spec);
    let text =
        |caller| one(&user(caller), &vault, &members, &shared, None).map_err(|d| d.to_string()).map(|_| ());
    let expected = "Credential 'github_pat' is not accessible to member 'fleet-rev'. Allowed: fleet-dev";
    assert_eq!(text("fleet-rev"), Err(expected.to_owned()));
    assert_eq!(text("fleet-dev"), Ok(()));
}

#[test]
fn the_denial_lists_listed_names_in_their_order_and_the_owner_is_in_scope_unlisted() {
    let vault = vault(json!({}));
    let members =
        [view("alice", "owner"), view("intern", "member"), view("web", "member"), view("api", "member")];
    let shared = connection("github", json!({"owner": "alice", "members": ["web", "api"]}));
    let denied = one(&user("intern"), &vault, &members, &shared, None).expect_err("out of scope");
    let expected = "Credential 'github' is not accessible to member 'intern'. Allowed: web, api";
    assert_eq!(denied.to_string(), expected);
    assert!(one(&user("alice"), &vault, &members, &shared, None).is_ok());
    let alone = connection("github", json!({"owner": "alice", "members": []}));
    let denied = one(&user("web"), &vault, &members, &alone, None).expect_err("out of scope");
    assert!(denied.to_string().ends_with("Allowed: alice"), "{denied}");
}

/// C14, T28: a stranger, a member that is not Active, and a member of an Owner vault asking for what was never shared
/// get byte for byte what an absent Connection gets.
#[test]
fn strangers_and_unshared_look_absent() {
    let absent =
        judge(Some(&user("web")), Verb::Use, now(), &Asked { reference: "github_pat", target: None });
    let absent = absent.expect_err("absent");
    let all = vault(json!({}));
    let owners = vault(json!({"sharing": "Owner", "roles": [{"name": "viewer", "verbs": ["list"]}]}));
    let shared = connection("gh", json!({"owner": "alice"}));
    let expired = connection("gh", json!({"owner": "alice", "expiresAt": "2020-01-01T00:00:00Z"}));
    let in_state = |state| MemberView { state, ..view("web", "member") };
    let cases: Vec<(&Vault, MemberView, &Connection)> = vec![
        (&all, view("other", "member"), &shared),
        (&all, view("other", "member"), &expired),
        (&all, in_state(MemberState::Invited), &shared),
        (&all, in_state(MemberState::Accepted), &shared),
        (&all, in_state(MemberState::Declined), &shared),
        (&all, in_state(MemberState::Suspended), &shared),
        (&all, in_state(MemberState::Expired), &shared),
        (&owners, view("web", "member"), &shared),
        (&owners, view("web", "admin"), &shared),
        (&owners, view("web", "owner"), &expired),
        // Not even the lack of a verb may tell that it exists.
        (&owners, view("web", "viewer"), &shared),
    ];
    for (vault, member, connection) in cases {
        let members = [member];
        let denied = one(&user("web"), vault, &members, connection, None).expect_err("nothing for web");
        assert_eq!((denied.code(), denied.to_string()), (absent.code(), absent.to_string()), "{:?}", members);
        assert_eq!(denied.retry_after_seconds(), absent.retry_after_seconds());
    }
    // Once its owner shared it with somebody, it is no secret that it exists.
    let partly = connection("gh", json!({"owner": "alice", "members": ["bob"]}));
    let members = [view("web", "member")];
    assert_eq!(one(&user("web"), &owners, &members, &partly, None).expect_err("not for web").code(), 403);
}

/// C10
#[test]
fn a_release_of_anothers_credential_is_marked() {
    let vault = vault(json!({}));
    let members = [view("alice", "member"), view("bob", "member")];
    let shared = connection("gh", json!({"owner": "alice"}));
    assert!(!one(&user("alice"), &vault, &members, &shared, None).expect("hers").cross_identity);
    assert!(one(&user("bob"), &vault, &members, &shared, None).expect("shared").cross_identity);
}

/// T21: to the second, in UTC.
#[test]
fn a_credential_ends_at_its_second() {
    let until = |spec: Value| {
        let mut connection = connection("gh", spec);
        connection.status = serde_json::from_value(json!({"lastRefreshed": "2026-06-01T11:00:00Z"})).ok();
        expires_at(&connection)
    };
    assert_eq!(until(json!({"expiresAt": "2026-06-01T14:00:00+02:00"})), Some(now()));
    assert_eq!(until(json!({"ttl": "1h"})), Some(now()));
    assert_eq!(until(json!({})), None);
    assert_eq!(until(json!({"ttl": "soon"})), Some(Timestamp::MIN), "written past the schema: ended");
    let vault = vault(json!({}));
    let members = [view("alice", "owner")];
    let ends = connection("gh", json!({"owner": "alice", "expiresAt": "2026-06-01T12:00:00Z"}));
    let asked = Asked {
        reference: "gh",
        target: Some(Target { vault: &vault, members: &members, connection: &ends, envelope: None }),
    };
    let at_time = |text| {
        judge(Some(&user("alice")), Verb::Use, at(text), &asked).map(|_| ()).map_err(|d| d.to_string())
    };
    assert_eq!(at_time("2026-06-01T11:59:59Z"), Ok(()));
    assert_eq!(
        at_time("2026-06-01T12:00:00Z"),
        Err("Credential 'gh' expired at 2026-06-01T12:00:00Z".to_owned())
    );
}

/// A member's own limit takes the place of its role's; one that cannot be read is the strictest, not none.
#[test]
fn the_members_own_limit_goes_before_the_roles() {
    let world = world(0);
    let limit = |own: Option<&str>| {
        let member = MemberView { rate_limit: own.map(str::to_owned), ..view("web", "ci") };
        let role = role(&world.vault.spec, "ci").expect("the vault's own role");
        limit_of(&member, &role).map(|l| l.to_string())
    };
    assert_eq!(limit(None).as_deref(), Some("30/60s"));
    assert_eq!(limit(Some("5/1s")).as_deref(), Some("5/1s"));
    assert_eq!(limit(Some("lots")).as_deref(), Some("1/99999s"));
}

#[test]
fn one_member_is_charged_once_and_counted_over_separate_copies_of_the_facts() {
    let mut world = world(1 << 7);
    let copy = world.members.clone();
    let vault = world.vault.clone();
    let asked = [
        Asked {
            reference: "a",
            target: Some(Target {
                vault: &world.vault,
                members: &world.members,
                connection: &world.connections[0],
                envelope: None,
            }),
        },
        Asked {
            reference: "b",
            target: Some(Target {
                vault: &vault,
                members: &copy,
                connection: &world.connections[1],
                envelope: None,
            }),
        },
    ];
    let caller = world.caller.take();
    let request = Request { caller: caller.as_ref(), verb: Verb::Use, now: now(), asked: &asked };
    let mut charged = 0;
    let denied = decide(&request, |_| {
        charged += 1;
        Ok(())
    });
    assert_eq!(
        denied.map(|_| ()).map_err(|d| d.to_string()),
        Err("Role 'ci' allows 1 credentials in one request, 2 were asked for".to_owned())
    );
    assert_eq!(charged, 1);
}

fn any_member() -> impl Strategy<Value = MemberView> {
    let subject = prop_oneof![
        "[a-c*]?".prop_map(|name| user_subject(&name)),
        "[a-c*]?".prop_map(|name| group_subject(&name)),
        Just(group_subject("system:unauthenticated")),
        Just(user_subject("system:anonymous")),
        ("[a-c]", "[a-c]").prop_map(|(namespace, name)| account_subject(&namespace, &name)),
        Just(Subject::External(coffer_crds::ExternalSubject {})),
    ];
    let state = prop_oneof![
        Just(MemberState::Active),
        Just(MemberState::Invited),
        Just(MemberState::Suspended),
        Just(MemberState::Expired)
    ];
    let evidence = prop_oneof![Just(Evidence::Register), Just(Evidence::Status), Just(Evidence::Owners)];
    (
        subject,
        "[a-c]",
        state,
        prop_oneof![Just("owner"), Just("admin"), Just("member"), Just("nothing")],
        evidence,
    )
        .prop_map(|(subject, name, state, role, evidence)| MemberView {
            state,
            evidence,
            ..view_of(&name, role, subject)
        })
}

proptest! {
    /// T25: no identity is never more than any identity, and is never anything at all.
    #[test]
    fn nobody_gets_nothing(members in prop::collection::vec(any_member(), 0..6), sharing in prop_oneof![Just("All"), Just("Owner")]) {
        let vault = vault(json!({"sharing": sharing}));
        let connection = connection("gh", json!({"owner": "a", "members": ["*"]}));
        let asked = Asked { reference: "gh", target: Some(Target { vault: &vault, members: &members, connection: &connection, envelope: None }) };
        let nobody = [None, Some(user("")), Some(user_of("", &["a", "b", "c"])), Some(user_of("system:anonymous", &["system:unauthenticated", "a"]))];
        for caller in &nobody {
            for verb in [Verb::Use, Verb::Read] {
                let answer = judge(caller.as_ref(), verb, now(), &asked);
                prop_assert_eq!(answer.map_err(|d| d.code()).map(|_| ()), Err(401));
            }
        }
    }

    /// A grant is always some Active membership of the caller's own, in scope.
    #[test]
    fn a_grant_is_always_an_active_membership_of_the_callers(
        members in prop::collection::vec(any_member(), 0..6),
        name in "[a-c]",
        groups in prop::collection::vec("[a-c]", 0..3),
        listed in prop::collection::vec("[a-c]", 0..3),
    ) {
        let vault = vault(json!({}));
        let connection = connection("gh", json!({"owner": "a", "members": listed}));
        let caller = Caller { username: name, uid: None, groups };
        let asked = Asked { reference: "gh", target: Some(Target { vault: &vault, members: &members, connection: &connection, envelope: None }) };
        if let Ok(grant) = judge(Some(&caller), Verb::Use, now(), &asked) {
            prop_assert!(grant.member.is_active() && grant.member.is_of(&caller));
            prop_assert!(grant.member.name == "a" || listed.contains(&grant.member.name));
            prop_assert!(grant.role.allows(Verb::Use));
        }
    }
}
