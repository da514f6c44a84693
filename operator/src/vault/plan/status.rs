//! The Vault's status.

use std::collections::BTreeSet;

use coffer_crds::{MemberCounts, RotationStatus, VaultStatus, conditions, conditions::reason};
use coffer_envelope::OpenKeyring;
use k8s_openapi::jiff::Timestamp;

use super::{super::fetch::Facts, rotation::epochs};
use crate::report::{self, Wanted};

/// Members by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// In force.
    pub(super) active: i64,
    /// Not accepted yet.
    pub(super) invited: i64,
    /// Holding the vault key of the newest epoch.
    pub(super) wrapped: i64,
}

/// The status of a Vault whose keys cannot be used: only its readiness changes.
pub(super) fn unusable(facts: &Facts, ready: Wanted, now: Timestamp) -> VaultStatus {
    let mut status = facts.vault.status.clone().unwrap_or_default();
    let generation = facts.vault.metadata.generation;
    status.conditions = report::with(&[ready, guarded()], &status.conditions, generation, now);
    status.observed_generation = generation;
    status
}

/// The status of a Vault while the guards are not as shipped. What was in effect is in effect still.
pub(super) fn unguarded(facts: &Facts, why: &str, now: Timestamp) -> VaultStatus {
    let mut status = facts.vault.status.clone().unwrap_or_default();
    let generation = facts.vault.metadata.generation;
    let mut wanted = vec![Wanted::no(conditions::GUARDED, reason::GUARD_MISSING, why)];
    if status.observed_generation != generation
        || report::has_reason(&status.conditions, conditions::READY, reason::GUARD_MISSING)
    {
        wanted.insert(0, Wanted::not_ready(reason::GUARD_MISSING, why));
    }
    status.conditions = report::with(&wanted, &status.conditions, generation, now);
    status.observed_generation = generation;
    status
}

fn guarded() -> Wanted {
    Wanted::yes(conditions::GUARDED, reason::AS_SHIPPED, "")
}

/// The status of a Vault whose keys are open.
pub(super) fn of(
    facts: &Facts,
    keys: &OpenKeyring,
    counts: Counts,
    ready: Wanted,
    now: Timestamp,
) -> VaultStatus {
    let before = facts.vault.status.clone().unwrap_or_default();
    let (ready, intake_key) = match keys.intake_key() {
        Ok(key) => (ready, Some(key)),
        Err(error) => {
            (Wanted::not_ready(reason::KEYRING_INVALID, error.to_string()), before.intake_key.clone())
        }
    };
    let rotation = rotation(facts, keys, counts);
    let [pending, rotating] = turning(keys, rotation.as_ref());
    let generation = facts.vault.metadata.generation;
    let advised = facts.envelopes.iter().filter(|envelope| !envelope.spec.advised.is_empty()).count();
    VaultStatus {
        conditions: report::conditions(
            &[ready, pending, rotating, guarded()],
            &before.conditions,
            generation,
            now,
        ),
        observed_generation: generation,
        vault_id: Some(keys.vault_id().to_string()),
        intake_key,
        custodian_key: Some(keys.custodian_key()),
        key_epoch: Some(keys.oldest()),
        rotation,
        members: Some(MemberCounts { active: counts.active, invited: counts.invited }),
        connections: Some(count(facts.connections)),
        rotation_advised: Some(count(advised)),
        sealed_to_older_roots: Some(count(facts.on_older_roots)).filter(|count| *count > 0),
    }
}

/// How far a turn-over is, if one is under way.
fn rotation(facts: &Facts, keys: &OpenKeyring, counts: Counts) -> Option<RotationStatus> {
    let newest = keys.epochs().last().filter(|_| epochs(keys).rotates())?;
    let reasons: BTreeSet<&str> =
        newest.causes.iter().filter_map(|cause| documented(&cause.reason)).collect();
    let resealed = facts.envelopes.iter().filter(|envelope| envelope.spec.epoch == newest.epoch).count();
    Some(RotationStatus {
        target_epoch: Some(newest.epoch),
        causes: reasons.into_iter().map(String::from).collect(),
        members_wrapped: Some(counts.wrapped),
        connections_resealed: Some(count(resealed)),
        started_at: Some(newest.created_at.clone()),
    })
}

/// The conditions that say so.
fn turning(keys: &OpenKeyring, rotation: Option<&RotationStatus>) -> [Wanted; 2] {
    let epochs = epochs(keys);
    let Some(rotation) = rotation else {
        return [conditions::ROTATION_PENDING, conditions::ROTATING]
            .map(|type_| Wanted::no(type_, reason::UP_TO_DATE, ""));
    };
    let why = rotation.causes.first().and_then(|cause| documented(cause)).unwrap_or(reason::REQUESTED);
    let rotating = format!("from epoch {} to epoch {}", epochs.oldest, epochs.newest);
    let pending = if epochs.waits() {
        let message = format!("epoch {} waits until every member holds its key", epochs.newest);
        Wanted::yes(conditions::ROTATION_PENDING, why, message)
    } else {
        Wanted::no(conditions::ROTATION_PENDING, reason::UP_TO_DATE, "")
    };
    [pending, Wanted::yes(conditions::ROTATING, why, rotating)]
}

fn documented(name: &str) -> Option<&'static str> {
    reason::ALL.iter().find(|known| known.name == name).map(|known| known.name)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
