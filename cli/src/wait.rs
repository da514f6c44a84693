//! Waiting until what was written is in effect.

use std::time::Duration;

use clap::Args;
use coffer_crds::conditions::{READY, reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    cluster::{Cluster, Kind},
    desk::Desk,
};

/// How often is looked. A watch would need a right that an invitee may lack.
const LOOK: Duration = Duration::from_millis(250);

/// Whether to wait, and how long.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Wait until it is in effect: the default
    #[arg(long)]
    pub wait: bool,
    /// Do not wait until it is in effect
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { wait: false, no_wait: false, timeout: 60 }
    }
}

/// What a look at an object found.
#[derive(Debug)]
pub(crate) enum Look {
    /// It is so.
    Done,
    /// Not yet; what is the matter, for people to read.
    NotYet(String),
    /// So many of so many; what they are, for people to read.
    Part(i64, i64, String),
    /// It will never be so.
    Never(Failure),
}

/// Looks at an object until it is as it should be; tells each new state once. Not in a dry run, nor with `--no-wait`.
pub(crate) async fn until<K: Kind>(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    waiting: Waiting,
    name: &str,
    mut look: impl FnMut(Option<&K>) -> Look,
) -> Result<Option<K>, Failure> {
    if waiting.no_wait || cluster.dry_run {
        return Ok(None);
    }
    let end = Instant::now() + Duration::from_secs(waiting.timeout);
    let mut told = String::new();
    loop {
        let found: Option<K> = cluster.find(name).await?;
        let looked = look(found.as_ref());
        if let (Look::Done | Look::Never(_), false) = (&looked, told.is_empty()) {
            desk.progress("");
        }
        let state = match looked {
            Look::Done => return Ok(found),
            Look::Never(failure) => return Err(failure),
            Look::NotYet(state) => state,
            Look::Part(done, all, what) if desk.person.sees_the_notes() => bar(done, all, &what),
            Look::Part(_, _, what) => what,
        };
        if state != told {
            desk.progress(&state);
            told = state;
        }
        if Instant::now() >= end {
            desk.progress("");
            let kind = K::kind(&()).to_lowercase();
            return Err(Failure::NotNow(format!(
                "{kind} '{name}' is not as it should be after {} s; what was written stays. See: kubectl describe \
                 {kind} -n {} {name}",
                waiting.timeout, cluster.namespace
            )));
        }
        sleep(LOOK).await;
    }
}

/// A bar that fills from the left.
fn bar(done: i64, all: i64, what: &str) -> String {
    const WIDTH: i64 = 24;
    let filled = if all > 0 { (done.clamp(0, all) * WIDTH) / all } else { 0 };
    let part = |letter: &str, count: i64| letter.repeat(usize::try_from(count).unwrap_or_default());
    format!("[{}{}] {what}", part("#", filled), part("-", WIDTH - filled))
}

/// Whether an object says that all of its spec is in effect.
pub(crate) fn ready(what: &str, conditions: &[Condition], generation: Option<i64>) -> Look {
    let Some(ready) = conditions.iter().find(|condition| condition.type_ == READY) else {
        return Look::NotYet(format!("{what}: waiting for the operator"));
    };
    if ready.observed_generation.is_some() && ready.observed_generation < generation {
        return Look::NotYet(format!("{what}: waiting for the operator"));
    }
    if ready.status == "True" {
        return Look::Done;
    }
    let said = if ready.message.is_empty() { ready.reason.clone() } else { ready.message.clone() };
    let never = |failure: fn(String) -> Failure| Look::Never(failure(format!("{what}: {said}")));
    match ready.reason.as_str() {
        reason::NOT_AUTHORIZED | reason::NAMESPACE_NOT_ALLOWED | reason::CUSTODY_REFUSED => {
            never(Failure::Denied)
        }
        reason::KEY_REFUSED | reason::ACCEPTANCE_REFUSED => never(Failure::Denied),
        reason::EXPIRED => never(Failure::Expired),
        reason::DUPLICATE => never(Failure::Conflict),
        reason::INVALID_SPEC | reason::TOO_LARGE | reason::NO_ITEMS | reason::UNKNOWN_ROLE => {
            never(Failure::Usage)
        }
        _ => Look::NotYet(format!("{what}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn condition(status: &str, reason: &str, generation: Option<i64>) -> Condition {
        Condition {
            type_: READY.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            observed_generation: generation,
        }
    }

    #[test]
    fn a_state_of_an_older_generation_is_no_answer() {
        assert!(matches!(ready("x", &[], Some(1)), Look::NotYet(_)));
        assert!(matches!(ready("x", &[condition("True", "Available", Some(1))], Some(2)), Look::NotYet(_)));
        assert!(matches!(ready("x", &[condition("True", "Available", Some(2))], Some(2)), Look::Done));
    }

    #[test]
    fn a_bar_is_full_when_all_is_done_and_never_more_than_that() {
        let hashes = |done, all| bar(done, all, "x").matches('#').count();
        assert_eq!(
            [hashes(0, 10), hashes(5, 10), hashes(10, 10), hashes(11, 10), hashes(0, 0)],
            [0, 12, 24, 24, 0]
        );
        assert!(bar(1, 2, "1 of 2").ends_with("------------] 1 of 2"));
    }

    #[test]
    fn what_will_never_be_is_told_at_once_with_its_exit_code() {
        for (reason, code) in [
            ("NotAuthorized", Failure::DENIED),
            ("KeyRefused", Failure::DENIED),
            ("Expired", Failure::EXPIRED),
            ("Duplicate", Failure::CONFLICT),
            ("TooLarge", Failure::USAGE),
        ] {
            let Look::Never(failure) = ready("x", &[condition("False", reason, None)], None) else {
                panic!("{reason} does not pass by itself");
            };
            assert_eq!(failure.exit_code(), code, "{reason}");
        }
        assert!(matches!(ready("x", &[condition("False", "Pending", None)], None), Look::NotYet(_)));
    }
}
