//! What the one policy says of a member and a Connection, seen from outside: the same functions as at every door, on
//! what the API server shows. The doors decide again on what is really wrapped.

use coffer_crds::{Connection, Subject, Vault, Verb};
use coffer_policy::{
    Caller, Denial, MemberView,
    release::{Asked, Request, Target, alias, judge},
    roles::{self, role, verb_name},
    writes,
};
use kube::ResourceExt;

use crate::facts::Facts;

/// What can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Question {
    /// See that it exists
    List,
    /// Have the values in a workload
    Use,
    /// Have the values in person
    Read,
    /// Give it other values or settings
    Write,
    /// Change who may use it
    Share,
    /// Make somebody else its owner
    Transfer,
    /// Delete it
    Delete,
}

/// Whether a Connection belongs to a vault.
pub(crate) fn is_of(connection: &Connection, vault: &Vault) -> bool {
    let Some(reference) = &connection.spec.vault else { return false };
    let namespace = reference.namespace.clone().or_else(|| connection.namespace());
    reference.name == vault.metadata.name && namespace == vault.metadata.namespace
}

/// Whoever comes as this member, as far as the member's own spec says who that is.
pub(crate) fn comes_as(member: &MemberView) -> Caller {
    match &member.subject {
        Subject::User(user) => Caller { username: user.name.clone(), ..Caller::default() },
        Subject::Group(group) => Caller {
            username: format!("a user of group {}", group.name),
            uid: None,
            groups: vec![group.name.clone()],
        },
        Subject::ServiceAccount(account) => Caller {
            username: format!(
                "system:serviceaccount:{}:{}",
                account.namespace.as_deref().unwrap_or_default(),
                account.name
            ),
            uid: member.subject_uid.clone(),
            groups: Vec::new(),
        },
        Subject::External(_) => Caller::default(),
    }
}

/// Why a member may not; `None` when it may.
pub(crate) fn why_not(
    facts: &Facts,
    member: &MemberView,
    connection: &Connection,
    question: Question,
) -> Option<String> {
    match question {
        Question::List => released(facts, member, connection, Verb::List),
        Question::Use => released(facts, member, connection, Verb::Use),
        Question::Read => released(facts, member, connection, Verb::Read),
        Question::Write => changed(facts, member, connection, |new| {
            new.spec.sealed_data.insert(String::from("another"), String::new());
        }),
        Question::Share => changed(facts, member, connection, |new| {
            let all = [String::from("*")];
            let is_all = new.spec.members.as_deref() == Some(&all[..])
                || (new.spec.members.is_none() && facts.vault.spec.sharing == coffer_crds::Sharing::All);
            new.spec.members = Some(if is_all { Vec::new() } else { all.to_vec() });
        }),
        Question::Transfer => changed(facts, member, connection, |new| {
            let heir = facts
                .views
                .iter()
                .find(|heir| heir.is_active() && Some(&heir.name) != connection.spec.owner.as_ref());
            new.spec.owner = heir.map(|heir| heir.name.clone()).or(Some(String::new()));
        }),
        Question::Delete => {
            writes::connection(&comes_as(member), &alone(facts, member).view(), Some(connection), None)
                .err()
                .map(|refusal| refusal.message)
        }
    }
}

fn changed(
    facts: &Facts,
    member: &MemberView,
    connection: &Connection,
    change: impl FnOnce(&mut Connection),
) -> Option<String> {
    let mut new = connection.clone();
    change(&mut new);
    let judged =
        writes::connection(&comes_as(member), &alone(facts, member).view(), Some(connection), Some(&new));
    judged.err().map(|refusal| refusal.message)
}

/// The vault with everybody in it, but with no other membership of the one who comes.
fn alone(facts: &Facts, member: &MemberView) -> Facts {
    let caller = comes_as(member);
    let others = facts.views.iter().filter(|view| view.name == member.name || !view.is_of(&caller));
    Facts {
        vault: facts.vault.clone(),
        neighbours: Vec::new(),
        views: others.cloned().collect(),
        now: facts.now,
    }
}

fn released(facts: &Facts, member: &MemberView, connection: &Connection, verb: Verb) -> Option<String> {
    if let Subject::External(_) = member.subject {
        return external(facts, member, connection, verb);
    }
    let only = [member.clone()];
    let target = Target { vault: &facts.vault, members: &only, connection, envelope: None };
    let asked = Asked { reference: alias(connection), target: Some(target) };
    let caller = comes_as(member);
    let request = Request { caller: Some(&caller), verb, now: facts.now, asked: &[asked] };
    match judge(request.caller, request.verb, request.now, &asked) {
        Ok(_) => None,
        Err(denial) => Some(explained(&denial, member, facts)),
    }
}

/// Somebody outside comes through a door of their own; the decision there is about the membership itself.
fn external(facts: &Facts, member: &MemberView, connection: &Connection, verb: Verb) -> Option<String> {
    let mut inside = member.clone();
    inside.subject = Subject::User(coffer_crds::NamedSubject { name: format!("external {}", member.name) });
    released(facts, &inside, connection, verb)
}

/// What the caller is told, and what is behind it where that tells more: whoever asks here sees the objects anyway.
fn explained(denial: &Denial, member: &MemberView, facts: &Facts) -> String {
    let told = denial.to_string();
    match denial {
        Denial::NotFound { .. } => {
            format!("{told} (member '{}' is {:?}: {})", member.name, member.state, denial.reason())
        }
        Denial::Verb { verb, .. } => {
            let roles = allowing(facts, *verb).join(", ");
            format!("{told} (roles that allow '{}': {roles})", verb_name(*verb))
        }
        Denial::Unauthenticated
        | Denial::NotCovered { .. }
        | Denial::OutOfScope { .. }
        | Denial::NotReady { .. }
        | Denial::Expired { .. }
        | Denial::RateLimited { .. }
        | Denial::TooMany { .. } => told,
    }
}

fn allowing(facts: &Facts, verb: Verb) -> Vec<String> {
    let spec = &facts.vault.spec;
    let custom = spec.roles.iter().map(|role| role.name.as_str());
    let names = roles::BUILT_IN.into_iter().chain(custom);
    names.filter(|name| role(spec, name).is_some_and(|role| role.allows(verb))).map(str::to_owned).collect()
}

/// Names of the Connections whose values a member may have, in a workload or in person.
pub(crate) fn usable(facts: &Facts, member: &str, connections: &[Connection]) -> Vec<String> {
    let Some(view) = facts.views.iter().find(|view| view.name == member) else { return Vec::new() };
    let may = |connection: &&Connection| {
        is_of(connection, &facts.vault)
            && [Question::Use, Question::Read]
                .into_iter()
                .any(|question| why_not(facts, view, connection, question).is_none())
    };
    connections.iter().filter(may).map(ResourceExt::name_any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_crds::VaultMember;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
    }

    fn facts() -> Facts {
        let member = |name: &str, role: &str, phase: &str| -> VaultMember {
            object(json!({"metadata": {"name": name, "namespace": "a", "uid": name},
                "spec": {"vault": "team", "subject": {"user": {"name": name}}, "role": role,
                    "suspended": phase == "Suspended", "acceptance": {}}, "status": {"phase": phase}}))
        };
        let vault = object(json!({"metadata": {"name": "team", "namespace": "a"}, "spec": {}}));
        let members = vec![
            member("alice", "owner", "Active"),
            member("bob", "member", "Active"),
            member("carol", "member", "Active"),
            member("dave", "member", "Suspended"),
        ];
        Facts::new(vault, members, Timestamp::UNIX_EPOCH)
    }

    fn github() -> Connection {
        object(json!({"metadata": {"name": "github", "namespace": "a"},
            "spec": {"vault": {"name": "team"}, "owner": "alice", "members": ["bob"]}}))
    }

    fn said(member: &str, question: Question) -> Option<String> {
        let facts = facts();
        let view = facts.views.iter().find(|view| view.name == member).cloned();
        why_not(&facts, &view.unwrap_or_else(|| panic!("{member} is there")), &github(), question)
    }

    /// C9, C34: the words are those of the door.
    #[test]
    fn a_refusal_is_explained_in_the_doors_own_words() {
        assert_eq!(said("bob", Question::Read), None);
        assert_eq!(
            said("carol", Question::Read).as_deref(),
            Some("Credential 'github' is not accessible to member 'carol'. Allowed: bob")
        );
        assert!(said("dave", Question::Read).is_some_and(|text| text.contains("MemberSuspended")));
    }

    #[test]
    fn writes_are_judged_by_the_same_policy_as_in_admission() {
        for question in [Question::Write, Question::Share, Question::Transfer, Question::Delete] {
            assert_eq!(said("alice", question), None, "{question:?}");
            assert!(said("bob", question).is_some(), "{question:?}");
        }
    }

    #[test]
    fn a_removed_member_may_know_what_it_could_use() {
        let facts = facts();
        let elsewhere: Connection = object(json!({"metadata": {"name": "x", "namespace": "a"},
            "spec": {"vault": {"name": "other"}, "owner": "alice", "members": ["*"]}}));
        let all = [github(), elsewhere];
        assert_eq!(usable(&facts, "bob", &all), ["github"]);
        assert!(usable(&facts, "carol", &all).is_empty());
    }
}
