//! What people may who are no members, where the installation names a group of theirs.

use super::super::*;
use super::in_vault;
use crate::fixtures::{
    account, connection as object_connection, keyring, member as object, merge, now, registered, user_of,
    vault, view,
};
use crate::identity::from_register;
use coffer_crds::{Connection, VaultMember};
use serde_json::{Value, json};

fn glass() -> BreakGlass {
    BreakGlass::new(vec!["oncall".to_owned()])
}

fn eve() -> Caller {
    user_of("eve", &["oncall"])
}

fn with(connection: &Connection, more: Value) -> Connection {
    let mut spec = serde_json::to_value(&connection.spec).expect("JSON");
    merge(&mut spec, more);
    let mut new = connection.clone();
    new.spec = serde_json::from_value(spec).expect("a test's own spec");
    new
}

fn suspended(member: &VaultMember) -> VaultMember {
    let mut new = member.clone();
    new.spec.suspended = true;
    new
}

/// DESIGN §6: what an owner may who owns nothing and is in no list, and only if the installation says so.
#[test]
fn whoever_may_break_glass_may_what_an_owner_may_and_owns_nothing() {
    let (vault, glass) = (vault(json!({})), glass());
    let members = [view("alice", "owner"), view("bob", "owner"), view("carl", "member")];
    let may = |author: &Caller, glass: Option<&BreakGlass>| {
        let view = VaultView { break_glass: glass, ..in_vault(&vault, &members) };
        let carl = object("carl", json!({}));
        let dora = object("dora", json!({"role": "admin"}));
        let shared = object_connection("gh", json!({"owner": "alice", "members": ["*"]}));
        let listed = object_connection("aws", json!({"owner": "alice", "members": ["carl"]}));
        let left = object_connection("old", json!({"owner": "gone", "members": []}));
        let mut renamed = vault.clone();
        renamed.spec.allow_sync = !vault.spec.allow_sync;
        [
            ("invite", member(author, &view, None, Some(&dora)).is_ok()),
            ("suspend", member(author, &view, Some(&carl), Some(&suspended(&carl))).is_ok()),
            ("remove", member(author, &view, Some(&carl), None).is_ok()),
            ("settings", super::super::vault(author, &view, Some(&vault), Some(&renamed)).is_ok()),
            ("delete vault", super::super::vault(author, &view, Some(&vault), None).is_ok()),
            (
                "share",
                connection(author, &view, Some(&shared), Some(&with(&shared, json!({"members": ["carl"]}))))
                    .is_ok(),
            ),
            ("delete", connection(author, &view, Some(&listed), None).is_ok()),
            (
                "inherit",
                connection(author, &view, Some(&left), Some(&with(&left, json!({"owner": "bob"})))).is_ok(),
            ),
            (
                "transfer",
                connection(author, &view, Some(&listed), Some(&with(&listed, json!({"owner": "bob"}))))
                    .is_ok(),
            ),
            (
                "share what lists others",
                connection(author, &view, Some(&listed), Some(&with(&listed, json!({"members": ["*"]}))))
                    .is_ok(),
            ),
            ("create", owner_for(author, &view, "mine").is_ok()),
            ("create as another", connection(author, &view, None, Some(&shared)).is_ok()),
            (
                "create as nobody",
                connection(author, &view, None, Some(&with(&shared, json!({"owner": ""})))).is_ok(),
            ),
            (
                "accept",
                member(
                    author,
                    &view,
                    Some(&carl),
                    Some(&{
                        let mut new = carl.clone();
                        new.spec.acceptance = Some(Default::default());
                        new
                    }),
                )
                .is_ok(),
            ),
        ]
    };
    let allowed = |author: &Caller, glass: Option<&BreakGlass>| -> Vec<&str> {
        may(author, glass).into_iter().filter_map(|(what, ok)| ok.then_some(what)).collect()
    };
    let owners = ["invite", "suspend", "remove", "settings", "delete vault", "share", "delete", "inherit"];
    assert_eq!(allowed(&eve(), Some(&glass)), owners);
    assert!(allowed(&eve(), None).is_empty());
    let bot = Caller { groups: vec!["oncall".to_owned()], ..account("ci", "bot", "u") };
    for other in [user_of("eve", &["devs"]), bot] {
        assert!(allowed(&other, Some(&glass)).is_empty(), "{other:?}");
    }
}

#[test]
fn a_member_with_less_right_breaks_glass_too_and_the_last_owner_stays_all_the_same() {
    let (vault, glass) = (vault(json!({})), glass());
    let on_hold = MemberView { state: MemberState::Suspended, ..view("eve", "member") };
    for eves in [view("eve", "member"), on_hold] {
        let members = [view("alice", "owner"), eves];
        let view = VaultView { break_glass: Some(&glass), ..in_vault(&vault, &members) };
        let dora = object("dora", json!({"role": "owner"}));
        assert_eq!(member(&eve(), &view, None, Some(&dora)), Ok(()));
        let alice = object("alice", json!({"role": "owner"}));
        for new in [None, Some(suspended(&alice))] {
            let refused = member(&eve(), &view, Some(&alice), new.as_ref()).expect_err("the last owner");
            assert!(refused.message.contains("last owner"), "{refused}");
        }
    }
}

/// DESIGN §3: the operator decides again, by the author's stamped groups, and as its own installation says.
#[test]
fn the_operator_takes_a_broken_glass_for_what_it_is_only_where_it_knows_the_group() {
    let author = json!({"username": "eve", "groups": ["oncall"]});
    let vault = vault(
        json!({"owners": [{"user": {"name": "alice"}}, {"user": {"name": "dora"}}], "lastWriter": author}),
    );
    let register = keyring(json!([registered("alice", "owner")]));
    let objects = [object("alice", json!({"role": "owner"}))];
    let members = from_register(&vault, Some(&register), &objects, now());
    let glass = glass();
    let judged = |glass: Option<&BreakGlass>| {
        let view = VaultView { break_glass: glass, ..in_vault(&vault, &members) };
        let invited = object(
            "dora",
            json!({
                "role": "admin", "invitedBy": author, "acceptance": {"by": {"username": "dora"}},
            }),
        );
        let held = serde_json::from_value(registered("dora", "member")).expect("a test's own entry");
        let shared = object_connection("gh", json!({"owner": "alice", "lastWriter": author}));
        (
            vault_recorded(&view, &vault).is_ok(),
            member_recorded(&view, None, &invited).is_ok(),
            member_resumed(&view, &held, &invited).is_ok(),
            connection_recorded(&view, None, &shared, true).is_ok(),
        )
    };
    assert_eq!(judged(Some(&glass)), (true, true, true, false));
    assert_eq!(judged(None), (false, false, false, false));
    assert_eq!(judged(Some(&BreakGlass::default())), (false, false, false, false));
}
