//! What people see of a reconcile: conditions, what is worth an event, and when it runs again.

use std::time::Duration;

use coffer_crds::conditions::{self, reason};
pub use coffer_runtime::events::Notice;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// One condition as a plan wants it. The API's `Condition` is made from it and from what was there before, so that
/// `lastTransitionTime` moves only when the status does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// One of [`coffer_crds::conditions`].
    pub type_: &'static str,
    /// `True` or `False`.
    pub status: bool,
    /// One of [`coffer_crds::conditions::reason`].
    pub reason: &'static str,
    /// One sentence for whoever reads `kubectl describe`. Never a value.
    pub message: String,
}

impl Wanted {
    /// `type_` is `True`.
    pub fn yes(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status: true, reason, message: message.into() }
    }

    /// `type_` is `False`.
    pub fn no(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status: false, reason, message: message.into() }
    }

    /// `Ready` is `False`.
    pub fn not_ready(reason: &'static str, message: impl Into<String>) -> Self {
        Self::no(conditions::READY, reason, message)
    }
}

/// The conditions of a status, in the order wanted. Ones that are not wanted are dropped: each kind's conditions are
/// the operator's alone.
pub fn conditions(
    wanted: &[Wanted],
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let make = |wanted: &Wanted| {
        let status = String::from(if wanted.status { "True" } else { "False" });
        let known = before.iter().find(|condition| condition.type_ == wanted.type_);
        let last_transition_time = match known {
            Some(known) if known.status == status => known.last_transition_time.clone(),
            Some(_) | None => Time(to_seconds(now)),
        };
        Condition {
            type_: String::from(wanted.type_),
            status,
            reason: String::from(wanted.reason),
            message: wanted.message.clone(),
            observed_generation: generation,
            last_transition_time,
        }
    };
    wanted.iter().map(make).collect()
}

/// The conditions that were there, with those wanted in their place or added.
pub fn with(
    wanted: &[Wanted],
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = conditions(wanted, before, generation, now);
    let others = before.iter().filter(|known| wanted.iter().all(|wanted| wanted.type_ != known.type_));
    all.extend(others.cloned());
    all
}

/// Whether a condition has this reason.
pub fn has_reason(conditions: &[Condition], type_: &str, reason: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.reason == reason)
}

/// The API stores times in whole seconds; one with a fraction would never equal what is read back.
pub fn to_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What a change of conditions is worth saying: that readiness has another reason than before.
pub fn transition(before: &[Condition], after: &[Condition]) -> Option<Notice> {
    let ready = |conditions: &[Condition]| {
        conditions.iter().find(|condition| condition.type_ == conditions::READY).cloned()
    };
    let (was, is) = (ready(before), ready(after)?);
    if was.is_some_and(|was| was.reason == is.reason && was.status == is.status) {
        return None;
    }
    let reason = reason::ALL.iter().find(|known| known.name == is.reason)?.name;
    // Waiting is nothing to worry about; everything else that is not ready is.
    let waits =
        [reason::PENDING, reason::INVITED, reason::ACCEPTED, reason::VAULT_NOT_READY].contains(&reason);
    let warning = is.status != "True" && !waits;
    Some(Notice { warning, alone: !warning, reason, note: is.message })
}

/// How long until `at`, for a requeue: never zero, so that a moment that has just come is seen as passed.
pub fn until(at: Timestamp, now: Timestamp) -> Duration {
    let wait = at.duration_since(now);
    Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(5)
}

/// The earlier of two moments, where `None` is never.
pub fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a second of this century")
    }

    #[test]
    fn a_condition_moves_its_transition_time_only_with_its_status() {
        let first = conditions(&[Wanted::not_ready("Pending", "a")], &[], Some(1), at(10));
        let second = conditions(&[Wanted::not_ready("InvalidSpec", "b")], &first, Some(2), at(20));
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!(second[0].observed_generation, Some(2));
        let third = conditions(&[Wanted::yes("Ready", "Available", "")], &second, Some(2), at(30));
        assert_eq!(third[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_moment_in_the_past_is_requeued_at_once() {
        assert!(until(at(5), at(10)) < Duration::from_millis(10));
        assert_eq!(until(at(20), at(10)).as_secs(), 10);
        assert_eq!(sooner(None, Some(at(3))), Some(at(3)));
        assert_eq!(sooner(Some(at(2)), Some(at(3))), Some(at(2)));
    }
}
