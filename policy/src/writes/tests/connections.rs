use super::super::*;
use super::{in_vault, told};
use crate::fixtures::{OPERATOR, connection as object, merge, user, vault, view};
use coffer_crds::{Connection, EnvelopeSpec};
use serde_json::{Value, json};

const ROLES: &str = r#"[
    {"name": "writer", "verbs": ["write"]},
    {"name": "sharer", "verbs": ["share"]},
    {"name": "gh-writer", "verbs": ["write", "share"], "connections": ["gh-*"]},
    {"name": "inviter", "verbs": ["invite"]},
    {"name": "user", "verbs": ["list", "use", "read", "audit", "rotate"]}
]"#;

fn vault_with(sharing: &str) -> Vault {
    let roles: Value = serde_json::from_str(ROLES).expect("a test's own roles");
    vault(json!({"sharing": sharing, "roles": roles}))
}

fn shared(owner: &str, members: Value, more: Value) -> Connection {
    let mut spec =
        json!({"vault": {"name": "v"}, "owner": owner, "members": members, "sealedData": {"token": "a"}});
    merge(&mut spec, more);
    object("github", spec)
}

/// Which of write, share, transfer, delete the actor may do, as letters.
fn allowed(vault: &Vault, members: &[MemberView], actor: &str, old: &Connection) -> String {
    let view = in_vault(vault, members);
    let differs = |more: Value| {
        let mut new = old.clone();
        let mut spec = serde_json::to_value(&new.spec).expect("JSON");
        merge(&mut spec, more);
        new.spec = serde_json::from_value(spec).expect("a test's own spec");
        new
    };
    let attempts = [
        ('w', Some(differs(json!({"sealedData": {"token": "b"}})))),
        ('s', Some(differs(json!({"members": ["heir"]})))),
        ('t', Some(differs(json!({"owner": "heir"})))),
        ('d', None),
    ];
    let may = |new: &Option<Connection>| connection(&user(actor), &view, Some(old), new.as_ref()).is_ok();
    attempts.iter().filter(|(_, new)| may(new)).map(|(letter, _)| *letter).collect()
}

/// C9: verb × role × relation × sharing.
#[test]
fn what_each_role_may_do_with_ones_own_a_shared_and_a_foreign_connection() {
    // role: own, in scope, out of scope
    let all = [
        ("owner", ["wstd", "wsd", "d"]),
        ("admin", ["wstd", "wsd", "d"]),
        ("member", ["td", "", ""]),
        ("writer", ["wtd", "w", ""]),
        ("sharer", ["std", "s", ""]),
        ("inviter", ["td", "", ""]),
        ("user", ["td", "", ""]),
        // `github` is outside `gh-*`.
        ("gh-writer", ["td", "", ""]),
    ];
    let owner = [("member", ["wstd", "", ""]), ("writer", ["wtd", "w", ""]), ("admin", ["wstd", "wsd", "d"])];
    for (sharing, table) in [("All", all.as_slice()), ("Owner", owner.as_slice())] {
        let vault = vault_with(sharing);
        for (role, expected) in table {
            let members = [view("actor", role), view("alice", "member"), view("heir", "member")];
            let relations = [
                shared("actor", json!(["actor"]), json!({})),
                shared("alice", json!(["actor", "alice"]), json!({})),
                shared("alice", json!(["alice", "bob"]), json!({})),
            ];
            for (old, expected) in relations.iter().zip(expected) {
                let owner = old.spec.owner.as_deref();
                let found = allowed(&vault, &members, "actor", old);
                assert_eq!(
                    found, *expected,
                    "{sharing} {role}, owner {owner:?}, members {:?}",
                    old.spec.members
                );
            }
            assert_eq!(allowed(&vault, &members, "stranger", &relations[1]), "");
        }
    }
}

/// C14: what was never shared looks absent, but somebody must be able to clear up.
#[test]
fn in_an_owner_vault_an_unshared_connection_looks_absent_to_writers_too() {
    let vault = vault_with("Owner");
    let members =
        [view("actor", "member"), view("alice", "member"), view("heir", "member"), view("boss", "admin")];
    let old = shared("alice", json!([]), json!({}));
    let view = in_vault(&vault, &members);
    let mut new = old.clone();
    new.spec.provider = Some("x".to_owned());
    for (author, attempt) in [("actor", Some(&new)), ("boss", Some(&new)), ("actor", None)] {
        let refused = told(connection(&user(author), &view, Some(&old), attempt));
        assert_eq!(refused, Err((String::new(), "Credential 'github' not found".to_owned())), "{author}");
    }
    assert_eq!(allowed(&vault, &members, "boss", &old), "d");
}

#[test]
fn an_orphan_is_looked_after_by_a_vault_owner_only() {
    for sharing in ["All", "Owner"] {
        let vault = vault_with(sharing);
        let members = [view("boss", "owner"), view("chief", "admin"), view("heir", "member")];
        let orphan = shared("gone", json!([]), json!({}));
        assert_eq!(allowed(&vault, &members, "boss", &orphan), "wstd", "{sharing}");
        assert_eq!(allowed(&vault, &members, "chief", &orphan), "d", "{sharing}");
        assert_eq!(allowed(&vault, &members, "heir", &orphan), "", "{sharing}");
    }
}

#[test]
fn a_transfer_goes_to_an_active_member() {
    let vault = vault_with("All");
    let members =
        [view("actor", "owner"), MemberView { state: MemberState::Invited, ..view("bob", "member") }];
    let old = shared("actor", json!([]), json!({}));
    for heir in ["bob", "nobody", ""] {
        let new = shared(heir, json!([]), json!({}));
        let refused = told(connection(&user("actor"), &in_vault(&vault, &members), Some(&old), Some(&new)));
        assert!(refused.as_ref().is_err_and(|(field, _)| field == "spec.owner"), "{heir}: {refused:?}");
    }
}

/// DESIGN §5: the creator's, always.
#[test]
fn whoever_creates_a_connection_owns_it() {
    let vault = vault_with("All");
    let members = [view("actor", "owner"), view("alice", "owner"), view("w", "writer"), view("m", "member")];
    let view = in_vault(&vault, &members);
    let create = |author: &str, new: &Connection| told(connection(&user(author), &view, None, Some(new)));
    assert_eq!(create("actor", &shared("actor", json!(["*"]), json!({}))), Ok(()));
    let (field, message) =
        create("actor", &shared("alice", json!(["*"]), json!({}))).expect_err("for another");
    assert_eq!((field.as_str(), message.contains("'actor'")), ("spec.owner", true));
    assert_eq!(
        create("m", &shared("m", json!(["*"]), json!({}))).map_err(|(_, m)| m.contains("'write'")),
        Err(true)
    );
    assert_eq!(owner_for(&user("w"), &view, "github").map(|m| m.name.as_str()).ok(), Some("w"));
}

#[test]
fn a_creator_without_share_takes_the_vaults_default_or_keeps_it_private() {
    let all = vault_with("All");
    let owner = vault_with("Owner");
    let members = [view("w", "writer")];
    let may = |vault: &Vault, scope: Value| {
        let mut new = shared("w", json!([]), json!({}));
        new.spec.members = serde_json::from_value(scope).expect("a test's own scope");
        connection(&user("w"), &in_vault(vault, &members), None, Some(&new)).is_ok()
    };
    for (scope, in_all, in_owner) in [
        (json!(null), true, true),
        (json!([]), true, true),
        (json!(["w"]), true, true),
        (json!(["*"]), true, false),
        (json!(["w", "bob"]), false, false),
    ] {
        assert_eq!((may(&all, scope.clone()), may(&owner, scope.clone())), (in_all, in_owner), "{scope}");
    }
}

#[test]
fn an_update_that_changes_nothing_is_anybodys() {
    let vault = vault_with("Owner");
    let old = shared("alice", json!(["a", "b"]), json!({"lastWriter": {"username": "alice"}}));
    let new = shared("alice", json!(["b", "a"]), json!({"lastWriter": {"username": "kube-controller"}}));
    assert_eq!(
        told(connection(&user("kube-controller"), &in_vault(&vault, &[]), Some(&old), Some(&new))),
        Ok(())
    );
}

/// The operator passes on what a removed member owned, and writes nothing else.
#[test]
fn the_operator_only_passes_on_what_an_owner_left_behind() {
    let vault = vault_with("All");
    let members = [view("boss", "owner"), view("alice", "member")];
    let view = in_vault(&vault, &members);
    let by_operator =
        |old: &Connection, new: &Connection| connection(&user(OPERATOR), &view, Some(old), Some(new)).is_ok();
    let gone = shared("gone", json!([]), json!({}));
    assert!(by_operator(&gone, &shared("boss", json!([]), json!({}))));
    assert!(!by_operator(&gone, &shared("boss", json!(["*"]), json!({}))));
    assert!(!by_operator(&gone, &shared("gone", json!([]), json!({"sealedData": {"token": "b"}}))));
    assert!(!by_operator(&shared("alice", json!([]), json!({})), &shared("boss", json!([]), json!({}))));
    let nobody = VaultView { operator: None, ..view };
    assert!(
        connection(&user(OPERATOR), &nobody, Some(&gone), Some(&shared("boss", json!([]), json!({}))))
            .is_err()
    );
}

fn envelope(owner: &str, members: Value) -> EnvelopeSpec {
    serde_json::from_value(json!({
        "v": 1, "suite": "s", "vaultID": "x", "connection": {"namespace": "team", "name": "github", "uid": "u"},
        "owner": {"name": owner, "uid": "uid"}, "version": 1, "revision": 1, "epoch": 1, "members": members,
        "membersDigest": "", "commitment": "", "items": {}, "slots": [], "createdAt": "2026-01-01T00:00:00Z",
        "createdBy": "alice", "writer": {"username": "alice"}, "signature": "",
    }))
    .expect("a test's own Envelope")
}

/// DESIGN §3: the operator decides again, from what the Envelope records.
#[test]
fn past_the_webhook_the_stamped_author_still_needs_the_right() {
    let vault = vault_with("All");
    let members = [view("alice", "owner"), view("mallory", "member"), view("w", "writer")];
    let view = in_vault(&vault, &members);
    let recorded =
        envelope("alice", json!({"listed": [{"name": "alice", "uid": "u"}, {"name": "w", "uid": "u"}]}));
    let judge = |by: &str, owner: &str, scope: Value, values: bool| {
        let new = shared(owner, scope, json!({"lastWriter": {"username": by}}));
        connection_recorded(&view, Some(&recorded), &new, values).map_err(|r| r.field)
    };
    let same = json!(["w"]);
    assert_eq!(
        judge("mallory", "alice", same.clone(), false),
        Ok(()),
        "applied changes are not judged again"
    );
    assert_eq!(judge("alice", "alice", json!(["w", "mallory"]), false), Ok(()));
    assert_eq!(judge("mallory", "alice", json!(["w", "mallory"]), false), Err("spec.members".to_owned()));
    assert_eq!(judge("w", "alice", same.clone(), true), Ok(()));
    assert_eq!(judge("mallory", "alice", same.clone(), true), Err("spec.sealedData".to_owned()));
    assert_eq!(judge("mallory", "mallory", same, false), Err("spec.owner".to_owned()));
}

#[test]
fn a_connection_without_a_stamp_or_by_another_than_its_owner_never_takes_effect() {
    let vault = vault_with("All");
    let members = [view("alice", "owner"), view("bob", "owner")];
    let view = in_vault(&vault, &members);
    let fresh = |stamp: Value| {
        let new = shared("alice", json!(["*"]), stamp);
        connection_recorded(&view, None, &new, true).map_err(|r| r.field)
    };
    assert_eq!(fresh(json!({})), Err("spec.lastWriter".to_owned()));
    assert_eq!(fresh(json!({"lastWriter": {"username": "bob"}})), Err("spec.owner".to_owned()));
    assert_eq!(fresh(json!({"lastWriter": {"username": "alice"}})), Ok(()));
}

/// Taking `members` out widens to the vault's default: that is its owner's to do, or a sharer's.
#[test]
fn a_scope_that_follows_the_vaults_sharing_is_widened_by_its_owner_only() {
    let all = vault_with("All");
    let owner = vault_with("Owner");
    let members = [view("alice", "member"), view("mallory", "member"), view("boss", "owner")];
    let unlisted = |by: &str| {
        let mut new = shared("alice", json!([]), json!({"lastWriter": {"username": by}}));
        new.spec.members = None;
        new
    };
    let judge = |vault: &Vault, recorded: Value, by: &str| {
        connection_recorded(
            &in_vault(vault, &members),
            Some(&envelope("alice", recorded)),
            &unlisted(by),
            false,
        )
        .is_ok()
    };
    let listed = json!({"listed": [{"name": "alice", "uid": "u"}]});
    assert!(judge(&all, listed.clone(), "alice"));
    assert!(!judge(&all, listed, "mallory"));
    // The vault's owner narrowed `sharing`; nobody wrote the Connection.
    assert!(judge(&owner, json!({"all": {}}), "mallory"));
}
