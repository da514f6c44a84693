use super::*;
use crate::fixtures::{account_subject, group_subject, member, user_subject, vault};
use proptest::prelude::*;
use serde_json::json;

fn free(_: &str) -> bool {
    false
}

#[test]
fn an_owner_is_named_after_its_subject() {
    let table = [
        (user_subject("alice"), "alice"),
        (user_subject("Alice.Smith@example.com"), "alice-smith-example-com"),
        (user_subject("https://idp/#42"), "https-idp-42"),
        (user_subject("山田"), "owner"),
        (group_subject("oidc:devs"), "oidc-devs"),
        (account_subject("ci", "builder"), "builder"),
    ];
    for (subject, name) in table {
        assert_eq!(owner_member_name("v", &subject, free), name);
    }
}

#[test]
fn a_taken_name_gets_the_vaults_in_front_and_then_a_digest() {
    let alice = user_subject("alice");
    assert_eq!(owner_member_name("v", &alice, |n| n == "alice"), "v-alice");
    let third = owner_member_name("v", &alice, |n| n == "alice" || n == "v-alice");
    assert!(third.starts_with("v-alice-") && third.len() == "v-alice-".len() + 8, "{third}");
    assert_ne!(third, owner_member_name("v", &group_subject("alice"), |n| n == "alice" || n == "v-alice"));
}

#[test]
fn operator_and_webhook_find_the_same_names_whoever_looks_first() {
    let vault = vault(json!({"owners": [
        {"user": {"name": "a.b"}}, {"user": {"name": "a-b"}}, {"user": {"name": "a.b"}}, {"user": {"name": "bob"}},
        {"serviceAccount": {"name": "ci"}},
    ]}));
    let before = owner_members(&vault, &[]);
    let names = |owners: &[OwnerMember]| owners.iter().map(|o| o.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), ["a-b", "v-a-b", "bob", "ci"]);
    // The operator has made some, in any order.
    let made = [
        member("v-a-b", json!({"subject": {"user": {"name": "a-b"}}})),
        member("ci", json!({"subject": {"serviceAccount": {"name": "ci", "namespace": "team"}}})),
    ];
    let during = owner_members(&vault, &made);
    assert_eq!(names(&during), names(&before));
    assert_eq!(during.iter().map(|o| o.exists).collect::<Vec<_>>(), [false, true, false, true]);
}

#[test]
fn a_member_that_exists_already_is_the_owners_own_whatever_its_name() {
    let vault = vault(json!({"owners": [{"user": {"name": "alice"}}]}));
    let made = [member("boss", json!({"subject": {"user": {"name": "alice"}}}))];
    assert_eq!(owner_members(&vault, &made)[0].name, "boss");
    let others = [member("alice", json!({"vault": "w"})), member("x", json!({}))];
    assert_eq!(owner_members(&vault, &others)[0].name, "v-alice");
}

proptest! {
    #[test]
    fn a_name_is_always_a_label(vault in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?", subject in "\\PC{0,80}", taken in 0_usize..3) {
        let tried = std::cell::Cell::new(0);
        let name = owner_member_name(&vault, &user_subject(&subject), |_| {
            tried.set(tried.get() + 1);
            tried.get() <= taken
        });
        prop_assert!(coffer_crds::limits::is_label(&name), "{name}");
    }
}
