use super::*;
use crate::fixtures::view;

fn of(members: &[&str], sharing: Sharing) -> Scope {
    let members: Vec<String> = members.iter().map(|m| (*m).to_owned()).collect();
    Scope::of(Some(&members), sharing)
}

/// C33: 1, N or `*`; absent = the vault's `sharing`.
#[test]
fn a_scope_is_one_several_all_or_as_the_vault_says() {
    assert_eq!(Scope::of(None, Sharing::All), Scope::All);
    assert!(Scope::of(None, Sharing::Owner).is_owner_only("alice"));
    assert_eq!(of(&["*"], Sharing::Owner), Scope::All);
    let listed = of(&["web", "api"], Sharing::All);
    for (name, within) in [("web", true), ("api", true), ("alice", true), ("intern", false)] {
        assert_eq!(listed.holds(name, "alice"), within, "{name}");
    }
    assert!(of(&[], Sharing::All).is_owner_only("alice"));
    assert!(of(&["alice"], Sharing::All).is_owner_only("alice"));
}

/// T31: refused by the schema; and past the schema nobody gains by it.
#[test]
fn a_star_among_names_means_the_names() {
    assert_eq!(of(&["*", "a"], Sharing::All), Scope::Listed(vec!["a".to_owned()]));
    assert!(!of(&["*", "*"], Sharing::All).holds("a", "alice"));
    assert!(!of(&["*", "a"], Sharing::All).holds("*", "alice"));
}

#[test]
fn scopes_are_the_same_if_they_mean_the_same_members() {
    assert!(of(&["a", "b"], Sharing::All).same_as(&of(&["b", "a", "alice"], Sharing::All), "alice"));
    assert!(of(&[], Sharing::All).same_as(&Scope::of(None, Sharing::Owner), "alice"));
    assert!(!of(&["a"], Sharing::All).same_as(&of(&["a", "b"], Sharing::All), "alice"));
    assert!(!of(&["a"], Sharing::All).same_as(&Scope::All, "alice"));
}

#[test]
fn a_name_that_another_had_before_is_not_recorded() {
    let listed = |uid: &str| {
        let member = EnvelopeMember { name: "web".to_owned(), uid: uid.to_owned() };
        recorded_in(EnvelopeScope::Listed(vec![member]))
    };
    assert_eq!(listed("web-uid"), Recorded::Yes);
    assert_eq!(listed(""), Recorded::NotYet);
    assert_eq!(listed("older"), Recorded::AnotherUid);
    assert_eq!(recorded_in(EnvelopeScope::Listed(Vec::new())), Recorded::NotYet);
}

fn recorded_in(members: EnvelopeScope) -> Recorded {
    let mut envelope: EnvelopeSpec = serde_json::from_value(serde_json::json!({
        "v": 1, "suite": "s", "vaultID": "x", "connection": {"namespace": "team", "name": "gh", "uid": "u"},
        "owner": {"name": "alice", "uid": "alice-uid"}, "version": 1, "revision": 1, "epoch": 1, "members": {"all": {}},
        "membersDigest": "", "commitment": "", "items": {}, "slots": [], "createdAt": "2026-01-01T00:00:00Z",
        "createdBy": "alice", "writer": {"username": "alice"}, "signature": "",
    }))
    .expect("a test's own Envelope");
    assert_eq!(recorded(&envelope, &view("web", "member")), Recorded::Yes);
    envelope.members = members;
    recorded(&envelope, &view("web", "member"))
}
