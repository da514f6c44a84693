//! Whose VaultMembers are whose, so that a request looks at its caller's and not at all of them.

use super::Key;
use coffer_crds::{Subject, VaultMember};
use coffer_policy::{Caller, identity::with_namespace};
use kube::runtime::watcher::Event;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{PoisonError, RwLock},
};

/// VaultMembers by the subject in their spec. What a subject may do is the register's to say; this only finds
/// candidates, so a subject that the register does not confirm gains nothing by it.
#[derive(Default)]
pub struct SubjectIndex {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    current: Map,
    /// Filled while a new list comes in, as the store does.
    incoming: Map,
}

#[derive(Default)]
struct Map {
    members: HashMap<Subject, BTreeSet<Key>>,
    subjects: HashMap<Key, Subject>,
}

impl Map {
    fn put(&mut self, member: &VaultMember) {
        let key = Key::of(member);
        self.remove(&key);
        let subject = with_namespace(&member.spec.subject, &key.namespace);
        self.members.entry(subject.clone()).or_default().insert(key.clone());
        self.subjects.insert(key, subject);
    }

    fn remove(&mut self, key: &Key) {
        let Some(subject) = self.subjects.remove(key) else { return };
        if let Some(members) = self.members.get_mut(&subject) {
            members.remove(key);
            if members.is_empty() {
                self.members.remove(&subject);
            }
        }
    }
}

impl SubjectIndex {
    /// Takes in what the store of VaultMembers has taken in.
    pub fn observe(&self, event: &Event<VaultMember>) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => maps.incoming = Map::default(),
            Event::InitApply(member) => maps.incoming.put(member),
            Event::InitDone => maps.current = std::mem::take(&mut maps.incoming),
            Event::Apply(member) => maps.current.put(member),
            Event::Delete(member) => maps.current.remove(&Key::of(member)),
        }
    }

    /// The VaultMembers, in all vaults, whose subject the caller is or, for a group, belongs to.
    pub fn of(&self, caller: &Caller) -> BTreeSet<Key> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        subjects_of(caller)
            .filter_map(|subject| maps.current.members.get(&subject))
            .flatten()
            .cloned()
            .collect()
    }
}

fn subjects_of(caller: &Caller) -> impl Iterator<Item = Subject> {
    use coffer_crds::{NamedSubject, ServiceAccountSubject};
    let own = match caller.service_account() {
        Some((namespace, name)) => Subject::ServiceAccount(ServiceAccountSubject {
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }),
        None => Subject::User(NamedSubject { name: caller.username.clone() }),
    };
    let groups = caller.groups.iter().map(|group| Subject::Group(NamedSubject { name: group.clone() }));
    std::iter::once(own).chain(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_crds::{NamedSubject, ServiceAccountSubject, VaultMemberSpec};

    fn member(name: &str, subject: Subject) -> VaultMember {
        let spec = serde_json::json!({"vault": "main", "role": "member", "subject": subject});
        let spec: VaultMemberSpec = serde_json::from_value(spec).expect("a valid spec");
        let mut member = VaultMember::new(name, spec);
        member.metadata.namespace = Some("team-a".into());
        member
    }

    fn account(namespace: Option<&str>, name: &str) -> Subject {
        Subject::ServiceAccount(ServiceAccountSubject {
            namespace: namespace.map(Into::into),
            name: name.into(),
        })
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
        assert_eq!((maps.current.members.len(), maps.current.subjects.len()), (1, 1));
    }
}
