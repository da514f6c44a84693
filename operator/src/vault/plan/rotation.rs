//! Why and when a vault's keys are turned over, and how far that is. The steps themselves are [`crate::rotation`]'s.

use std::collections::BTreeSet;

use coffer_crds::{EpochCause, conditions::reason, duration};
use coffer_envelope::OpenKeyring;
use k8s_openapi::jiff::Timestamp;

use super::{super::fetch::Facts, members, register::Register};
use crate::{
    report::{Notice, sooner},
    rotation::{Epochs, Seen, Step},
};

/// What came of it.
#[derive(Default)]
pub(super) struct Turned {
    /// Events on the Vault.
    pub(super) notices: Vec<Notice>,
    /// When time alone calls for a turn-over.
    pub(super) next: Option<Timestamp>,
    /// What was done to the epochs.
    pub(super) step: Option<Step>,
}

/// The epochs that a Keyring holds.
pub(crate) fn epochs(keys: &OpenKeyring) -> Epochs {
    Epochs { oldest: keys.oldest(), current: keys.current(), newest: keys.newest() }
}

/// Takes the next step of a turn-over in the Keyring that is to be written, if there is one to take.
pub(super) fn turn(
    facts: &Facts,
    keys: &mut OpenKeyring,
    register: &Register,
    now: Timestamp,
    rng: &mut impl rand_core::CryptoRng,
) -> Turned {
    let (timely, next) = timely(facts, keys, now);
    let mut causes = members::causes(facts, keys, register);
    causes.extend(timely);
    causes.extend(newer_root(keys));
    let epochs = epochs(keys);
    let step = epochs.step(Seen {
        cause: !causes.is_empty(),
        all_wrapped: epochs.waits() && members::all_wrapped(facts, keys, register),
        all_resealed: facts.behind == 0,
    });
    let mut turned = Turned { next, step: Some(step), ..Turned::default() };
    match step {
        Step::Rest => turned.step = None,
        Step::Begin => {
            let said = said(&causes);
            make_room(facts, keys);
            keys.rewrap(rng);
            let epoch = keys.add_epoch(causes, now, rng);
            let note = format!("epoch {epoch} is to take the place of {}: {said}", epochs.current);
            turned.notices.push(Notice::normal("RotationBegun", note));
        }
        Step::Switch => {
            // The newest epoch is in the Keyring and above the current one.
            if keys.set_current(epochs.newest).is_err() {
                tracing::error!(vault = %facts.key(), "the newest epoch could not become current");
            }
        }
        Step::Finish => {
            keys.drop_epochs_before(epochs.current);
            let note = format!("everything is sealed in epoch {}; older keys are gone", epochs.current);
            turned.notices.push(Notice::normal("RotationFinished", note));
        }
    }
    turned
}

/// How many epochs a Keyring holds before those that nothing is sealed in go: half of what its schema allows.
const CROWDED: usize = 32;

/// A Keyring that is full could record no removal. What can be released keeps the epoch that it is sealed in; the
/// others go before a turn-over finishes, when causes come faster than Connections are sealed anew.
fn make_room(facts: &Facts, keys: &mut OpenKeyring) {
    if keys.epochs().count() >= CROWDED {
        let used: BTreeSet<i64> = facts.envelopes.iter().map(|envelope| envelope.spec.epoch).collect();
        keys.retain_epochs(|epoch| used.contains(&epoch));
    }
}

/// A newer custodian root than the one that wraps the Keyring. Nothing keeps it waiting: whoever asked for it may have lost
/// the older one. The write that begins the turn-over wraps the Keyring under it, so it is a cause once.
fn newer_root(keys: &OpenKeyring) -> Option<EpochCause> {
    let cause = || EpochCause { reason: String::from(reason::ROOT_GENERATION), member: None };
    keys.is_behind_root().then(cause)
}

/// What calls for a turn-over without anybody losing access, and when time alone will.
fn timely(facts: &Facts, keys: &OpenKeyring, now: Timestamp) -> (Vec<EpochCause>, Option<Timestamp>) {
    let Some(spec) = &facts.vault.spec.rotation else { return (Vec::new(), None) };
    let newest = keys.epochs().last().map(|epoch| epoch.created_at.0);
    let Some(newest) = newest else { return (Vec::new(), None) };
    let interval = spec.interval.as_deref().and_then(|text| duration::parse(text).ok());
    let interval = interval.and_then(|interval| newest.checked_add(interval).ok());
    let requested = spec.requested_at.as_ref().map(|at| at.0).filter(|at| *at > newest);
    let mut causes = Vec::new();
    let mut next = None;
    for (at, reason) in [(interval, reason::INTERVAL), (requested, reason::REQUESTED)] {
        match at {
            // One turn-over after the other, or whoever asks again and again keeps every one from its end.
            Some(at) if at <= now && epochs(keys).rotates() => {}
            Some(at) if at <= now => causes.push(EpochCause { reason: String::from(reason), member: None }),
            Some(at) => next = sooner(next, Some(at)),
            None => {}
        }
    }
    (causes, next)
}

fn said(causes: &[EpochCause]) -> String {
    const SAID: usize = 10;
    let mut said: Vec<String> = causes
        .iter()
        .take(SAID)
        .map(|cause| match &cause.member {
            Some(member) => format!("{} ({})", member.name, cause.reason),
            None => cause.reason.clone(),
        })
        .collect();
    if causes.len() > SAID {
        said.push(format!("and {} more", causes.len() - SAID));
    }
    said.join(", ")
}
