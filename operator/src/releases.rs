//! Releases and AuditQueries come and go within minutes: one that nobody answers says so, then fails; one that is over is
//! deleted, also when its requester is gone.

use std::{hash::Hash, sync::Arc, time::Duration};

use coffer_crds::{AuditQuery, AuditQueryStatus, Release, ReleaseStatus, RequestPhase};
use coffer_runtime::{Readiness, Shutdown, Store, StoreOptions, store};
use futures::StreamExt as _;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client};
use serde::Serialize;

use crate::apply::{Writable, WriteError, Writer};

/// How often all of them are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long one may stand unclaimed before it says that it waits.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);
/// How long one may stand unanswered.
const DEADLINE: SignedDuration = SignedDuration::from_secs(60);
/// How long an answer stays: with the look before it and the deletion after it, a minute at most.
const KEPT: SignedDuration = SignedDuration::from_secs(55);
/// How old any may become, whatever its status says: clocks differ.
const OLDEST: SignedDuration = SignedDuration::from_secs(180);
/// Writes at one time.
const CONCURRENCY: usize = 8;

const WAITS: &str = "no broker has taken this up yet: it is answered as soon as one is ready";
const NOBODY: &str = "no broker answered within 60 s: ask again; if this lasts, ask whoever runs Coffer";

/// All that there are. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    releases: Store<Release>,
    queries: Store<AuditQuery>,
}

/// Watches them, without their results; adds readiness checks.
pub fn watch(client: &Client, readiness: &Readiness, shutdown: &Shutdown) -> Requests {
    let releases = StoreOptions::slim(|release: &mut Release| {
        release.spec.public_key.clear();
        if let Some(status) = &mut release.status {
            status.result = None;
        }
    });
    let queries = StoreOptions::slim(|query: &mut AuditQuery| {
        query.spec.public_key.clear();
        for answer in query.status.iter_mut().flat_map(|status| &mut status.answers) {
            answer.result.clear();
        }
    });
    Requests {
        releases: store(Api::all(client.clone()), releases, readiness, shutdown),
        queries: store(Api::all(client.clone()), queries, readiness, shutdown),
    }
}

/// Looks after them for as long as this replica leads.
pub async fn keep(requests: Requests, writer: Writer) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Timestamp::now();
        tokio::join!(
            look_after(&requests.releases, |release| plan(release, now), &writer),
            look_after(&requests.queries, |query| plan_query(query, now), &writer),
        );
    }
}

async fn look_after<K, S>(requests: &Store<K>, plan: impl Fn(&K) -> Option<Step<S>>, writer: &Writer)
where
    K: Writable + 'static,
    K::DynamicType: Eq + Hash + Clone,
    S: Serialize,
{
    let steps = requests.state().into_iter().filter_map(|request| Some((plan(&request)?, request)));
    futures::stream::iter(steps)
        .for_each_concurrent(CONCURRENCY, |(step, request)| take(writer, step, request))
        .await;
}

/// What is to be done about one.
#[derive(Clone, Debug, PartialEq)]
enum Step<S> {
    Report(S),
    Delete,
}

fn plan(release: &Release, now: Timestamp) -> Option<Step<ReleaseStatus>> {
    let made = release.metadata.creation_timestamp.as_ref()?.0;
    let age = now.duration_since(made);
    if release.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if age >= OLDEST {
        return Some(Step::Delete);
    }
    let status = release.status.clone().unwrap_or_default();
    let waits = |phase, message: &str| ReleaseStatus {
        phase: Some(phase),
        message: Some(message.to_owned()),
        ..ReleaseStatus::default()
    };
    match status.phase {
        Some(RequestPhase::Answered | RequestPhase::Failed) => {
            let over = status.finished_at.map_or(made, |at| at.0);
            (now.duration_since(over) >= KEPT).then_some(Step::Delete)
        }
        Some(RequestPhase::Pending | RequestPhase::Claimed) | None if age >= DEADLINE => {
            Some(Step::Report(ReleaseStatus {
                finished_at: Some(Time(now)),
                ..waits(RequestPhase::Failed, NOBODY)
            }))
        }
        None if age >= PATIENCE => Some(Step::Report(waits(RequestPhase::Pending, WAITS))),
        Some(RequestPhase::Pending | RequestPhase::Claimed) | None => None,
    }
}

/// Every broker answers in its own time, so an AuditQuery is over when its minute is.
fn plan_query(query: &AuditQuery, now: Timestamp) -> Option<Step<AuditQueryStatus>> {
    let made = query.metadata.creation_timestamp.as_ref()?.0;
    let age = now.duration_since(made);
    if query.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = query.status.clone().unwrap_or_default();
    let failed = status.phase == Some(RequestPhase::Failed);
    let failed_at = status.finished_at.filter(|_| failed).map(|at| at.0);
    if age >= OLDEST || failed_at.is_some_and(|at| now.duration_since(at) >= KEPT) {
        return Some(Step::Delete);
    }
    match (age >= DEADLINE, status.answers.is_empty()) {
        (true, false) => Some(Step::Delete),
        (true, true) if !failed => Some(Step::Report(AuditQueryStatus {
            phase: Some(RequestPhase::Failed),
            finished_at: Some(Time(now)),
            message: Some(NOBODY.to_owned()),
            ..AuditQueryStatus::default()
        })),
        (true, true) | (false, _) => None,
    }
}

async fn take<K: Writable, S: Serialize>(writer: &Writer, step: Step<S>, request: Arc<K>) {
    let outcome = match step {
        Step::Report(status) => writer.apply_status(request.as_ref(), &status).await.map(drop),
        Step::Delete => writer.delete(request.as_ref()).await,
    };
    match outcome {
        // A broker was quicker, or this replica leads no more.
        Ok(()) | Err(WriteError::Conflict(_) | WriteError::NotLeader(_)) => {}
        Err(WriteError::Refused(_, error)) if error.is_not_found() => {}
        Err(error @ (WriteError::Refused(..) | WriteError::Unavailable(..))) => {
            tracing::warn!(%error, "a request is not looked after; trying again");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn release(phase: Option<RequestPhase>, finished: Option<i64>) -> Release {
        let spec = json!({"vault": "main", "connections": [], "publicKey": ""});
        let mut release = Release::new("r", serde_json::from_value(spec).unwrap());
        release.metadata.creation_timestamp = Some(Time(at(0)));
        release.status = Some(ReleaseStatus {
            phase,
            finished_at: finished.map(|second| Time(at(second))),
            ..ReleaseStatus::default()
        });
        release
    }

    fn reported(release: &Release, second: i64) -> Option<RequestPhase> {
        match plan(release, at(second))? {
            Step::Report(status) => status.phase,
            Step::Delete => panic!("deleted"),
        }
    }

    #[test]
    fn one_that_nobody_takes_up_says_so_once_and_fails_after_a_minute() {
        let fresh = release(None, None);
        assert_eq!(reported(&fresh, 4), None);
        assert_eq!(reported(&fresh, 5), Some(RequestPhase::Pending));
        for phase in [RequestPhase::Pending, RequestPhase::Claimed] {
            assert_eq!(reported(&release(Some(phase), None), 59), None);
            assert_eq!(reported(&release(Some(phase), None), 60), Some(RequestPhase::Failed));
        }
        assert_eq!(reported(&fresh, 60), Some(RequestPhase::Failed), "also after the operator was away");
    }

    #[test]
    fn an_answer_stays_for_almost_a_minute_from_the_answer_on_not_from_the_question() {
        for phase in [RequestPhase::Answered, RequestPhase::Failed] {
            let late = release(Some(phase), Some(58));
            assert_eq!(plan(&late, at(58 + 54)), None);
            assert_eq!(plan(&late, at(58 + 55)), Some(Step::Delete));
            assert_eq!(plan(&release(Some(phase), None), at(55)), Some(Step::Delete));
        }
    }

    #[test]
    fn none_becomes_older_than_three_minutes_whatever_clocks_say() {
        let ahead = release(Some(RequestPhase::Answered), Some(100_000));
        assert_eq!(plan(&ahead, at(179)), None);
        assert_eq!(plan(&ahead, at(180)), Some(Step::Delete));
        let mut going = ahead;
        going.metadata.deletion_timestamp = Some(Time(at(170)));
        assert_eq!(plan(&going, at(1000)), None);
    }

    /// Whoever made it, the operator or a person who has gone.
    #[test]
    fn a_question_lives_for_its_minute_and_fails_when_nobody_answers() {
        let mut query =
            AuditQuery::new("q", serde_json::from_value(json!({"vault": "main", "publicKey": ""})).unwrap());
        query.metadata.creation_timestamp = Some(Time(at(0)));
        assert_eq!(plan_query(&query, at(59)), None);
        let Some(Step::Report(failed)) = plan_query(&query, at(60)) else { panic!("it says nothing") };
        assert_eq!((failed.phase, failed.answers.len()), (Some(RequestPhase::Failed), 0));
        let mut answered = query.clone();
        let answer = json!({"phase": "Answered", "answers": [{"answeredBy": "b-0", "result": ""}]});
        answered.status = Some(serde_json::from_value(answer).unwrap());
        assert_eq!(plan_query(&answered, at(59)), None, "another may answer still");
        assert_eq!(plan_query(&answered, at(60)), Some(Step::Delete));
        query.status = Some(failed);
        assert_eq!(plan_query(&query, at(114)), None);
        assert_eq!(plan_query(&query, at(115)), Some(Step::Delete));
        query.metadata.deletion_timestamp = Some(Time(at(1)));
        assert_eq!(plan_query(&query, at(1000)), None);
    }
}
