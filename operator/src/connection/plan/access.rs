//! Who may open the Envelope: owner and scope with uids, and the members that get a slot of their own.

use std::collections::{BTreeMap, BTreeSet};

use coffer_crds::{
    Advised, AllMembers, Custody, EnvelopeMember, EnvelopeScope, EnvelopeSpec, RegisteredMember,
    conditions::reason,
    limits::{MAX_LISTED_MEMBERS, MAX_RESTRICTED_MEMBERS},
};
use coffer_envelope::{Access, Recipient, listed_scope};
use coffer_keys::member_key::MemberPublicKey;
use coffer_policy::{
    Scope,
    roles::{Role, role},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::ResourceExt as _;

use super::{At, status::Finding};
use crate::{
    cache::Key,
    reads::{Loss, NotAsked, ask::written_at},
    standing::{in_force, key_in_force},
};

/// Owner and scope by name.
pub(super) struct Wish {
    /// The owner's name.
    pub(super) owner: String,
    /// The scope.
    pub(super) scope: Scope,
}

impl Wish {
    /// What an Envelope records.
    pub(super) fn recorded(spec: &EnvelopeSpec) -> Self {
        Self { owner: spec.owner.name.clone(), scope: Scope::of_envelope(spec) }
    }
}

/// A wish with uids and keys.
pub(super) struct Granted {
    owner: EnvelopeMember,
    scope: EnvelopeScope,
    recipients: Vec<(RegisteredMember, Option<MemberPublicKey>)>,
    /// Names in the scope that gain nothing: no member, or another than the one that was listed.
    pub(super) unknown: Vec<String>,
}

impl Granted {
    /// As the Envelope's writer wants it.
    pub(super) fn access(&self) -> Access<'_> {
        let recipients = self.recipients.iter().map(|(member, key)| Recipient { member, key: key.as_ref() });
        Access { owner: self.owner.clone(), scope: self.scope.clone(), recipients: recipients.collect() }
    }

    /// Whether whoever holds the vault key can open what is sealed for it.
    pub(super) fn is_for_all(&self) -> bool {
        matches!(self.scope, EnvelopeScope::All(_))
    }
}

/// Whether somebody is meant to be owner or in scope who is not by the Envelope, or the other way round.
pub(super) fn differs(recorded: &EnvelopeSpec, granted: &Granted) -> bool {
    let names = |scope: &EnvelopeScope| match scope {
        EnvelopeScope::All(_) => None,
        EnvelopeScope::Listed(members) => {
            Some(members.iter().map(|member| member.name.clone()).collect::<BTreeSet<_>>())
        }
    };
    recorded.owner.name != granted.owner.name || names(&recorded.members) != names(&granted.scope)
}

/// Members that may know the values of the Envelope that was read and cannot open the one that follows: those whose own
/// slot goes, and of an Envelope for everybody those who lost the vault key since, or are left out of a list.
pub(super) fn lost(at: &At<'_>, recorded: &EnvelopeSpec, granted: &Granted) -> Vec<Loss> {
    let keeps = |name: &str, uid: &str| {
        let uid = at.keys.present_uid(name, uid);
        granted.recipients.iter().any(|(member, _)| member.name == name && member.uid == uid)
    };
    let slots = recorded.slots.iter().filter_map(|slot| slot.name.as_deref().zip(slot.uid.as_deref()));
    let opens_anyway = |name: &str, uid: &str| {
        let uid = at.keys.present_uid(name, uid);
        let entry = at.keys.member(name).filter(|entry| granted.is_for_all() && entry.uid == uid);
        entry.is_some_and(|entry| {
            // Whoever is not among the facts lost nothing that they would be named for.
            has_vault_key(at, entry) && (at.vault.member_of(entry).is_none() || present(at, name).is_some())
        })
    };
    // When, and whether an epoch says so.
    let mut lost: BTreeMap<&str, (Timestamp, bool)> = slots
        .filter(|(name, uid)| !keeps(name, uid) && !opens_anyway(name, uid))
        .map(|(name, _)| (name, (at.now, false)))
        .collect();
    if matches!(recorded.members, EnvelopeScope::All(_)) {
        let since = at.keys.epochs().filter(|epoch| epoch.epoch > recorded.epoch);
        let causes = since.flat_map(|epoch| epoch.causes.iter().map(|cause| (cause, epoch.created_at.0)));
        lost.extend(causes.filter_map(|(cause, when)| {
            let member = cause.member.as_ref().filter(|_| cause.reason != reason::KEY_CHANGED)?;
            let out = !keeps(&member.name, &member.uid) && !opens_anyway(&member.name, &member.uid);
            out.then_some((member.name.as_str(), (when, true)))
        }));
        if !granted.is_for_all() {
            let all = at.keys.members().iter().filter(|entry| has_vault_key(at, entry));
            let left_out = all.filter(|entry| !keeps(&entry.name, &entry.uid));
            lost.extend(left_out.map(|entry| (entry.name.as_str(), (at.now, false))));
        }
    }
    let lost = lost.into_iter().map(|(member, (when, recorded))| Loss {
        member: String::from(member),
        at: when,
        recorded,
        out: out_of_force(at, member),
    });
    lost.take(MAX_LISTED_MEMBERS).collect()
}

/// How a member stands that is not in force; `None` for one that is.
fn out_of_force(at: &At<'_>, name: &str) -> Option<String> {
    if present(at, name).is_some() {
        return None;
    }
    let object = at.vault.members.iter().find(|member| member.name_any() == name);
    let stands = object.filter(|member| member.metadata.deletion_timestamp.is_none()).map(|member| {
        format!("{}/{}", member.uid().unwrap_or_default(), member.metadata.generation.unwrap_or_default())
    });
    Some(stands.unwrap_or_default())
}

/// What an Envelope says of those who lose access to its present values: whether they did read them, by the audit logs, or
/// could have.
///
/// # Errors
/// Those of whom the logs were not asked yet.
pub(super) fn advised(
    at: &At<'_>,
    recorded: &EnvelopeSpec,
    lost: Vec<Loss>,
) -> Result<Vec<Advised>, Vec<Loss>> {
    let connection = Key::of(at.facts.connection.as_ref());
    // A read in the second in which the value was written may have been one of the value before: better named than not.
    let written_at = written_at(recorded);
    let (mut advised, mut unknown) = (Vec::new(), Vec::new());
    for loss in lost {
        match at.facts.reads.last(&loss, &connection, at.now) {
            Ok(last) => {
                let did_read = last.is_some_and(|last| last >= written_at);
                let reason = if did_read { reason::MEMBER_DID_READ } else { reason::MEMBER_COULD_READ };
                advised.push(Advised {
                    member: loss.member,
                    reason: String::from(reason),
                    at: Time(loss.at),
                });
            }
            Err(NotAsked) => unknown.push(loss),
        }
    }
    if unknown.is_empty() { Ok(advised) } else { Err(unknown) }
}

/// Whether an entry of the register is of somebody who is given the vault key, when in force.
fn has_vault_key(at: &At<'_>, entry: &RegisteredMember) -> bool {
    role(&at.vault.vault.spec, &entry.role).is_some_and(|role| role.holds_vault_key())
}

/// Whether a member of that name is in force.
pub(super) fn is_in_force(at: &At<'_>, name: &str) -> bool {
    present(at, name).is_some()
}

/// Binds names to members. A name keeps the uid that the Envelope recorded for it: another member of that name gains
/// nothing until the name is taken out and listed again.
pub(super) fn grant(at: &At<'_>, wish: &Wish, recorded: Option<&EnvelopeSpec>) -> Result<Granted, Finding> {
    let mut unknown = Vec::new();
    let mut bind = |name: &str| -> EnvelopeMember {
        let before = recorded.and_then(|recorded| recorded_uid(at, recorded, name));
        let now = present(at, name).map(|(entry, _)| entry.uid.clone());
        let uid = before.or_else(|| now.clone()).unwrap_or_default();
        if now.as_ref() != Some(&uid) && !is_registered(at, name, &uid) {
            unknown.push(String::from(name));
        }
        EnvelopeMember { name: String::from(name), uid }
    };
    let owner = bind(&wish.owner);
    let scope = match &wish.scope {
        Scope::All => EnvelopeScope::All(AllMembers {}),
        Scope::Listed(names) => {
            let names: BTreeSet<&str> =
                names.iter().map(String::as_str).filter(|name| *name != wish.owner).collect();
            let mut members: Vec<EnvelopeMember> = names.into_iter().map(&mut bind).collect();
            members.push(owner.clone());
            listed_scope(members)
                .map_err(|error| Finding::kept(reason::INVALID_SPEC, format!("spec.members {error}")))?
        }
    };
    let recipients = recipients(at, &scope)?;
    Ok(Granted { owner, scope, recipients, unknown })
}

fn recorded_uid(at: &At<'_>, recorded: &EnvelopeSpec, name: &str) -> Option<String> {
    let listed: &[EnvelopeMember] = match &recorded.members {
        EnvelopeScope::All(_) => &[],
        EnvelopeScope::Listed(members) => members,
    };
    let found = listed.iter().chain([&recorded.owner]).find(|member| member.name == name);
    let found = found.filter(|member| !member.uid.is_empty());
    found.map(|member| at.keys.present_uid(name, &member.uid).to_owned())
}

fn is_registered(at: &At<'_>, name: &str, uid: &str) -> bool {
    at.keys.member(name).is_some_and(|entry| entry.uid == uid && at.vault.member_of(entry).is_some())
}

/// The members that get a slot of their own: of a list everybody in force whose role opens and covers this Connection;
/// of `*` those whose role is restricted, since the others have the vault key.
fn recipients(
    at: &At<'_>,
    scope: &EnvelopeScope,
) -> Result<Vec<(RegisteredMember, Option<MemberPublicKey>)>, Finding> {
    let name = at.facts.connection.name_any();
    let opens = |role: &Role| role.opens() && role.covers(&name);
    let entries: Vec<(&RegisteredMember, Role)> = match scope {
        EnvelopeScope::All(_) => {
            let all = at.keys.members().iter().filter_map(|entry| present(at, &entry.name));
            let restricted: Vec<_> = all.filter(|(_, role)| opens(role) && role.is_restricted()).collect();
            if restricted.len() > MAX_RESTRICTED_MEMBERS {
                let message = format!(
                    "{} members with restricted roles would get a slot; at most {MAX_RESTRICTED_MEMBERS}",
                    restricted.len()
                );
                return Err(Finding::kept(reason::TOO_LARGE, message));
            }
            restricted
        }
        EnvelopeScope::Listed(members) => members
            .iter()
            .filter_map(|member| present(at, &member.name).filter(|(entry, _)| entry.uid == member.uid))
            .filter(|(_, role)| opens(role))
            .collect(),
    };
    Ok(entries.into_iter().filter_map(|(entry, _)| with_key(at, entry)).collect())
}

/// A member of the register that is in force, with its role.
fn present<'a>(at: &At<'a>, name: &str) -> Option<(&'a RegisteredMember, Role)> {
    let entry = at.keys.member(name)?;
    let member = at.vault.member_of(entry)?;
    let role = in_force(&at.vault.vault, member, entry, at.vault.account(member), at.now).ok()?;
    Some((entry, role))
}

/// A member with the key that the register names. One whose key is not there (a spec that was changed since) has no
/// slot rather than one for another key.
fn with_key(at: &At<'_>, entry: &RegisteredMember) -> Option<(RegisteredMember, Option<MemberPublicKey>)> {
    match entry.custody {
        Custody::Brokered => Some((entry.clone(), None)),
        Custody::Own => key_in_force(at.vault.member_of(entry)?, entry).map(|key| (entry.clone(), Some(key))),
    }
}
