//! RoleBindings: what Kubernetes itself lets members do with the objects of their vault's namespace.

use std::collections::BTreeMap;

use coffer_crds::{MemberPhase, Subject as MemberSubject, VaultMember, Verb, conditions::reason};
use coffer_policy::roles::Role;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::{ResourceExt as _, api::ObjectMeta};

use super::{super::fetch::Facts, owner_reference, register::Register};
use crate::{
    apply::{MANAGED_BY, MANAGER},
    caches::VAULT_LABEL,
    standing::Out,
};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Bindings to write.
pub(super) struct Bindings {
    /// To be deleted.
    pub(super) gone: Vec<RoleBinding>,
    /// To be made.
    pub(super) new: Vec<RoleBinding>,
    /// To be put right.
    pub(super) changed: Vec<RoleBinding>,
}

/// One RoleBinding per level with members in force, and one with those whose invite waits for their answer; everybody
/// else's is taken back.
pub(super) fn plan(facts: &Facts, register: &Register) -> Bindings {
    let mut levels: BTreeMap<&'static str, Vec<Subject>> = BTreeMap::new();
    for (name, verdict) in &register.verdicts {
        let bound = match (&verdict.entry, &verdict.standing) {
            (Some(entry), Ok(role)) => rbac_subject(&entry.subject).map(|subject| (level(role), subject)),
            (_, Err(out)) => {
                let member = facts.members().find(|member| member.name_any() == *name);
                let invited = member.filter(|member| waits_for_answer(out, verdict.entry.is_some(), member));
                invited.and_then(|member| invitee(&member.spec.subject)).map(|subject| (INVITED, subject))
            }
            (None, Ok(_)) => None,
        };
        if let Some((level, subject)) = bound {
            levels.entry(level).or_default().push(subject);
        }
    }
    let mut bindings = Bindings { gone: Vec::new(), new: Vec::new(), changed: Vec::new() };
    let uid = facts.vault.metadata.uid.as_ref();
    let ours = facts.bindings.iter().filter(|binding| {
        binding.metadata.owner_references.iter().flatten().any(|reference| Some(&reference.uid) == uid)
    });
    let mut present: BTreeMap<String, &RoleBinding> =
        ours.map(|binding| (binding.name_any(), binding.as_ref())).collect();
    for (level, subjects) in levels {
        let wanted = binding(facts, level, subjects);
        match present.remove(&wanted.name_any()) {
            None => bindings.new.push(wanted),
            Some(found) if found.role_ref != wanted.role_ref => {
                // roleRef cannot be changed: the next look makes it anew.
                bindings.gone.push(found.clone());
            }
            Some(found) if found.subjects != wanted.subjects => bindings.changed.push(wanted),
            Some(_) => {}
        }
    }
    bindings.gone.extend(present.into_values().cloned());
    bindings.changed.sort_by_key(is_of_invited);
    bindings
}

/// Whether a binding is that of those who may only answer.
pub(super) fn is_of_invited(binding: &RoleBinding) -> bool {
    binding.role_ref.name == format!("coffer-vault-{INVITED}")
}

/// The level of those who may only answer.
const INVITED: &str = "invited";

/// Whether a good invite waits for its subject. One whose author may not invite opens nothing: it is not authorized.
/// An owner that the Vault lists was never invited, but in a vault of `custody: SelfOnly` is one only once it brings a
/// key: that too is an acceptance, as long as it was not given without one.
fn waits_for_answer(out: &Out, registered: bool, member: &VaultMember) -> bool {
    if out.reason == reason::CUSTODY_REFUSED {
        let acceptance = member.spec.acceptance.as_ref();
        return acceptance.is_none_or(|acceptance| acceptance.public_key.is_some());
    }
    let open = [reason::INVITED, reason::PROOF_REQUIRED].contains(&out.reason);
    open && !registered && out.phase == MemberPhase::Invited
}

/// Who answers an invite through the API server. For a ServiceAccount it is who may annotate it.
fn invitee(subject: &MemberSubject) -> Option<Subject> {
    match subject {
        MemberSubject::User(_) | MemberSubject::Group(_) => rbac_subject(subject),
        MemberSubject::ServiceAccount(_) | MemberSubject::External(_) => None,
    }
}

/// Which of the chart's ClusterRoles goes with a role. Those who may invite must be able to write VaultMembers; what
/// of it they may do is decided by the webhook.
fn level(role: &Role) -> &'static str {
    if role.is_owner() {
        "owner"
    } else if role.is_admin() || role.allows(Verb::Invite) {
        "admin"
    } else {
        "member"
    }
}

fn binding(facts: &Facts, level: &str, subjects: Vec<Subject>) -> RoleBinding {
    let key = facts.key();
    let labels = [(MANAGED_BY, MANAGER), (VAULT_LABEL, key.name.as_str())];
    RoleBinding {
        metadata: ObjectMeta {
            name: Some(format!("coffer-vault-{}-{level}", key.name)),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels.map(|(label, value)| (String::from(label), String::from(value))).into()),
            owner_references: Some(vec![owner_reference(&facts.vault)]),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: String::from(RBAC),
            kind: String::from("ClusterRole"),
            name: format!("coffer-vault-{level}"),
        },
        subjects: Some(subjects),
    }
}

fn rbac_subject(subject: &MemberSubject) -> Option<Subject> {
    let named = |kind: &str, name: &str| Subject {
        api_group: Some(String::from(RBAC)),
        kind: String::from(kind),
        name: String::from(name),
        namespace: None,
    };
    match subject {
        MemberSubject::ServiceAccount(account) => Some(Subject {
            api_group: None,
            kind: String::from("ServiceAccount"),
            name: account.name.clone(),
            namespace: account.namespace.clone(),
        }),
        MemberSubject::User(user) => Some(named("User", &user.name)),
        MemberSubject::Group(group) => Some(named("Group", &group.name)),
        MemberSubject::External(_) => None,
    }
}
