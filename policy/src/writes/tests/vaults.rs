use super::super::*;
use super::{in_vault, told};
use crate::fixtures::{OPERATOR, user, vault as object, view, view_of};
use coffer_crds::{AccessToken, ExternalSubject, Subject};
use serde_json::{Value, json};

fn members() -> [MemberView; 4] {
    [view("alice", "owner"), view("admin", "admin"), view("bob", "member"), view("rot", "rotator")]
}

fn base(more: Value) -> Vault {
    let mut spec = json!({
        "owners": [{"user": {"name": "alice"}}],
        "roles": [{"name": "rotator", "verbs": ["rotate"]}, {"name": "spare", "verbs": ["list"]}],
    });
    crate::fixtures::merge(&mut spec, more);
    object(spec)
}

/// C3, C9: field × role.
#[test]
fn a_vault_is_changed_by_its_owners_and_rotation_by_those_with_the_verb() {
    let old = base(json!({}));
    let mut marked = base(json!({}));
    marked.metadata.annotations =
        Some([("coffer.dev/is-default-vault".to_owned(), "true".to_owned())].into_iter().collect());
    let changes = [
        ("spec.owners", base(json!({"owners": [{"user": {"name": "alice"}}, {"user": {"name": "bob"}}]}))),
        ("spec.sharing", base(json!({"sharing": "Owner"}))),
        ("spec.custody", base(json!({"custody": "SelfOnly"}))),
        ("spec.access", base(json!({"access": {"namespaces": "All"}}))),
        ("spec.roles", base(json!({"roles": [{"name": "rotator", "verbs": ["rotate", "list"]}]}))),
        ("spec.memberTTL", base(json!({"memberTTL": "90d"}))),
        ("spec.allowSync", base(json!({"allowSync": true}))),
        ("metadata.annotations", marked),
        ("spec.rotation", base(json!({"rotation": {"interval": "30d"}}))),
    ];
    let members = members();
    for (field, new) in changes {
        for (author, may) in [
            ("alice", true),
            ("admin", field == "spec.rotation"),
            ("rot", field == "spec.rotation"),
            ("bob", false),
            ("stranger", false),
            (OPERATOR, false),
        ] {
            let answer = told(vault(&user(author), &in_vault(&old, &members), Some(&old), Some(&new)));
            assert_eq!(answer.is_ok(), may, "{author} {field}: {answer:?}");
            if let (Err((told, _)), true) = (answer, ["admin", "bob"].contains(&author)) {
                assert_eq!(told, field);
            }
        }
    }
}

#[test]
fn an_unchanged_spec_is_anybodys_and_deletion_an_owners() {
    let old = base(json!({}));
    let members = members();
    let view = in_vault(&old, &members);
    let stamped = base(json!({"lastWriter": {"username": "velero"}}));
    assert!(vault(&user("velero"), &view, Some(&old), Some(&stamped)).is_ok());
    for (author, may) in [("alice", true), ("admin", false), ("stranger", false)] {
        assert_eq!(vault(&user(author), &view, Some(&old), None).is_ok(), may, "{author}");
    }
}

#[test]
fn whoever_rbac_lets_makes_a_vault() {
    let new = base(json!({}));
    assert!(vault(&user("anyone"), &in_vault(&new, &[]), None, Some(&new)).is_ok());
    let odd = base(json!({"access": {"namespaces": "Some"}}));
    let refused = told(vault(&user("anyone"), &in_vault(&odd, &[]), None, Some(&odd)));
    assert!(refused.is_err_and(|(field, m)| field == "spec.access.namespaces" && m.contains("Same, All")));
}

/// C3: a role in use cannot be deleted.
#[test]
fn a_role_in_use_cannot_be_taken_out() {
    let old = base(json!({}));
    let members = members();
    let without = |roles: Value| {
        told(vault(
            &user("alice"),
            &in_vault(&old, &members),
            Some(&old),
            Some(&base(json!({"roles": roles}))),
        ))
    };
    assert_eq!(without(json!([{"name": "rotator", "verbs": ["rotate"]}])), Ok(()));
    let refused = without(json!([{"name": "spare", "verbs": ["list"]}]));
    assert!(refused.as_ref().is_err_and(|(_, m)| m.contains("'rotator' is in use by rot")), "{refused:?}");
}

/// DESIGN §10: however a role comes to cover only some Connections, no more members have such a one than get a slot.
#[test]
fn a_role_of_too_many_members_is_not_narrowed() {
    let with =
        |globs: Value| base(json!({"roles": [{"name": "ci", "verbs": ["use"], "connections": globs}]}));
    let narrow = |old: Value, count: usize| {
        let (old, new) = (with(old), with(json!(["gh-*"])));
        let mut members = vec![view("alice", "owner")];
        members.extend((0..count).map(|n| view(&format!("ci-{n}"), "ci")));
        told(vault(&user("alice"), &in_vault(&old, &members), Some(&old), Some(&new)))
    };
    assert_eq!(narrow(json!(["*"]), 256), Ok(()));
    let refused = narrow(json!(["*"]), 257);
    assert!(
        refused.is_err_and(|(field, m)| field == "spec.roles" && m.contains("257 members")),
        "it is too many"
    );
    assert_eq!(narrow(json!(["gl-*"]), 257), Ok(()), "what is so already is no worse");
}

#[test]
fn the_last_owner_is_not_taken_out_of_the_list() {
    let old = base(json!({}));
    let new = base(json!({"owners": []}));
    let alone = members();
    assert!(vault(&user("alice"), &in_vault(&old, &alone), Some(&old), Some(&new)).is_err());
    let two = [view("alice", "owner"), view("rot", "rotator"), view("zoe", "owner")];
    assert!(vault(&user("alice"), &in_vault(&old, &two), Some(&old), Some(&new)).is_ok());
}

fn token(member: &str) -> AccessToken {
    serde_json::from_value(json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "AccessToken", "metadata": {"name": "t", "namespace": "team"},
        "spec": {"member": member, "sha256": "s", "prefix": "cof_1"},
    }))
    .expect("a test's own token")
}

#[test]
fn tokens_are_made_by_the_member_itself_and_revoked_by_those_above_it_too() {
    let vault = base(json!({}));
    let mut members = members().to_vec();
    members.push(view_of("laptop", "member", Subject::External(ExternalSubject {})));
    let view = in_vault(&vault, &members);
    let make = |author: &str, of: &str| access_token(&user(author), &view, None, Some(&token(of))).is_ok();
    let revoke = |author: &str, of: &str| access_token(&user(author), &view, Some(&token(of)), None).is_ok();
    // author, member: make, revoke
    let table = [
        ("bob", "bob", true, true),
        ("alice", "bob", false, true),
        ("admin", "bob", false, true),
        ("admin", "alice", false, false),
        ("admin", "laptop", true, true),
        ("bob", "laptop", false, false),
        ("bob", "alice", false, false),
        ("stranger", "bob", false, false),
        ("alice", "gone", false, true),
    ];
    for (author, of, may_make, may_revoke) in table {
        assert_eq!((make(author, of), revoke(author, of)), (may_make, may_revoke), "{author} {of}");
    }
    let mut longer = token("bob");
    longer.spec.prefix = "cof_2".to_owned();
    assert!(access_token(&user("bob"), &view, Some(&token("bob")), Some(&longer)).is_err());
    assert!(access_token(&user("gc"), &view, Some(&token("bob")), Some(&token("bob"))).is_ok());
}
