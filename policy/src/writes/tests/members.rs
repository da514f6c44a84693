mod acceptance;

use super::super::*;
use super::{in_vault, told};
use crate::fixtures::{
    OPERATOR, account, group_subject, keyring, member as object, merge, now, registered, user, user_of,
    vault, view, view_of,
};
use crate::identity::{Evidence, from_register};
use coffer_crds::{RegisteredMember, VaultMember};
use serde_json::{Value, json};

fn team() -> Vault {
    vault(json!({"roles": [
        {"name": "inviter", "verbs": ["list", "use", "read", "invite"]},
        {"name": "narrow", "verbs": ["use"], "connections": ["gh-*"]},
        {"name": "user", "verbs": ["use"]},
        {"name": "viewer", "verbs": ["list"]},
    ]}))
}

/// What the author is told of inviting dora, and of changing or removing a member of that role.
fn attempts(author: &str, target: &str) -> [(&'static str, bool); 4] {
    let vault = team();
    let members = [
        view("owner", "owner"),
        view("second", "owner"),
        view("admin", "admin"),
        view("inviter", "inviter"),
        view("member", "member"),
        view("target", target),
    ];
    let view = in_vault(&vault, &members);
    let author = user(author);
    let target = object("target", json!({"role": target}));
    let differs = |more: Value| change(&target, more);
    let may = |old: Option<&VaultMember>, new: Option<&VaultMember>| member(&author, &view, old, new).is_ok();
    [
        ("invite", may(None, Some(&object("dora", json!({"role": target.spec.role}))))),
        ("demote", may(Some(&target), Some(&differs(json!({"role": "viewer"}))))),
        ("suspend", may(Some(&target), Some(&differs(json!({"suspended": true}))))),
        ("remove", may(Some(&target), None)),
    ]
}

fn change(old: &VaultMember, more: Value) -> VaultMember {
    let mut spec = serde_json::to_value(&old.spec).expect("JSON");
    merge(&mut spec, more);
    let mut new = old.clone();
    new.spec = serde_json::from_value(spec).expect("a test's own spec");
    new
}

fn invite(subject: Value) -> (VaultMember, MemberView) {
    let object = object("inv", json!({"subject": subject}));
    let mut view = MemberView::registered(&object, None, &team(), now());
    view.state = MemberState::Invited;
    (object, view)
}

/// C9: invite and remove × role × role. Nobody grants, or takes, more than they hold.
#[test]
fn who_may_invite_change_and_remove_whom() {
    let table = [
        ("owner", ["owner", "admin", "member", "narrow", "user"].as_slice()),
        ("admin", &["admin", "member", "narrow", "user"]),
        ("inviter", &["member", "narrow", "user"]),
        ("member", &[]),
        ("stranger", &[]),
    ];
    for (author, may) in table {
        for target in ["owner", "admin", "member", "narrow", "user"] {
            for (what, allowed) in attempts(author, target) {
                assert_eq!(allowed, may.contains(&target), "{author} {what} {target}");
            }
        }
    }
}

#[test]
fn nobody_raises_themselves() {
    let vault = team();
    let members = [
        view("alice", "owner"),
        view("admin", "admin"),
        view("inviter", "inviter"),
        view("member", "member"),
    ];
    for (name, role) in [("admin", "owner"), ("inviter", "admin"), ("member", "admin"), ("member", "inviter")]
    {
        let old = object(name, json!({"role": name}));
        let refused = told(member(
            &user(name),
            &in_vault(&vault, &members),
            Some(&old),
            Some(&change(&old, json!({"role": role}))),
        ));
        assert!(refused.is_err_and(|(field, _)| field == "spec.role"), "{name} to {role}");
    }
}

/// The last owner cannot leave, be demoted, expire or be suspended.
#[test]
fn the_last_owner_stays() {
    let vault = team();
    let old = object("alice", json!({"role": "owner"}));
    let attempts = [
        Some(change(&old, json!({"role": "admin"}))),
        Some(change(&old, json!({"suspended": true}))),
        Some(change(&old, json!({"expiresAt": "2030-01-01T00:00:00Z"}))),
        Some(change(&old, json!({"ttl": "1d"}))),
        None,
    ];
    let alone = [
        view("alice", "owner"),
        view("bob", "admin"),
        MemberView { state: MemberState::Suspended, ..view("carl", "owner") },
    ];
    let two = [view("alice", "owner"), view("bob", "owner")];
    for new in attempts {
        let ask = |members: &[MemberView]| {
            told(member(&user("alice"), &in_vault(&vault, members), Some(&old), new.as_ref()))
        };
        let refused = ask(&alone);
        assert!(refused.as_ref().is_err_and(|(_, m)| m.contains("last owner")), "{refused:?}");
        assert_eq!(ask(&two), Ok(()));
    }
    assert!(is_last_owner(&alone, "alice") && !is_last_owner(&two, "alice") && !is_last_owner(&alone, "bob"));
}

/// T27: never silently shadowed — `spec.owners` would make it an owner again.
#[test]
fn an_owner_that_the_vault_lists_is_taken_out_there() {
    let vault = vault(json!({"owners": [{"user": {"name": "bob"}}]}));
    let members = [view("alice", "owner"), view("bob", "owner")];
    let old = object("bob", json!({"role": "owner"}));
    for new in [None, Some(change(&old, json!({"role": "member"})))] {
        let refused = told(member(&user("alice"), &in_vault(&vault, &members), Some(&old), new.as_ref()));
        assert!(refused.as_ref().is_err_and(|(_, m)| m.contains("spec.owners")), "{refused:?}");
    }
}

#[test]
fn anybody_may_leave_or_turn_an_invite_down_but_no_one_of_a_group_for_the_group() {
    let vault = team();
    let members = [
        view("alice", "owner"),
        view("bob", "member"),
        MemberView { state: MemberState::Invited, evidence: Evidence::Claim, ..view("carl", "member") },
        view_of("devs", "member", group_subject("devs")),
        MemberView { state: MemberState::Suspended, ..view("dora", "member") },
    ];
    let may = |author: &Caller, name: &str| {
        let mut old = object(name, json!({}));
        if name == "devs" {
            old = object(name, json!({"subject": {"group": {"name": "devs"}}}));
        }
        member(author, &in_vault(&vault, &members), Some(&old), None).is_ok()
    };
    assert!(may(&user("bob"), "bob") && may(&user("carl"), "carl"));
    assert!(!may(&user("bob"), "carl"));
    assert!(!may(&user_of("eve", &["devs"]), "devs"));
    assert!(!may(&user("dora"), "dora"), "suspended members may nothing");
    assert!(may(&user("alice"), "devs"));
}

/// DESIGN §10, with the limit in the text.
#[test]
fn two_hundred_and_fifty_six_members_may_be_restricted() {
    let vault = team();
    let mut members: Vec<_> = (0..255).map(|i| view(&format!("m{i}"), "narrow")).collect();
    members.push(view("alice", "owner"));
    let one_more = object("dora", json!({"role": "narrow"}));
    assert!(member(&user("alice"), &in_vault(&vault, &members), None, Some(&one_more)).is_ok());
    members.push(view("m255", "narrow"));
    let refused = told(member(&user("alice"), &in_vault(&vault, &members), None, Some(&one_more)));
    assert!(refused.as_ref().is_err_and(|(_, m)| m.contains("256")), "{refused:?}");
    assert!(
        member(
            &user("alice"),
            &in_vault(&vault, &members),
            None,
            Some(&object("dora", json!({"role": "user"})))
        )
        .is_ok()
    );
}

#[test]
fn vault_and_subject_never_change_and_an_unchanged_spec_is_anybodys() {
    let vault = team();
    let members = [view("alice", "owner"), view("bob", "member")];
    let old = object("bob", json!({}));
    for more in [json!({"vault": "w"}), json!({"subject": {"user": {"name": "mallory"}}})] {
        assert!(
            member(&user("alice"), &in_vault(&vault, &members), Some(&old), Some(&change(&old, more)))
                .is_err()
        );
    }
    let stamped = change(&old, json!({"lastWriter": {"username": "x"}, "invitedBy": {"username": "y"}}));
    assert!(member(&user("velero"), &in_vault(&vault, &members), Some(&old), Some(&stamped)).is_ok());
    assert!(
        !grant_changed(&old, &stamped) && grant_changed(&old, &change(&old, json!({"rateLimit": "1/1s"})))
    );
}

#[test]
fn the_operator_makes_owners_of_listed_subjects_only() {
    let vault = vault(json!({"owners": [{"user": {"name": "alice"}}]}));
    let by_operator =
        |new: &VaultMember| member(&user(OPERATOR), &in_vault(&vault, &[]), None, Some(new)).is_ok();
    assert!(by_operator(&object("alice", json!({"role": "owner"}))));
    assert!(!by_operator(&object("mallory", json!({"role": "owner"}))));
}

fn recorded(name: &str, role: &str) -> RegisteredMember {
    serde_json::from_value(registered(name, role)).expect("a test's own entry")
}

/// DESIGN §3: the operator decides again. Nobody becomes more by writing past the webhook.
#[test]
fn what_a_membership_grants_is_vouched_for_by_whoever_granted_it() {
    let vault = team();
    let members = [view("alice", "owner"), view("admin", "admin"), view("bob", "member")];
    let view = in_vault(&vault, &members);
    let judge = |entry: Option<&RegisteredMember>, more: Value| {
        member_recorded(&view, entry, &object("bob", more)).map_err(|r| r.field)
    };
    let by = |name: &str| json!({"username": name});
    assert_eq!(judge(None, json!({"invitedBy": by("alice"), "role": "admin"})), Ok(()));
    assert_eq!(judge(None, json!({"invitedBy": by("admin"), "role": "owner"})), Err("spec.role".to_owned()));
    assert_eq!(judge(None, json!({"invitedBy": by("mallory")})), Err(String::new()));
    assert_eq!(judge(None, json!({})), Err("spec.invitedBy".to_owned()));
    let entry = recorded("bob", "member");
    assert_eq!(judge(Some(&entry), json!({"invitedBy": by("mallory")})), Ok(()), "not judged again");
    assert_eq!(
        judge(Some(&entry), json!({"invitedBy": by("bob"), "role": "admin"})),
        Err("spec.role".to_owned())
    );
    assert_eq!(judge(Some(&entry), json!({"invitedBy": by("alice"), "role": "admin"})), Ok(()));
    // An admin does not unmake an owner.
    let owner = recorded("bob", "owner");
    assert_eq!(judge(Some(&owner), json!({"invitedBy": by("admin")})), Err("spec.role".to_owned()));
}

#[test]
fn a_member_comes_back_into_force_by_somebody_who_may_grant_its_role() {
    let vault = team();
    let members = [view("alice", "owner"), view("admin", "admin"), view("carl", "member")];
    let view = in_vault(&vault, &members);
    let judge = |held: &str, wanted: &str, by: &str| {
        let new = object("bob", json!({"role": wanted, "invitedBy": {"username": by}}));
        member_resumed(&view, &recorded("bob", held), &new).is_ok()
    };
    assert!(judge("member", "member", "admin") && judge("owner", "owner", "alice"));
    assert!(judge("member", "member", OPERATOR) && !judge("owner", "owner", OPERATOR));
    for (held, wanted, by) in [
        ("member", "member", "mallory"),
        ("member", "member", "carl"),
        ("owner", "owner", "admin"),
        ("owner", "member", "admin"),
        ("member", "owner", "admin"),
    ] {
        assert!(!judge(held, wanted, by), "{by} brings a {held} back as {wanted}");
    }
    let unstamped = member_resumed(&view, &recorded("bob", "member"), &object("bob", json!({})));
    assert!(unstamped.is_err_and(|refusal| refusal.field == "spec.invitedBy"));
    let suspended = object("bob", json!({"suspended": true}));
    for more in [json!({"suspended": false}), json!({"expiresAt": null, "ttl": "1d", "suspended": true})] {
        assert!(grant_changed(&suspended, &change(&suspended, more)), "who brings it back is stamped");
    }
}

#[test]
fn an_acceptance_is_vouched_for_by_the_subject() {
    let vault = team();
    let (_, invited) = invite(json!({"user": {"name": "bob"}}));
    let members = [view("alice", "owner"), MemberView { name: "bob".to_owned(), ..invited }];
    let judge = |by: Value| {
        let new = object("bob", json!({"invitedBy": {"username": "alice"}, "acceptance": {"by": by}}));
        member_recorded(&in_vault(&vault, &members), None, &new).map_err(|r| r.field)
    };
    assert_eq!(judge(json!({"username": "bob"})), Ok(()));
    for by in [json!({"username": "mallory"}), json!({"username": "alice"}), json!(null)] {
        assert_eq!(judge(by), Err("spec.acceptance".to_owned()));
    }
}

/// A Vault and a VaultMember edited past the webhook by the same stranger make no owner.
#[test]
fn a_forged_owners_entry_with_a_forged_member_gains_nothing() {
    let forge = |by: &str| {
        let vault = vault(json!({
            "owners": [{"user": {"name": "alice"}}, {"user": {"name": "mallory"}}],
            "lastWriter": {"username": by},
        }));
        let keyring = keyring(json!([registered("alice", "owner"), registered("mallory", "member")]));
        let objects =
            [object("alice", json!({"role": "owner"})), object("mallory", json!({"role": "owner"}))];
        let members = from_register(&vault, Some(&keyring), &objects, now());
        let view = in_vault(&vault, &members);
        let entry = recorded("mallory", "member");
        (
            vault_recorded(&view, &vault).is_ok(),
            member_recorded(&view, Some(&entry), &objects[1]).is_ok(),
            member_recorded(&view, None, &objects[1]).is_ok(),
        )
    };
    assert_eq!(forge("mallory"), (false, false, false));
    assert_eq!(forge("alice"), (true, true, true));
}
