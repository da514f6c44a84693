//! What is to be written so that a Vault, its Keyring and its members are as they should be. Pure: facts, the time and
//! randomness in, a list of writes out.
//!
//! The order of the writes is the order in which they are sent, and part of the protocol:
//!
//! 1. the **Keyring**, which says who is a member: one write for everything that changed in the register. A new epoch
//!    that a removal calls for is in the same write as the removal, so that no crash can forget it; each further step
//!    of a turn-over ([`crate::rotation`]) is one more write of it;
//! 2. for a new vault its **status** at once, because sealing waits for the intake key. Before its Keyring goes only what
//!    members still show of a vault of that name that is gone;
//! 3. what is **taken away**: wrapped keys, RoleBindings, members that the operator made;
//! 4. what is **given**: wrapped keys with phases, RoleBindings, members of new owners;
//! 5. the Vault's **status**.

mod admission;
mod bindings;
mod keys;
mod members;
mod register;
pub(crate) mod restored;
pub(crate) mod rotation;
mod status;

use coffer_crds::{
    Keyring, Vault, VaultMember, VaultMemberStatus, VaultStatus,
    conditions::{self, reason},
};
use coffer_envelope::OpenKeyring;
use coffer_keys::VaultId;
use k8s_openapi::{
    api::rbac::v1::RoleBinding, apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp,
};
use kube::api::ObjectMeta;
use rand_core::CryptoRng;

use super::fetch::Facts;
use crate::{
    apply::{MANAGED_BY, MANAGER},
    report::{self, Notice, Wanted, sooner},
    rotation::Step,
};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Make the Keyring.
    CreateKeyring(Box<Keyring>),
    /// Replace the Keyring that was read.
    ReplaceKeyring(Box<Keyring>),
    /// Set the operator's part of a member's status.
    MemberStatus(Box<(VaultMember, VaultMemberStatus)>),
    /// Make the member of an entry of `Vault.spec.owners`.
    CreateMember(Box<VaultMember>),
    /// Make a member that `Vault.spec.owners` lists an owner, not suspended.
    RaiseOwner(Box<VaultMember>),
    /// Delete a member that the operator made for an entry of `Vault.spec.owners` that is gone.
    DeleteMember(Box<VaultMember>),
    /// Make a RoleBinding.
    CreateBinding(Box<RoleBinding>),
    /// Put a RoleBinding of this vault right.
    ApplyBinding(Box<RoleBinding>),
    /// Delete a RoleBinding.
    DeleteBinding(Box<RoleBinding>),
    /// Set the Vault's status.
    VaultStatus(Box<VaultStatus>),
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Writes, in order.
    pub writes: Vec<Write>,
    /// Events on the Vault.
    pub notices: Vec<Notice>,
    /// Changes whose authors may not make them.
    pub refused: usize,
    /// When time alone changes something.
    pub next: Option<Timestamp>,
    /// The step of a turn-over of keys that is taken, if one is.
    pub step: Option<Step>,
}

/// Decides what to write.
pub fn plan(facts: &Facts, now: Timestamp, rng: &mut impl CryptoRng) -> Plan {
    if facts.vault.metadata.deletion_timestamp.is_some() {
        // Everything that is ours goes with it by its ownerReference.
        return Plan::default();
    }
    match keyring(facts, now, rng) {
        Ok(Keys::New(keys)) => new_vault(facts, &keys, now),
        Ok(Keys::Known(keys)) => known_vault(facts, keys, now, rng),
        Ok(Keys::Restored(keys)) => restored_vault(facts, &keys),
        Err(unusable) => {
            let mut plan = Plan::default();
            let wanted = status::unusable(facts, unusable, now);
            plan.push_status(facts, wanted);
            plan
        }
    }
}

/// Says that nothing is applied while the guards are not as shipped.
pub fn unguarded(facts: &Facts, why: &str, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if facts.vault.metadata.deletion_timestamp.is_none() {
        plan.push_status(facts, status::unguarded(facts, why, now));
    }
    plan
}

enum Keys {
    New(OpenKeyring),
    Known(OpenKeyring),
    /// Of a Vault that is gone, and bound to this one now.
    Restored(OpenKeyring),
}

/// The Keyring, opened, or a new one; else why there is none, and nothing may be written but that.
fn keyring(facts: &Facts, now: Timestamp, rng: &mut impl CryptoRng) -> Result<Keys, Wanted> {
    let custodian = match &facts.custodian {
        Ok(custodian) => custodian,
        Err(why) => return Err(Wanted::not_ready(reason::CUSTODIAN_UNAVAILABLE, why.clone())),
    };
    let uid = facts.vault.metadata.uid.as_deref().unwrap_or_default();
    let Some(keyring) = &facts.keyring else {
        let known = facts.vault.status.as_ref().and_then(|status| status.vault_id.as_deref());
        if let Some(id) = known {
            let message = format!(
                "the Keyring of vault id {id} is gone, and with it the vault's keys; restore it from a backup, or \
                 delete the Vault and its Connections and apply them again"
            );
            return Err(Wanted::not_ready(reason::KEYRING_INVALID, message));
        }
        return Ok(Keys::New(custodian.new_keyring(VaultId::generate(rng), uid, now, rng)));
    };
    let restored = keyring.spec.vault_uid != uid;
    if restored && !restored::is_asked(&facts.vault, keyring) {
        return Err(restored::not_adopted(facts, keyring));
    }
    match custodian.open_keyring(&keyring.spec) {
        Ok(keys) if restored => restored::adopt(facts, keys, now, rng).map(Keys::Restored),
        Ok(_) if restored::is_older(&facts.vault, keyring) => Err(restored::older()),
        Ok(keys) => Ok(Keys::Known(keys)),
        Err(error) => {
            let message = format!(
                "{error}; restore it, or the Secrets of the custodian that it was made under, from a backup; nothing is \
                 written meanwhile"
            );
            Err(Wanted::not_ready(reason::KEYRING_INVALID, message))
        }
    }
}

/// A first round: keys and where to seal to. Members follow when the owners' objects exist.
fn new_vault(facts: &Facts, keys: &OpenKeyring, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let asked = keys::forgotten(facts.members());
    plan.writes.extend(asked.map(|change| Write::MemberStatus(Box::new(change))));
    plan.writes.push(Write::CreateKeyring(Box::new(object(facts, keys))));
    plan.notices.push(Notice::normal("KeyringCreated", format!("vault id {}", keys.vault_id())));
    let ready = Wanted::not_ready(reason::PENDING, "keys are made; owners are being made members");
    let wanted = status::of(facts, keys, status::Counts::default(), ready, now);
    plan.push_status(facts, wanted);
    plan.writes.extend(
        register::missing_owners(facts).into_iter().map(|member| Write::CreateMember(Box::new(member))),
    );
    plan
}

/// A first round after a restore: one write binds the Keyring to the Vault and its entries to the members that came back
/// with it. Everything else follows from what it says then.
fn restored_vault(facts: &Facts, keys: &OpenKeyring) -> Plan {
    let mut plan = Plan { step: Some(Step::Begin), ..Plan::default() };
    plan.writes.push(Write::ReplaceKeyring(Box::new(object(facts, keys))));
    let note = format!(
        "the keys of vault id {}; everything is sealed anew in epoch {}",
        keys.vault_id(),
        keys.newest()
    );
    plan.notices.push(Notice::normal(reason::RESTORED, note));
    plan
}

fn known_vault(facts: &Facts, mut keys: OpenKeyring, now: Timestamp, rng: &mut impl CryptoRng) -> Plan {
    let mut plan = Plan::default();
    let register = register::decide(facts, &keys, now);
    plan.refused = register.refused();
    plan.next = register.next;
    if !register.raise.is_empty() {
        // A listed owner that was demoted, or the last one suspended: put right before anything follows from it.
        plan.writes.extend(register.raise.into_iter().map(|member| Write::RaiseOwner(Box::new(member))));
        return plan;
    }
    let turned = rotation::turn(facts, &mut keys, &register, now, rng);
    plan.notices.extend(turned.notices);
    plan.next = sooner(plan.next, turned.next);
    plan.step = turned.step;
    for gone in &register.removed {
        plan.notices.push(Notice::normal("MemberRemoved", format!("member '{}' ({})", gone.name, gone.role)));
    }
    // The register is made of entries that were in it or were parsed by `register`: it is always well formed.
    if keys.set_members(register.entries()).is_err() {
        tracing::error!(vault = %facts.key(), "the register could not be set");
        return Plan::default();
    }
    if keys.changed() || !is_ours(facts) {
        plan.writes.push(Write::ReplaceKeyring(Box::new(object(facts, &keys))));
    }
    let members = members::statuses(facts, &keys, &register, now, rng);
    let bindings = bindings::plan(facts, &register);
    plan.writes.extend(members.taken.into_iter().map(|change| Write::MemberStatus(Box::new(change))));
    // Who has just accepted looks on: their right to look as invitees goes only once they have it as members.
    let (last, gone) = bindings.gone.into_iter().partition::<Vec<_>, _>(bindings::is_of_invited);
    plan.writes.extend(gone.into_iter().map(|binding| Write::DeleteBinding(Box::new(binding))));
    let former = register.former_owners.iter().cloned();
    plan.writes.extend(former.map(|member| Write::DeleteMember(Box::new(member))));
    plan.writes.extend(register.missing.iter().cloned().map(|member| Write::CreateMember(Box::new(member))));
    plan.writes.extend(members.given.into_iter().map(|change| Write::MemberStatus(Box::new(change))));
    plan.writes.extend(bindings.new.into_iter().map(|binding| Write::CreateBinding(Box::new(binding))));
    plan.writes.extend(bindings.changed.into_iter().map(|binding| Write::ApplyBinding(Box::new(binding))));
    plan.writes.extend(last.into_iter().map(|binding| Write::DeleteBinding(Box::new(binding))));
    let wanted = status::of(facts, &keys, members.counts, register.ready(), now);
    plan.push_status(facts, wanted);
    plan
}

impl Plan {
    /// Adds the Vault's status, if it is not that already.
    fn push_status(&mut self, facts: &Facts, wanted: VaultStatus) {
        if facts.vault.status.as_ref() != Some(&wanted) {
            let before = facts.vault.status.as_ref().map(|status| status.conditions.as_slice());
            self.notices.extend(guards_notice(before.unwrap_or_default(), &wanted.conditions));
            self.writes.push(Write::VaultStatus(Box::new(wanted)));
        }
    }
}

/// What a change of the guards is worth saying.
fn guards_notice(before: &[Condition], after: &[Condition]) -> Option<Notice> {
    let missing = |conditions| report::has_reason(conditions, conditions::GUARDED, reason::GUARD_MISSING);
    match (missing(before), missing(after)) {
        (false, true) => {
            let why = after.iter().find(|condition| condition.type_ == conditions::GUARDED)?;
            Some(Notice::warning(reason::GUARD_MISSING, why.message.clone()))
        }
        (true, false) => {
            Some(Notice::normal(reason::AS_SHIPPED, "guards are back; changes are applied again"))
        }
        (true, true) | (false, false) => None,
    }
}

/// The Keyring as it is to be written, with the state that it was read in.
fn object(facts: &Facts, keys: &OpenKeyring) -> Keyring {
    let mut metadata = match &facts.keyring {
        Some(read) => read.metadata.clone(),
        None => ObjectMeta {
            name: facts.vault.metadata.name.clone(),
            namespace: facts.vault.metadata.namespace.clone(),
            labels: Some([(String::from(MANAGED_BY), String::from(MANAGER))].into()),
            ..ObjectMeta::default()
        },
    };
    metadata.owner_references = Some(vec![owner_reference(&facts.vault)]);
    metadata.managed_fields = None;
    Keyring { metadata, spec: keys.to_spec() }
}

/// The reference by which the garbage collector takes what belongs to the Vault. It does not block the Vault's deletion.
pub(crate) fn owner_reference(
    vault: &Vault,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
    use kube::Resource as _;
    vault.controller_owner_ref(&()).unwrap_or_default()
}

/// Whether the Keyring is deleted with the Vault.
fn is_ours(facts: &Facts) -> bool {
    let references =
        facts.keyring.iter().flat_map(|keyring| keyring.metadata.owner_references.iter().flatten());
    references.into_iter().any(|reference| Some(&reference.uid) == facts.vault.metadata.uid.as_ref())
}

#[cfg(test)]
mod tests;
