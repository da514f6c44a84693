//! The Vault's status.

use coffer_crds::{MemberCounts, RotationStatus, VaultStatus, conditions, conditions::reason};
use coffer_envelope::OpenKeyring;
use k8s_openapi::jiff::Timestamp;

use super::{super::fetch::Facts, members::Cause};
use crate::report::{self, Wanted};

/// Members by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// In force.
    pub(super) active: i64,
    /// Not accepted yet.
    pub(super) invited: i64,
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
    cause: Option<&Cause>,
    now: Timestamp,
) -> VaultStatus {
    let before = facts.vault.status.clone().unwrap_or_default();
    let (ready, intake_key) = match keys.intake_key() {
        Ok(key) => (ready, Some(key)),
        Err(error) => {
            (Wanted::not_ready(reason::KEYRING_INVALID, error.to_string()), before.intake_key.clone())
        }
    };
    let (pending, rotation) = rotation(keys, &before, cause);
    let generation = facts.vault.metadata.generation;
    let advised = facts.envelopes.iter().filter(|envelope| !envelope.spec.advised.is_empty()).count();
    VaultStatus {
        conditions: report::conditions(&[ready, pending, guarded()], &before.conditions, generation, now),
        observed_generation: generation,
        vault_id: Some(keys.vault_id().to_string()),
        intake_key,
        custodian_key: Some(keys.custodian_key()),
        key_epoch: Some(keys.current()),
        rotation,
        members: Some(MemberCounts { active: counts.active, invited: counts.invited }),
        connections: Some(count(facts.connections)),
        rotation_advised: Some(count(advised)),
    }
}

/// Whether an epoch waits to take the current one's place. That it does is in the Keyring; why, only in the status.
fn rotation(
    keys: &OpenKeyring,
    before: &VaultStatus,
    cause: Option<&Cause>,
) -> (Wanted, Option<RotationStatus>) {
    let newest = keys.epochs().max_by_key(|epoch| epoch.epoch);
    let Some(newest) = newest.filter(|newest| newest.epoch > keys.current()) else {
        return (Wanted::no(conditions::ROTATION_PENDING, reason::UP_TO_DATE, ""), None);
    };
    let known = before
        .conditions
        .iter()
        .find(|condition| condition.type_ == conditions::ROTATION_PENDING && condition.status == "True");
    let known = known.and_then(|known| documented(&known.reason));
    let why = known.or_else(|| cause.map(|cause| cause.reason)).unwrap_or(reason::MEMBER_REMOVED);
    let message = format!("epoch {} is to take the place of epoch {}", newest.epoch, keys.current());
    let rotation = RotationStatus {
        target_epoch: Some(newest.epoch),
        causes: vec![String::from(why)],
        members_wrapped: None,
        connections_resealed: None,
        started_at: Some(newest.created_at.clone()),
    };
    (Wanted::yes(conditions::ROTATION_PENDING, why, message), Some(rotation))
}

fn documented(name: &str) -> Option<&'static str> {
    reason::ALL.iter().find(|known| known.name == name).map(|known| known.name)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
