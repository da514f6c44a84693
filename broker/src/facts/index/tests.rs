use super::*;
use coffer_crds::{ConnectionSpec, NamedSubject, ServiceAccountSubject, VaultMemberSpec};

fn member(name: &str, subject: Subject) -> VaultMember {
    let spec = serde_json::json!({"vault": "main", "role": "member", "subject": subject});
    let spec: VaultMemberSpec = serde_json::from_value(spec).expect("a valid spec");
    let mut member = VaultMember::new(name, spec);
    member.metadata.namespace = Some("team-a".into());
    member
}

fn account(namespace: Option<&str>, name: &str) -> Subject {
    Subject::ServiceAccount(ServiceAccountSubject { namespace: namespace.map(Into::into), name: name.into() })
}

fn found(index: &SubjectIndex, username: &str, groups: &[&str]) -> Vec<String> {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let caller = Caller { username: username.into(), uid: None, groups };
    index.of(&caller).into_iter().map(|key| key.name).collect()
}

#[test]
fn a_caller_finds_its_own_memberships_and_its_groups_and_no_others() {
    let index = SubjectIndex::default();
    let group = Subject::Group(NamedSubject { name: "devs".into() });
    index.observe(&Event::Apply(member("web", account(None, "web"))));
    index.observe(&Event::Apply(member("other-web", account(Some("team-b"), "web"))));
    index.observe(&Event::Apply(member("devs", group)));
    index.observe(&Event::Apply(member("alice", Subject::User(NamedSubject { name: "alice".into() }))));
    assert_eq!(found(&index, "system:serviceaccount:team-a:web", &["devs"]), ["devs", "web"]);
    assert_eq!(found(&index, "system:serviceaccount:team-b:web", &[]), ["other-web"]);
    assert_eq!(found(&index, "alice", &[]), ["alice"]);
    assert!(found(&index, "bob", &["ops"]).is_empty());
}

#[test]
fn changes_deletions_and_a_new_list_are_followed() {
    let index = SubjectIndex::default();
    let web = "system:serviceaccount:team-a:web";
    index.observe(&Event::Apply(member("m", account(None, "web"))));
    index.observe(&Event::Apply(member("m", account(None, "api"))));
    assert!(found(&index, web, &[]).is_empty());
    assert_eq!(found(&index, "system:serviceaccount:team-a:api", &[]), ["m"]);
    index.observe(&Event::Delete(member("m", account(None, "api"))));
    assert!(found(&index, "system:serviceaccount:team-a:api", &[]).is_empty());

    index.observe(&Event::Apply(member("old", account(None, "web"))));
    index.observe(&Event::Init);
    index.observe(&Event::InitApply(member("new", account(None, "web"))));
    assert_eq!(found(&index, web, &[]), ["old"], "a list that is still coming in does not count");
    index.observe(&Event::InitDone);
    assert_eq!(found(&index, web, &[]), ["new"]);
    let maps = index.maps.read().expect("no test poisons it");
    assert_eq!((maps.current.keys.len(), maps.current.terms.len()), (1, 1));
}

fn connection(name: &str, spec: serde_json::Value) -> Connection {
    let spec: ConnectionSpec = serde_json::from_value(spec).expect("a valid spec");
    let mut connection = Connection::new(name, spec);
    connection.metadata.namespace = Some("team-a".into());
    connection
}

/// C12: whatever `policy` may mean by a bare word is found, and nothing of another vault.
#[test]
fn a_connection_is_found_by_its_alias_and_by_its_name_in_the_vault_that_it_names() {
    use serde_json::json;
    let index = WordIndex::default();
    let named = |vault: &str, word: &str| -> Vec<String> {
        let (namespace, name) = vault.split_once('/').expect("a test's own vault");
        let vault = Key { namespace: namespace.into(), name: name.into() };
        let found = index.having([Word { vault, word: word.into() }]);
        found.into_iter().map(|key| key.name).collect()
    };
    let here = json!({"name": "main"});
    index.observe(&Event::Apply(connection("gh-pat", json!({"vault": here, "alias": "github"}))));
    index.observe(&Event::Apply(connection("github", json!({"vault": here}))));
    index.observe(&Event::Apply(connection("there", json!({"vault": {"namespace": "b", "name": "main"}}))));
    index.observe(&Event::Apply(connection("nowhere", json!({}))));
    assert_eq!(named("team-a/main", "github"), ["gh-pat", "github"]);
    assert_eq!(named("team-a/main", "gh-pat"), ["gh-pat"]);
    assert_eq!(named("b/main", "there"), ["there"]);
    assert!(named("team-a/main", "there").is_empty() && named("team-a/main", "nowhere").is_empty());

    index.observe(&Event::Apply(connection("gh-pat", json!({"vault": here, "alias": "hub"}))));
    assert_eq!(
        (named("team-a/main", "github"), named("team-a/main", "hub")),
        (vec!["github".into()], vec!["gh-pat".into()])
    );
    index.observe(&Event::Delete(connection("gh-pat", json!({"vault": here, "alias": "hub"}))));
    assert!(named("team-a/main", "hub").is_empty() && named("team-a/main", "gh-pat").is_empty());
}
