use super::*;
use crate::fixtures::*;
use coffer_crds::{RegisteredMember, Subject};
use serde_json::{Value, json};

fn entry(value: Value) -> RegisteredMember {
    serde_json::from_value(value).expect("a test's own entry")
}

fn of_register(more: Value, register: Option<Value>) -> MemberView {
    let member = member("bob", more);
    let register = register.map(entry);
    MemberView::registered(&member, register.as_ref(), &vault(json!({})), now())
}

/// Active is what the register holds, by name and uid; the live role is only what somebody wrote.
#[test]
fn the_register_says_who_is_a_member_and_as_what() {
    let view = of_register(json!({"role": "owner"}), Some(registered("bob", "member")));
    assert_eq!((view.state, view.role.as_str(), view.is_registered()), (MemberState::Active, "member", true));
    let view = of_register(json!({"role": "owner"}), None);
    assert_eq!((view.state, view.is_registered()), (MemberState::Invited, false));
    let mut other_uid = registered("bob", "owner");
    other_uid["uid"] = json!("of-the-one-before");
    let view = of_register(json!({}), Some(other_uid));
    assert_eq!((view.state, view.is_registered()), (MemberState::Invited, false));
}

#[test]
fn a_registered_subject_counts_not_the_one_written_since() {
    let view =
        of_register(json!({"subject": {"user": {"name": "mallory"}}}), Some(registered("bob", "member")));
    assert!(view.is_of(&user("bob")) && !view.is_of(&user("mallory")));
}

/// T21: exact to the second.
#[test]
fn states_follow_the_spec_at_once_and_time_to_the_second() {
    let bob = || Some(registered("bob", "member"));
    let cases = [
        (json!({"suspended": true}), bob(), MemberState::Suspended),
        (json!({"declined": true}), bob(), MemberState::Declined),
        (json!({"expiresAt": "2026-06-01T12:00:00Z"}), bob(), MemberState::Expired),
        (json!({"expiresAt": "2026-06-01T12:00:01Z"}), bob(), MemberState::Active),
        // Counted from acceptance at 06:00.
        (json!({"ttl": "6h"}), bob(), MemberState::Expired),
        (json!({"ttl": "7h"}), bob(), MemberState::Active),
        (json!({"ttl": "whenever"}), bob(), MemberState::Expired),
        // Invites count from creation at 00:00.
        (json!({}), None, MemberState::Invited),
        (json!({"inviteTTL": "12h"}), None, MemberState::Expired),
        (json!({"inviteTTL": "13h"}), None, MemberState::Invited),
        (json!({"inviteTTL": "12h", "acceptance": {}}), None, MemberState::Accepted),
        (json!({"expiresAt": "2026-06-01T12:00:00Z", "acceptance": {}}), None, MemberState::Expired),
    ];
    for (spec, register, expected) in cases {
        assert_eq!(of_register(spec.clone(), register).state, expected, "{spec}");
    }
}

#[test]
fn an_invite_waits_two_days_unless_it_says_otherwise() {
    let end = ends_at(&member("bob", json!({})), "member", None, &vault(json!({})));
    assert_eq!(end, Some(at("2026-06-03T00:00:00Z")));
}

#[test]
fn the_vaults_member_ttl_ends_memberships_that_say_nothing_but_never_owners() {
    let vault = vault(json!({"memberTTL": "1d"}));
    let accepted = Some(at("2026-05-01T00:00:00Z"));
    let end = |more, role| ends_at(&member("bob", more), role, accepted, &vault);
    assert_eq!(end(json!({}), "member"), Some(at("2026-05-02T00:00:00Z")));
    assert_eq!(end(json!({"ttl": "2d"}), "member"), Some(at("2026-05-03T00:00:00Z")));
    assert_eq!(end(json!({"expiresAt": "2030-01-01T00:00:00Z"}), "member"), Some(at("2030-01-01T00:00:00Z")));
    assert_eq!(end(json!({}), "owner"), None);
    // Whoever writes `role: owner` into a spec escapes nothing: the recorded role is asked for.
    assert!(end(json!({"role": "owner"}), "member").is_some());
}

#[test]
fn without_the_register_the_status_says_who_is_a_member() {
    let reported = |spec: Value, phase: Option<&str>| {
        let mut member = member("bob", spec);
        member.status = phase.and_then(|phase| serde_json::from_value(json!({"phase": phase})).ok());
        MemberView::reported(&member, &vault(json!({"memberTTL": "1h"})), now()).state
    };
    assert_eq!(reported(json!({}), None), MemberState::Invited);
    assert_eq!(reported(json!({}), Some("Active")), MemberState::Active);
    assert_eq!(reported(json!({}), Some("Expired")), MemberState::Expired);
    assert_eq!(reported(json!({"suspended": true}), Some("Active")), MemberState::Suspended);
    assert_eq!(reported(json!({"expiresAt": "2026-06-01T12:00:00Z"}), Some("Active")), MemberState::Expired);
}

#[test]
fn owners_of_a_new_vault_count_before_they_are_members() {
    let vault = vault(json!({"owners": [{"user": {"name": "alice"}}, {"serviceAccount": {"name": "ci"}}]}));
    for views in [from_status(&vault, &[], now()), from_register(&vault, None, &[], now())] {
        let own = memberships(&user("alice"), &views);
        assert_eq!(
            own.iter().map(|m| (m.name.as_str(), m.role.as_str())).collect::<Vec<_>>(),
            [("alice", "owner")]
        );
        assert_eq!(memberships(&account("team", "ci", "any"), &views).len(), 1);
        assert!(memberships(&user("bob"), &views).is_empty());
    }
}

/// Otherwise whoever edits a Vault past the webhook could make owners.
#[test]
fn a_listed_owner_counts_for_nothing_once_the_register_has_one() {
    let vault = vault(json!({"owners": [{"user": {"name": "alice"}}, {"user": {"name": "mallory"}}]}));
    let keyring = keyring(json!([registered("alice", "owner")]));
    let members = [member("alice", json!({"role": "owner"})), member("mallory", json!({"role": "owner"}))];
    let views = from_register(&vault, Some(&keyring), &members, now());
    assert_eq!(memberships(&user("alice"), &views).len(), 1);
    assert!(memberships(&user("mallory"), &views).is_empty());
}

#[test]
fn a_suspended_owner_stays_suspended_although_listed() {
    let vault = vault(json!({"owners": [{"user": {"name": "alice"}}]}));
    let members = [member("alice", json!({"role": "owner", "suspended": true}))];
    let views = from_status(&vault, &members, now());
    assert_eq!(views.iter().map(|v| v.state).collect::<Vec<_>>(), [MemberState::Suspended]);
}

/// T26: the ServiceAccount of a listed owner that was deleted and made again is a stranger also to the webhook, which
/// sees no uid; one that the operator has not made a member of yet is an owner at once.
#[test]
fn a_listed_owner_whose_service_account_changed_is_no_owner_any_more() {
    let subject = json!({"serviceAccount": {"name": "ci"}});
    let vault = vault(json!({"owners": [subject, {"user": {"name": "alice"}}]}));
    let owners = |status: Value| {
        let mut ci = member("ci", json!({"role": "owner", "subject": subject}));
        ci.status = serde_json::from_value(status).expect("a test's own status");
        let views = from_status(&vault, &[ci], now());
        assert_eq!(memberships(&user("alice"), &views).len(), 1);
        memberships(&account("team", "ci", "made-again"), &views).len()
    };
    assert_eq!(
        owners(json!({"phase": "Invited", "custody": "Brokered"})),
        0,
        "SubjectChanged, SubjectMissing"
    );
    assert_eq!(
        owners(json!({"phase": "Suspended", "custody": "Brokered"})),
        0,
        "un-suspended, not judged yet"
    );
    assert_eq!(owners(json!({"phase": "Active", "custody": "Brokered"})), 1);
    for waiting in [json!(null), json!({}), json!({"phase": "Invited"})] {
        assert_eq!(owners(waiting.clone()), 1, "never a member before: {waiting}");
    }
}

/// Whoever un-suspends or extends past the webhook gains nothing before the operator has judged it.
#[test]
fn a_membership_on_hold_is_not_active_because_its_spec_says_so() {
    for (phase, state) in [("Suspended", MemberState::Suspended), ("Expired", MemberState::Expired)] {
        let mut bob = member("bob", json!({}));
        bob.status = serde_json::from_value(json!({"phase": phase})).ok();
        let entry = entry(registered("bob", "member"));
        assert_eq!(MemberView::registered(&bob, Some(&entry), &vault(json!({})), now()).state, state);
    }
}

#[test]
fn members_of_other_vaults_and_namespaces_are_not_looked_at() {
    let vault = vault(json!({}));
    let mut elsewhere = member("bob", json!({}));
    elsewhere.metadata.namespace = Some("other".to_owned());
    let views = from_status(&vault, &[member("bob", json!({"vault": "w"})), elsewhere], now());
    assert!(views.is_empty());
}

/// T25: a subject named `*` is nobody; groups of the system are no members; ServiceAccounts come only as such.
#[test]
fn odd_subjects_match_nobody() {
    let odd =
        [user_subject("*"), group_subject("*"), group_subject("system:authenticated"), user_subject("")];
    let callers = [user("*"), user_of("bob", &["*", "system:authenticated"]), user(""), Caller::default()];
    for subject in odd {
        for caller in &callers {
            assert!(!view_of("m", "owner", subject.clone()).is_of(caller), "{subject:?} {caller:?}");
        }
    }
    let as_user = view_of("m", "owner", user_subject("system:serviceaccount:team:web"));
    assert!(!as_user.is_of(&account("team", "web", "u1")));
    assert!(!view_of("m", "owner", Subject::External(coffer_crds::ExternalSubject {})).is_of(&user("m")));
}

#[test]
fn service_account_names_are_taken_apart_exactly() {
    assert_eq!(account("a", "b", "u").service_account(), Some(("a", "b")));
    for name in [
        "alice",
        "system:serviceaccount:a",
        "system:serviceaccount::b",
        "system:serviceaccount:a:",
        "system:serviceaccount:a:b:c",
    ] {
        assert_eq!(user(name).service_account(), None, "{name}");
    }
}

/// C6: also where a finalizer keeps the object.
#[test]
fn whoever_is_being_deleted_is_no_member() {
    let mut leaving = member("bob", json!({}));
    let keyring = keyring(json!([registered("bob", "member")]));
    let views = |member: &VaultMember| {
        from_register(&vault(json!({})), Some(&keyring), std::slice::from_ref(member), now())
    };
    assert!(views(&leaving).iter().any(|view| view.name == "bob" && view.is_active()));
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    assert!(views(&leaving).iter().all(|view| view.name != "bob"));
}
