//! A Vault that came back from a backup, beside a Keyring that was written for the one before (DESIGN §5).

use coffer_crds::{Custody, EpochCause, Keyring, Vault, annotations, conditions::reason};
use coffer_envelope::OpenKeyring;
use coffer_policy::{identity::with_namespace, roles};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use rand_core::CryptoRng;

use super::super::fetch::Facts;
use crate::{report::Wanted, standing::key_in_force};

/// Whether a restore user says that this Vault takes the place of the one that the Keyring was written for. A policy
/// lets nobody else set the annotation, and without that policy nothing is applied at all. It is said once: a Vault that
/// has had keys takes no others, so that nobody puts the Keyring of before back afterwards.
pub(crate) fn is_asked(vault: &Vault, keyring: &Keyring) -> bool {
    vault.annotations().get(annotations::RESTORE) == Some(&keyring.spec.vault_uid)
        && Some(&keyring.spec.vault_uid) != vault.metadata.uid.as_ref()
        && vault.status.as_ref().is_none_or(|status| status.vault_id.is_none())
}

/// Whether somebody has put an older Keyring back: it is a valid one, of members and keys that are not any more.
pub(crate) fn is_older(vault: &Vault, keyring: &Keyring) -> bool {
    let known = vault.status.as_ref().and_then(|status| status.key_epoch);
    known > keyring.spec.epochs.iter().map(|epoch| epoch.epoch).max()
}

/// What is said of it.
pub(super) fn older() -> Wanted {
    let message = "the Keyring is of an epoch that is over: somebody has put an older one back. Put the newest back, or \
                   delete the Vault and its Connections and restore them whole; nothing is written meanwhile";
    Wanted::not_ready(reason::KEYRING_INVALID, message)
}

/// What is said as long as nobody does.
pub(super) fn not_adopted(facts: &Facts, keyring: &Keyring) -> Wanted {
    let (key, uid) = (facts.key(), &keyring.spec.vault_uid);
    let message = format!(
        "Keyring '{name}' belongs to a Vault of uid {uid} that is gone; it is left as it is. After a restore, one of the \
         chart's restoreUsers has it adopted: kubectl annotate vault -n {namespace} {name} {annotation}={uid}. \
         Otherwise delete it if nothing in it is needed",
        name = key.name,
        namespace = key.namespace,
        annotation = annotations::RESTORE,
    );
    Wanted::not_ready(reason::NOT_ADOPTED, message)
}

/// Binds the Keyring to the Vault, and its entries to the members that are the same by name, subject and key. The others
/// stay bound to members that are gone: what follows for them is what follows from a removal.
pub(super) fn adopt(
    facts: &Facts,
    mut keys: OpenKeyring,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<OpenKeyring, Wanted> {
    no_other_owners(facts, &keys)?;
    let cause = EpochCause { reason: String::from(reason::RESTORED), member: None };
    keys.adopt(facts.vault.metadata.uid.as_deref().unwrap_or_default(), [cause], now, rng);
    for member in facts.members() {
        let name = member.name_any();
        let same = keys.member(&name).is_some_and(|entry| {
            let subject = with_namespace(&member.spec.subject, &member.namespace().unwrap_or_default());
            subject == entry.subject
                && match entry.custody {
                    Custody::Own => key_in_force(member, entry).is_some(),
                    Custody::Brokered => true,
                }
        });
        if same {
            keys.rebind(&name, &member.uid().unwrap_or_default());
        }
    }
    Ok(keys)
}

/// Whoever made the Vault may be a stranger: it takes the old one's place with owners that the old one had, and no other.
fn no_other_owners(facts: &Facts, keys: &OpenKeyring) -> Result<(), Wanted> {
    let namespace = facts.key().namespace;
    let known = |subject| {
        let subject = with_namespace(subject, &namespace);
        keys.members().iter().any(|entry| entry.role == roles::OWNER && entry.subject == subject)
    };
    let others = facts.vault.spec.owners.iter().enumerate().filter(|(_, owner)| !known(owner));
    let others: Vec<String> = others.map(|(place, _)| format!("spec.owners[{place}]")).collect();
    if others.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} is no owner by the Keyring's register: restore the Vault as it was, or without them, and change its \
         owners afterwards",
        others.join(", ")
    );
    Err(Wanted::not_ready(reason::NOT_ADOPTED, message))
}

#[cfg(test)]
mod tests;
