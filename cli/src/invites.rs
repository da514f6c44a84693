//! Which of the invites is the caller's.

use coffer_crds::{MemberPhase, Subject, VaultMember};
use coffer_policy::{Caller, identity::with_namespace};
use kube::ResourceExt as _;

use crate::{Failure, subject::show};

/// What was found.
#[derive(Debug)]
pub(crate) enum Choice {
    /// The one invite that waits for an answer.
    Open(Box<VaultMember>),
    /// Answered already, and in force.
    Member(Box<VaultMember>),
}

/// The one invite that the caller can answer. Several are listed, none is guessed (C4).
///
/// `fingerprint` is of the caller's key: whoever delivers the proof of a key that an invite pins may accept it.
pub(crate) fn choose(
    members: Vec<VaultMember>,
    caller: &Caller,
    fingerprint: Option<&str>,
    namespace: &str,
    named: bool,
) -> Result<Choice, Failure> {
    let count = members.len();
    let (mut own, others): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|member| is_for(member, caller, fingerprint));
    if named && count > 0 && own.is_empty() {
        let whose = others.first().map(|member| show(&member.spec.subject, namespace)).unwrap_or_default();
        return Err(Failure::Denied(format!("this invite is for {whose}; you are '{}'", caller.username)));
    }
    let standing = |member: &VaultMember| Standing::of(member);
    let open = own.iter().filter(|member| standing(member) == Standing::Open).count();
    match open {
        1 => {
            own.retain(|member| standing(member) == Standing::Open);
            Ok(Choice::Open(Box::new(own.remove(0))))
        }
        0 => none_open(own, caller, namespace),
        _ => {
            let lines: Vec<_> = own
                .iter()
                .filter(|member| standing(member) == Standing::Open)
                .map(|member| {
                    format!(
                        "\n  {}   vault {}, role {}",
                        member.name_any(),
                        member.spec.vault,
                        member.spec.role
                    )
                })
                .collect();
            Err(Failure::Usage(format!(
                "{open} invites wait for you in namespace '{namespace}'; say which:{}",
                lines.concat()
            )))
        }
    }
}

fn none_open(own: Vec<VaultMember>, caller: &Caller, namespace: &str) -> Result<Choice, Failure> {
    let find = |wanted: Standing| own.iter().find(|member| Standing::of(member) == wanted);
    if let Some(member) = find(Standing::Member) {
        return Ok(Choice::Member(Box::new(member.clone())));
    }
    if let Some(member) = find(Standing::Expired) {
        return Err(Failure::Expired(format!(
            "the invite '{}' to vault '{}' has expired: ask for a new one",
            member.name_any(),
            member.spec.vault
        )));
    }
    if let Some(member) = find(Standing::Closed) {
        return Err(Failure::Conflict(format!(
            "the invite '{}' to vault '{}' was declined or is suspended: ask for a new one",
            member.name_any(),
            member.spec.vault
        )));
    }
    Err(Failure::NotFound(format!(
        "no invite in namespace '{namespace}' is for you ({}): ask an owner of the vault for one",
        caller.as_subject()
    )))
}

/// Where an invite stands for the one who is to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    Member,
    Expired,
    Closed,
}

impl Standing {
    fn of(member: &VaultMember) -> Self {
        if member.spec.declined || member.spec.suspended {
            return Self::Closed;
        }
        let status = member.status.clone().unwrap_or_default();
        let brought = member.spec.acceptance.is_some();
        match status.phase {
            Some(MemberPhase::Expired) => Self::Expired,
            Some(MemberPhase::Declined | MemberPhase::Suspended) => Self::Closed,
            Some(MemberPhase::Active) if brought || !is_owner(member) => Self::Member,
            // An owner is Active without an answer, and may bring a key all the same.
            Some(MemberPhase::Active) => Self::Open,
            Some(MemberPhase::Invited | MemberPhase::Accepted) | None if brought => Self::Member,
            Some(MemberPhase::Invited | MemberPhase::Accepted) | None => Self::Open,
        }
    }
}

fn is_owner(member: &VaultMember) -> bool {
    member.spec.role == coffer_policy::roles::OWNER && matches!(member.spec.subject, Subject::User(_))
}

pub(crate) fn is_for(member: &VaultMember, caller: &Caller, fingerprint: Option<&str>) -> bool {
    let namespace = member.namespace().unwrap_or_default();
    match with_namespace(&member.spec.subject, &namespace) {
        Subject::User(user) => user.name == caller.username && caller.service_account().is_none(),
        Subject::Group(group) => caller.groups.contains(&group.name),
        // By the annotation on the ServiceAccount.
        Subject::ServiceAccount(_) => false,
        Subject::External(_) => {
            member.spec.key_fingerprint.is_some() && member.spec.key_fingerprint.as_deref() == fingerprint
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn member(name: &str, subject: Value, phase: &str) -> VaultMember {
        let object = json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember",
            "metadata": {"name": name, "namespace": "team"},
            "spec": {"vault": "team", "subject": subject, "role": "member"}, "status": {"phase": phase}});
        serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"))
    }

    fn bob() -> Caller {
        Caller { username: "bob".into(), uid: None, groups: vec!["devs".into()] }
    }

    fn chosen(members: Vec<VaultMember>, named: bool) -> Result<String, u8> {
        match choose(members, &bob(), Some("SHA256:bobs"), "team", named) {
            Ok(Choice::Open(member)) => Ok(member.name_any()),
            Ok(Choice::Member(member)) => Ok(format!("already {}", member.name_any())),
            Err(failure) => Err(failure.exit_code()),
        }
    }

    fn user(name: &str) -> Value {
        json!({"user": {"name": name}})
    }

    /// C4: accepted with one command; several are listed.
    #[test]
    fn the_one_invite_that_is_ones_own_needs_no_name() {
        let alices = member("alice", user("alice"), "Active");
        let bobs = member("bob", user("bob"), "Invited");
        assert_eq!(chosen(vec![alices.clone(), bobs.clone()], false), Ok("bob".into()));
        let devs = member("devs", json!({"group": {"name": "devs"}}), "Invited");
        assert_eq!(chosen(vec![bobs.clone(), devs], false), Err(Failure::USAGE));
        assert_eq!(chosen(vec![alices.clone()], false), Err(Failure::NOT_FOUND));
        assert_eq!(chosen(vec![alices], true), Err(Failure::DENIED));
    }

    #[test]
    fn what_was_answered_or_has_run_out_is_told_apart() {
        assert_eq!(chosen(vec![member("bob", user("bob"), "Active")], false), Ok("already bob".into()));
        assert_eq!(chosen(vec![member("bob", user("bob"), "Expired")], false), Err(Failure::EXPIRED));
        assert_eq!(chosen(vec![member("bob", user("bob"), "Declined")], false), Err(Failure::CONFLICT));
        let of_ci = json!({"serviceAccount": {"name": "builder", "namespace": "ci"}});
        assert_eq!(chosen(vec![member("ci", of_ci, "Invited")], false), Err(Failure::NOT_FOUND));
    }

    #[test]
    fn whoever_holds_the_pinned_key_may_accept_for_somebody_outside() {
        let mut laptop = member("laptop", json!({"external": {}}), "Invited");
        assert_eq!(chosen(vec![laptop.clone()], false), Err(Failure::NOT_FOUND));
        laptop.spec.key_fingerprint = Some("SHA256:bobs".into());
        assert_eq!(chosen(vec![laptop], false), Ok("laptop".into()));
    }
}
