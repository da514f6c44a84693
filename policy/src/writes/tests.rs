mod break_glass;
mod connections;
mod members;
mod vaults;

use super::*;
use crate::fixtures::{OPERATOR, user, vault, view};
use serde_json::json;

fn in_vault<'a>(vault: &'a Vault, members: &'a [MemberView]) -> VaultView<'a> {
    VaultView { vault, members, operator: Some(OPERATOR), break_glass: None }
}

/// What a test asks: whether it may, and if not, about which field and in which words.
fn told(result: Result<(), Refusal>) -> Result<(), (String, String)> {
    result.map_err(|r| (r.field, r.message))
}

/// Issue 5: refused with a text that says what to do.
#[test]
fn a_stranger_is_told_whom_to_ask_and_how() {
    let vault = vault(json!({}));
    let members = [view("alice", "owner"), view("bob", "owner"), view("carl", "member")];
    let view = in_vault(&vault, &members);
    let told = owner_for(&user("dora"), &view, "github").expect_err("a stranger");
    assert_eq!(
        told.message,
        "'dora' is no member of vault 'v'. Ask an owner (alice, bob) to invite you: kubectl coffer invite user:dora --vault v -n team"
    );
    let account = crate::fixtures::account("ci", "builder", "u");
    let told = owner_for(&account, &view, "github").expect_err("a stranger");
    assert!(told.message.ends_with("coffer invite sa:ci/builder --vault v -n team"), "{told}");
}

#[test]
fn a_user_name_is_one_word_of_the_command_whatever_is_in_it() {
    let vault = vault(json!({}));
    let members = [view("alice", "owner")];
    let told =
        owner_for(&user("a b; rm 'x'"), &in_vault(&vault, &members), "github").expect_err("a stranger");
    assert!(told.message.contains(r"invite 'user:a b; rm '\''x'\''' --vault"), "{told}");
}

/// DESIGN §3: suspended and expired authors may nothing, whatever their groups may.
#[test]
fn a_suspended_or_expired_author_may_nothing() {
    let vault = vault(json!({}));
    let group = crate::fixtures::view_of("grp", "owner", crate::fixtures::group_subject("devs"));
    let bob = crate::fixtures::user_of("bob", &["devs"]);
    for (state, word) in [(MemberState::Suspended, "suspended"), (MemberState::Expired, "expired")] {
        let members = [MemberView { state, ..view("bob", "owner") }, group.clone(), view("alice", "owner")];
        let refused = owner_for(&bob, &in_vault(&vault, &members), "github").expect_err("on hold");
        assert!(refused.message.contains(word), "{refused}");
    }
    assert!(owner_for(&bob, &in_vault(&vault, &[group]), "github").is_ok());
}
