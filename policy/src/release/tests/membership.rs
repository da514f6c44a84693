//! Which membership of the caller counts.

use super::*;

/// T26: made again under the same name is a stranger; T20: so is whoever only has the name.
#[test]
fn a_service_account_is_known_by_its_recorded_uid() {
    let vault = vault(json!({}));
    let shared = connection("gh", json!({"owner": "alice"}));
    let registered = MemberView {
        subject_uid: Some("u1".to_owned()),
        ..view_of("web", "member", account_subject("team", "web"))
    };
    let members = [registered.clone()];
    let ask =
        |caller: Caller| one(&caller, &vault, &members, &shared, None).map(|_| ()).map_err(|d| d.code());
    assert_eq!(ask(account("team", "web", "u1")), Ok(()));
    assert_eq!(ask(account("team", "web", "u2")), Err(404));
    assert_eq!(ask(user("system:serviceaccount:team:web")), Err(404));
    assert_eq!(ask(account("other", "web", "u1")), Err(404));
    let unrecorded = [MemberView { subject_uid: None, ..registered }];
    assert!(one(&account("team", "web", "u1"), &vault, &unrecorded, &shared, None).is_err());
}

/// DESIGN §3: several memberships.
#[test]
fn the_direct_membership_goes_first_then_groups_by_name() {
    let vault = vault(json!({"roles": [{"name": "viewer", "verbs": ["list"]}]}));
    let shared = connection("gh", json!({"owner": "alice", "members": ["zoo", "direct"]}));
    let caller = user_of("bob", &["b-group", "a-group"]);
    let direct = |role: &str, state| MemberView { state, ..view_of("direct", role, user_subject("bob")) };
    let a = view_of("zoo", "member", group_subject("a-group"));
    let b = view_of("apes", "member", group_subject("b-group"));
    let serves = |members: &[MemberView]| {
        one(&caller, &vault, members, &shared, None).map(|g| g.member.name.clone()).map_err(|d| d.to_string())
    };
    let active = direct("member", MemberState::Active);
    assert_eq!(serves(&[b.clone(), a.clone(), active]), Ok("direct".to_owned()));
    // The first that allows serves.
    let cannot = direct("viewer", MemberState::Active);
    assert_eq!(serves(&[b.clone(), a.clone(), cannot.clone()]), Ok("zoo".to_owned()));
    // A denial names the first: groups by the group's name, not the member's.
    assert_eq!(
        serves(&[b.clone(), cannot]),
        Err("Role 'viewer' of member 'direct' does not allow 'use'".to_owned())
    );
    let apes_first = view_of("zzz", "member", group_subject("a-group"));
    assert!(serves(&[b.clone(), apes_first]).is_err_and(|text| text.contains("'zzz'")));
    // A Suspended or Expired direct one denies, whatever the groups say; a suspended group's is passed over.
    for state in [MemberState::Suspended, MemberState::Expired] {
        assert!(serves(&[a.clone(), direct("member", state)]).is_err());
        assert_eq!(serves(&[MemberView { state, ..b.clone() }, a.clone()]), Ok("zoo".to_owned()));
    }
    // An invite is no membership yet.
    assert_eq!(serves(&[a, direct("member", MemberState::Invited)]), Ok("zoo".to_owned()));
}

fn envelope(members: Value) -> EnvelopeSpec {
    serde_json::from_value(json!({
        "v": 1, "suite": "s", "vaultID": "x", "connection": {"namespace": "team", "name": "gh", "uid": "u"},
        "owner": {"name": "alice", "uid": "alice-uid"}, "version": 1, "revision": 1, "epoch": 1, "members": members,
        "membersDigest": "", "commitment": "", "items": {}, "slots": [], "createdAt": "2026-01-01T00:00:00Z",
        "createdBy": "alice", "writer": {"username": "alice"}, "signature": "",
    }))
    .expect("a test's own Envelope")
}

/// DESIGN §4: the caller's (name, uid) must be in the live scope and in the Envelope's.
#[test]
fn the_envelope_must_hold_the_member_by_name_and_uid() {
    let vault = vault(json!({}));
    let members = [view("web", "member"), view("alice", "owner")];
    let shared = connection("gh", json!({"owner": "alice", "members": ["web"]}));
    let reason = |scope| {
        let envelope = envelope(scope);
        one(&user("web"), &vault, &members, &shared, Some(&envelope))
            .map(|_| ())
            .map_err(|d| (d.code(), d.reason()))
    };
    let listed =
        |uid: &str| json!({"listed": [{"name": "alice", "uid": "alice-uid"}, {"name": "web", "uid": uid}]});
    assert_eq!(reason(json!({"all": {}})), Ok(()));
    assert_eq!(reason(listed("web-uid")), Ok(()));
    assert_eq!(reason(listed("")), Err((503, "NotReady")));
    assert_eq!(reason(json!({"listed": [{"name": "alice", "uid": "alice-uid"}]})), Err((503, "NotReady")));
    assert_eq!(reason(listed("an-older-uid")), Err((403, "OutOfScope")));
    let narrowed = connection("gh", json!({"owner": "alice", "members": ["alice"]}));
    let still_wrapped = envelope(listed("web-uid"));
    let denied = one(&user("web"), &vault, &members, &narrowed, Some(&still_wrapped)).expect_err("delisted");
    assert_eq!(denied.reason(), "OutOfScope");
}
