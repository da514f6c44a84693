//! What is to be written so that a Connection's Envelope is as it should be. Pure: facts, the time and randomness in,
//! at most one Envelope and one status out.
//!
//! What the author asks for takes effect only if policy lets him make this difference from what the Envelope records.
//! What does not depend on an author (a member that is gone, suspended, restricted, or newly in force) takes effect
//! either way: then it is the recorded owner and scope whose slots are brought up to date.

mod access;
mod items;
mod outcome;
mod recorded;
mod status;

use coffer_crds::{
    Connection, Envelope, EnvelopeConnection, EnvelopeSpec, KeyringSpec, conditions::reason,
    limits::MAX_LISTED_MEMBERS,
};
use coffer_envelope::{Change, NewEnvelope, NewVersion, OpenEnvelope, OpenKeyring, SealError};
use coffer_policy::{
    MemberView, Scope,
    access::admits,
    identity::from_register,
    writes::{VaultView, connection_recorded},
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use rand_core::CryptoRng;

use super::fetch::{Facts, Keys, OfVault};
use crate::{reads::Loss, report::Notice, vault::plan::rotation::epochs};
use access::Wish;
use items::Input;
use outcome::Outcome;
use status::Finding;

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Make the Envelope.
    CreateEnvelope(Box<Envelope>),
    /// Replace the Envelope that was read.
    ReplaceEnvelope(Box<Envelope>),
    /// Set the operator's part of the Connection's status.
    Status(Box<coffer_crds::ConnectionStatus>),
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Writes, in order: the Envelope before the status that speaks of it.
    pub writes: Vec<Write>,
    /// Events on the Connection.
    pub notices: Vec<Notice>,
    /// Whether something is not applied because of its author.
    pub refused: bool,
    /// When time alone changes something.
    pub next: Option<Timestamp>,
    /// Members that lose access, of whom the audit logs were not asked yet. Then this plan is of no use: ask, and plan
    /// again.
    pub unasked: Vec<Loss>,
}

/// Decides what to write.
pub fn plan(facts: &Facts, now: Timestamp, rng: &mut impl CryptoRng) -> Plan {
    if facts.connection.metadata.deletion_timestamp.is_some() {
        // The Envelope goes with it by its ownerReference.
        return Plan::default();
    }
    let mut outcome = Outcome::default();
    if let Err(finding) = decide(facts, now, rng, &mut outcome) {
        outcome.finding = Some(finding);
    }
    outcome.into_plan(facts, now)
}

/// Says that nothing is applied while the guards are not as shipped, of a Connection that something is to be applied
/// of. What was in effect stays so.
pub fn unguarded(connection: &Connection, why: &str, now: Timestamp) -> Plan {
    let before = connection.status.clone().unwrap_or_default();
    let status = status::unguarded(connection, why, now).filter(|status| *status != before);
    let writes = status.into_iter().map(|status| {
        Write::Status(Box::new(coffer_crds::ConnectionStatus { last_used_at: None, ..status }))
    });
    Plan { writes: writes.collect(), ..Plan::default() }
}

fn decide(
    facts: &Facts,
    now: Timestamp,
    rng: &mut impl CryptoRng,
    outcome: &mut Outcome,
) -> Result<(), Finding> {
    let vault = vault_of(facts)?;
    let (keys, keyring) = keys_of(vault)?;
    if let Some(older) = &facts.older {
        let message = format!(
            "Connection '{older}' is older and claims the same provider and connection name, or alias"
        );
        return Err(Finding::invalid(reason::DUPLICATE, message));
    }
    let recorded = match facts.envelope.as_deref() {
        None => None,
        Some(envelope) => Some(recorded::open(facts, keys, envelope)?),
    };
    let at = At { facts, vault, keys, keyring, now };
    match recorded {
        None => outcome.written = Some(at.first(rng, outcome)?),
        Some(recorded) => at.next(&recorded, rng, outcome)?,
    }
    Ok(())
}

/// The vault, if the Connection may be in it.
fn vault_of(facts: &Facts) -> Result<&OfVault, Finding> {
    let Some(vault) = &facts.vault else {
        let message = match &facts.vault_key {
            Some(key) => format!("vault '{key}' does not exist"),
            None => String::from("spec.vault names no vault, and there is no default vault"),
        };
        return Err(Finding::pending(reason::UNKNOWN_VAULT, message));
    };
    let namespace = facts.connection.namespace().unwrap_or_default();
    if !admits(&vault.vault, &namespace, &facts.namespace_labels) {
        let message = format!(
            "spec.access.namespaces of vault '{}' does not admit namespace '{namespace}'",
            vault.vault.name_any()
        );
        return Err(Finding::invalid(reason::NAMESPACE_NOT_ALLOWED, message));
    }
    Ok(vault)
}

fn keys_of(vault: &OfVault) -> Result<(&OpenKeyring, &KeyringSpec), Finding> {
    match &vault.keys {
        Keys::Open(keys, keyring) => Ok((keys, &keyring.spec)),
        Keys::Absent => Err(Finding::pending(reason::VAULT_NOT_READY, "the vault has no keys yet")),
        Keys::Unusable(why) => {
            Err(Finding::pending(reason::VAULT_NOT_READY, format!("the vault's keys cannot be used: {why}")))
        }
    }
}

/// A Connection with everything that is needed to seal for it.
struct At<'a> {
    facts: &'a Facts,
    vault: &'a OfVault,
    keys: &'a OpenKeyring,
    keyring: &'a KeyringSpec,
    now: Timestamp,
}

impl At<'_> {
    /// The first Envelope.
    fn first(&self, rng: &mut impl CryptoRng, outcome: &mut Outcome) -> Result<EnvelopeSpec, Finding> {
        let connection = &self.facts.connection;
        let wish = self.wish()?;
        let input = Input::read(connection, None)?;
        self.authorize(None, true)?;
        if !access::is_in_force(self, &wish.owner) {
            let message = format!("spec.owner '{}' is no Active member of the vault", wish.owner);
            return Err(Finding::pending(reason::UNKNOWN_OWNER, message));
        }
        let values = input.open(self.keys, connection, None)?;
        let granted = access::grant(self, &wish, None)?;
        outcome.unknown.clone_from(&granted.unknown);
        self.may_seal(&granted)?;
        let author = connection.spec.last_writer.clone().unwrap_or_default();
        // An Envelope that is gone took its version with it; clients remember, so the next one is above it.
        let before = connection.status.as_ref().and_then(|status| status.version).unwrap_or(0);
        let new = NewEnvelope {
            connection: EnvelopeConnection {
                namespace: connection.namespace().unwrap_or_default(),
                name: connection.name_any(),
                uid: connection.uid().unwrap_or_default(),
            },
            version: before + 1,
            created_by: author.username.clone(),
            writer: author,
            now: self.now,
            access: granted.access(),
            items: values.items,
        };
        let spec = self.keys.seal_envelope(new, rng).map_err(sealing)?;
        outcome
            .notices
            .push(Notice::normal("Sealed", format!("version {}, items {}", spec.version, names(&spec))));
        Ok(spec)
    }

    /// The Envelope that follows on the recorded one, if anything differs.
    fn next(
        &self,
        recorded: &OpenEnvelope<'_, '_>,
        rng: &mut impl CryptoRng,
        outcome: &mut Outcome,
    ) -> Result<(), Finding> {
        match self.asked(recorded, rng, outcome) {
            Ok(written) => {
                outcome.written = written;
                Ok(())
            }
            Err(finding) => {
                // What was asked for does not take effect; what happened to members does.
                let wish = Wish::recorded(recorded.spec());
                let granted = access::grant(self, &wish, Some(recorded.spec()))?;
                outcome.unknown.clone_from(&granted.unknown);
                outcome.written = self.adjust(recorded, &granted, rng, outcome)?;
                Err(finding)
            }
        }
    }

    /// What the spec asks for.
    fn asked(
        &self,
        recorded: &OpenEnvelope<'_, '_>,
        rng: &mut impl CryptoRng,
        outcome: &mut Outcome,
    ) -> Result<Option<EnvelopeSpec>, Finding> {
        let connection = &self.facts.connection;
        let wish = self.wish()?;
        let input = Input::read(connection, Some(recorded.spec()))?;
        self.authorize(Some(recorded.spec()), input.differs())?;
        if wish.owner != recorded.spec().owner.name && !access::is_in_force(self, &wish.owner) {
            let message = format!("spec.owner '{}' is no Active member of the vault", wish.owner);
            return Err(Finding::kept(reason::UNKNOWN_OWNER, message));
        }
        let values = input.open(self.keys, connection, Some(recorded))?;
        let granted = access::grant(self, &wish, Some(recorded.spec()))?;
        outcome.unknown.clone_from(&granted.unknown);
        if values.changed || access::differs(recorded.spec(), &granted) {
            self.may_seal(&granted)?;
        }
        if values.changed {
            let writer = connection.spec.last_writer.clone().unwrap_or_default();
            let new = NewVersion { writer, now: self.now, access: granted.access(), items: values.items };
            let spec = recorded.next_version(new, rng).map_err(sealing)?;
            outcome
                .notices
                .push(Notice::normal("Sealed", format!("version {}, items {}", spec.version, names(&spec))));
            return Ok(Some(spec));
        }
        let adjusted = self.adjust(recorded, &granted, rng, outcome)?;
        if !input.differs() {
            return Ok(adjusted);
        }
        // The same values, sealed again: only the digests of the sealed bytes are other ones.
        let digests = values.items.into_iter().map(|(name, item)| (name, item.sealed_sha256)).collect();
        let noted = match &adjusted {
            Some(spec) => self.reopen(spec)?.touch(|notes| notes.sealed_sha256 = digests),
            None => recorded.touch(|notes| notes.sealed_sha256 = digests),
        };
        noted.map(Some).map_err(sealing)
    }

    /// Brings slots in line with who may open the Envelope.
    fn adjust(
        &self,
        recorded: &OpenEnvelope<'_, '_>,
        granted: &access::Granted,
        rng: &mut impl CryptoRng,
        outcome: &mut Outcome,
    ) -> Result<Option<EnvelopeSpec>, Finding> {
        let access = granted.access();
        match recorded.change(&access).map_err(sealing)? {
            // The epoch that waits brings every Connection here again.
            Change::Reslot | Change::Reseal if self.may_seal(granted).is_err() => Ok(None),
            Change::None => Ok(None),
            Change::Reslot => {
                outcome
                    .notices
                    .push(Notice::normal("Shared", "slots rewritten; the items' ciphertext is the same"));
                recorded.reslot(&access, rng).map(Some).map_err(sealing)
            }
            Change::Reseal => {
                let lost = access::lost(self, recorded.spec(), granted);
                let lost = match access::advised(self, recorded.spec(), lost) {
                    Ok(advised) => advised,
                    Err(unknown) => {
                        outcome.unasked = unknown;
                        return Ok(None);
                    }
                };
                if !epochs(self.keys).is_behind(recorded.spec().epoch) {
                    let note = "under a new data key: somebody has access no more";
                    outcome.notices.push(Notice::normal("Resealed", note));
                }
                recorded.reseal(&access, &lost, rng).map(Some).map_err(sealing)
            }
        }
    }

    /// Whether something may be sealed for this access now. It is a matter of moments: an epoch that waits becomes
    /// current as soon as every member has its key.
    fn may_seal(&self, granted: &access::Granted) -> Result<(), Finding> {
        if epochs(self.keys).may_seal(granted.is_for_all()) {
            return Ok(());
        }
        let message = format!("sealed as soon as epoch {} begins", self.keys.newest());
        Err(Finding::kept(reason::PENDING, message))
    }

    fn reopen<'s>(&self, spec: &'s EnvelopeSpec) -> Result<OpenEnvelope<'_, 's>, Finding> {
        let (namespace, name) = (&spec.connection.namespace, &spec.connection.name);
        self.keys.open_envelope(namespace, name, spec).map_err(|error| sealing(error.into()))
    }

    /// Owner and scope that the spec asks for.
    fn wish(&self) -> Result<Wish, Finding> {
        let spec = &self.facts.connection.spec;
        let listed = spec.members.as_deref().unwrap_or_default();
        if listed.len() > 1 && listed.iter().any(|name| name == "*") {
            let message =
                "spec.members: '*' means every member and stands alone; write [\"*\"], or names only";
            return Err(Finding::kept(reason::INVALID_SPEC, message));
        }
        if listed.len() > MAX_LISTED_MEMBERS {
            let message = format!("spec.members: {} names; at most {MAX_LISTED_MEMBERS}", listed.len());
            return Err(Finding::kept(reason::INVALID_SPEC, message));
        }
        let owner = spec.owner.clone().filter(|owner| !owner.is_empty()).ok_or_else(|| {
            Finding::kept(
                reason::UNKNOWN_OWNER,
                "spec.owner is not set; the webhook fills in the creator's membership",
            )
        })?;
        Ok(Wish { owner, scope: Scope::of_connection(&self.facts.connection, self.vault.vault.spec.sharing) })
    }

    /// Whether the stamped author may make this difference.
    fn authorize(&self, recorded: Option<&EnvelopeSpec>, values_changed: bool) -> Result<(), Finding> {
        let members = self.views();
        let view = VaultView {
            vault: &self.vault.vault,
            members: &members,
            operator: Some(&self.facts.operator),
            break_glass: Some(&self.facts.break_glass),
        };
        connection_recorded(&view, recorded, &self.facts.connection, values_changed).map_err(|refusal| {
            let field = if refusal.field.is_empty() { String::new() } else { format!("{}: ", refusal.field) };
            Finding::kept(reason::NOT_AUTHORIZED, format!("{field}{}", refusal.message))
        })
    }

    fn views(&self) -> Vec<MemberView> {
        from_register(&self.vault.vault, Some(self.keyring), &self.vault.members, self.now)
    }
}

fn sealing(error: SealError) -> Finding {
    let reason = match &error {
        SealError::Envelope(_) => reason::ENVELOPE_INVALID,
        SealError::Malformed(_)
        | SealError::UnknownEpoch(_)
        | SealError::UnknownGeneration(_)
        | SealError::WrongMemberKey(_)
        | SealError::RecipientOutsideScope(_)
        | SealError::NeedsNewKey
        | SealError::OwnerOutsideScope(_)
        | SealError::OtherItems => reason::PENDING,
    };
    Finding::kept(reason, error.to_string())
}

fn names(spec: &EnvelopeSpec) -> String {
    spec.items.keys().cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
