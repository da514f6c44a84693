//! The Connection's status.

use coffer_crds::{
    Connection, ConnectionPhase, ConnectionStatus, EnvelopeSpec,
    conditions::{self, reason},
};
use coffer_policy::release::expires_at;
use k8s_openapi::jiff::Timestamp;

use super::super::fetch::{Facts, Keys};
use crate::{
    report::{self, Wanted},
    standing::utc,
    vault::plan::rotation::epochs,
};

/// Why not all of the spec is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The reason of `Ready=False`.
    pub(super) reason: &'static str,
    message: String,
    /// The phase, when it is this even if there are values from before.
    phase: Option<ConnectionPhase>,
}

impl Finding {
    /// Comes right by itself, or when something else is mended.
    pub(super) fn pending(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), phase: Some(ConnectionPhase::Pending) }
    }

    /// Cannot come into effect, and what was in effect may not go on.
    pub(super) fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), phase: Some(ConnectionPhase::Invalid) }
    }

    /// Cannot come into effect; what was in effect goes on.
    pub(super) fn kept(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), phase: None }
    }

    /// Whether it says that the Envelope is not to be believed.
    pub(super) fn is_about_envelope(&self) -> bool {
        [reason::NOT_ADOPTED, reason::ENVELOPE_INVALID].contains(&self.reason)
    }

    fn without_values(&self) -> ConnectionPhase {
        self.phase.unwrap_or(match self.reason {
            reason::UNKNOWN_OWNER | reason::PENDING | reason::NO_ITEMS => ConnectionPhase::Pending,
            _ => ConnectionPhase::Invalid,
        })
    }
}

/// The operator's part of the status, and when time alone changes it. `lastUsedAt` is the broker's.
pub(super) fn of(
    facts: &Facts,
    envelope: Option<&EnvelopeSpec>,
    finding: Option<&Finding>,
    unknown: &[String],
    now: Timestamp,
) -> (ConnectionStatus, Option<Timestamp>) {
    let connection = &facts.connection;
    let before = connection.status.clone().unwrap_or_default();
    let mut status = match envelope {
        Some(spec) => ConnectionStatus {
            version: Some(spec.version),
            items: spec.items.keys().cloned().collect(),
            created_at: Some(spec.created_at.clone()),
            created_by: Some(spec.created_by.clone()),
            last_refreshed: spec.history.last().map(|entry| entry.at.clone()),
            key_epoch: Some(spec.epoch),
            history: spec.history.clone(),
            advised: spec.advised.clone(),
            ..ConnectionStatus::default()
        },
        // What was known stays to be seen while the Envelope cannot be believed.
        None => ConnectionStatus { last_used_at: None, conditions: Vec::new(), ..before.clone() },
    };
    let end = expires_at(&Connection { status: Some(status.clone()), ..connection.as_ref().clone() });
    let expired = end.filter(|end| *end <= now && envelope.is_some());
    let (phase, ready) = match (finding, expired) {
        (Some(finding), _) => {
            let phase = match (envelope, finding.phase) {
                (Some(_), None) if expired.is_some() => ConnectionPhase::Expired,
                (Some(_), None) => ConnectionPhase::Ready,
                (_, Some(phase)) => phase,
                (None, None) => finding.without_values(),
            };
            (phase, Wanted::not_ready(finding.reason, finding.message.clone()))
        }
        (None, Some(end)) => {
            let message = format!("expired at {}; give it a new value or another expiresAt", utc(end));
            (ConnectionPhase::Expired, Wanted::not_ready(reason::EXPIRED, message))
        }
        (None, None) => (ConnectionPhase::Ready, Wanted::yes(conditions::READY, reason::AVAILABLE, "")),
    };
    let mut wanted = vec![ready];
    if let Some(spec) = envelope {
        wanted.push(resolved(unknown, &spec.owner.name));
        wanted.push(pending(facts, spec));
        wanted.extend(advised(spec, &before));
    }
    status.phase = Some(phase);
    status.observed_generation = connection.metadata.generation;
    status.conditions = report::conditions(&wanted, &before.conditions, connection.metadata.generation, now);
    (status, end.filter(|end| *end > now))
}

/// The status of a Connection that may not be applied now, if it is to be applied at all.
pub(super) fn unguarded(connection: &Connection, why: &str, now: Timestamp) -> Option<ConnectionStatus> {
    let mut status = connection.status.clone().unwrap_or_default();
    let generation = connection.metadata.generation;
    let waits = status.observed_generation != generation
        || report::has_reason(&status.conditions, conditions::READY, reason::GUARD_MISSING);
    if !waits {
        return None;
    }
    let ready = Wanted::not_ready(reason::GUARD_MISSING, why);
    status.phase = status.phase.or(Some(ConnectionPhase::Pending));
    status.conditions = report::with(&[ready], &status.conditions, generation, now);
    status.observed_generation = generation;
    Some(status)
}

fn resolved(unknown: &[String], owner: &str) -> Wanted {
    if unknown.is_empty() {
        return Wanted::yes(conditions::SCOPE_RESOLVED, reason::ALL_KNOWN, "");
    }
    let (owners, listed): (Vec<_>, Vec<_>) =
        unknown.iter().map(String::as_str).partition(|name| *name == owner);
    let mut messages = Vec::new();
    if !owners.is_empty() {
        messages.push(format!(
            "spec.owner: '{owner}' is no Active member any more; an owner of the vault can set it to one that is"
        ));
    }
    if !listed.is_empty() {
        messages.push(format!(
            "spec.members: no Active member, or another than the one that was listed (take the name out and list it again): {}",
            listed.join(", ")
        ));
    }
    let reason = if owners.is_empty() { reason::UNKNOWN_MEMBER } else { reason::UNKNOWN_OWNER };
    Wanted::no(conditions::SCOPE_RESOLVED, reason, messages.join(". "))
}

/// Whether the Envelope is of an older epoch than the vault: something keeps it from being sealed anew.
fn pending(facts: &Facts, spec: &EnvelopeSpec) -> Wanted {
    let keys = facts.vault.as_ref().and_then(|vault| match &vault.keys {
        Keys::Open(keys, _) => Some(keys),
        Keys::Absent | Keys::Unusable(_) => None,
    });
    let Some(keys) = keys.filter(|keys| epochs(keys).is_behind(spec.epoch)) else {
        return Wanted::no(conditions::ROTATION_PENDING, reason::UP_TO_DATE, "");
    };
    let since = keys.epochs().filter(|epoch| epoch.epoch > spec.epoch).flat_map(|epoch| &epoch.causes);
    let mut known = since.filter_map(|cause| reason::ALL.iter().find(|known| known.name == cause.reason));
    let why = known.next().map_or(reason::REQUESTED, |known| known.name);
    let message = format!("sealed in epoch {}; the vault is in epoch {}", spec.epoch, keys.current());
    Wanted::yes(conditions::ROTATION_PENDING, why, message)
}

fn advised(spec: &EnvelopeSpec, before: &ConnectionStatus) -> Option<Wanted> {
    let type_ = conditions::PROVIDER_ROTATION_ADVISED;
    if spec.advised.is_empty() {
        let was = before.conditions.iter().any(|condition| condition.type_ == type_);
        return was.then(|| Wanted::no(type_, reason::VALUE_CHANGED, ""));
    }
    let of = |reason: &str| -> Vec<&str> {
        let advised = spec.advised.iter().filter(|advised| advised.reason == reason);
        advised.map(|advised| advised.member.as_str()).collect()
    };
    let (did, could) = (of(reason::MEMBER_DID_READ), of(reason::MEMBER_COULD_READ));
    let reason = if did.is_empty() { reason::MEMBER_COULD_READ } else { reason::MEMBER_DID_READ };
    let said = [("was read by", did), ("could have been read by", could)];
    let said = said.iter().filter(|(_, names)| !names.is_empty());
    let said: Vec<String> = said.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
    Some(Wanted::yes(type_, reason, format!("the value {}", said.join("; "))))
}
