//! What an AuditQuery is answered with.

use super::{AuditDoor, PATIENCE, page};
use crate::{
    audit::{
        Decision, Entry, Event,
        search::{self, Sees, Wanted},
        timestamp,
    },
    doors::requests,
    facts::Key,
    limits::{MemberUid, RateLimiter as _},
    refusal::Refusal,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_broker_api::{
    VERSION,
    audit::{AuditAnswer, DOOR, MAX_ANSWER_BYTES, with_context},
};
use coffer_crds::{AuditQuery, AuditQueryAnswer, AuditQueryStatus, Author, RequestPhase, Verb};
use coffer_keys::answer::{self, AnswerPublicKey};
use coffer_policy::{
    Caller,
    audit::{Auditor, Inquiry, may_audit},
    release::RetryAfter,
    roles::verb_name,
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use std::{io, time::Instant};

/// The reason, for metrics, of an AuditQuery to which nothing can be sealed.
const MALFORMED: &str = "Malformed";
/// What an answer holds besides records: names of replicas, message, page.
const BESIDES: usize = 8 * 1024;

impl AuditDoor {
    /// This replica's part of the status. Code and message are inside the seal.
    pub(super) async fn decide(&self, query: &AuditQuery) -> AuditQueryStatus {
        let started = Instant::now();
        let metrics = &self.releaser.metrics;
        let Ok(key) = AnswerPublicKey::parse(&query.spec.public_key) else {
            metrics.inquired(Some(MALFORMED), started.elapsed());
            return self
                .failed("spec.publicKey: must be an X-Wing public key, 1216 bytes in standard base64");
        };
        // By the policy coffer-requests there always is one.
        let Some(author) = query.spec.requester.as_ref().filter(|author| !author.username.is_empty()) else {
            metrics.inquired(Some(MALFORMED), started.elapsed());
            return self.failed("spec.requester: names nobody, so there is nobody to answer");
        };
        let (answer, reason) = match self.decided(query, author).await {
            Ok(answer) => (answer, None),
            Err(refusal) => (self.denied(&refusal), Some(refusal.reason())),
        };
        metrics.inquired(reason, started.elapsed());
        let sealed = with_context(query, &query.spec, |context| {
            answer::seal(&key, context, &answer.encode(), &mut UnwrapErr(SysRng))
        });
        let answer = AuditQueryAnswer { answered_by: self.replica.clone(), result: STANDARD.encode(sealed) };
        AuditQueryStatus {
            phase: Some(RequestPhase::Answered),
            answers: vec![answer],
            ..AuditQueryStatus::default()
        }
    }

    async fn decided(&self, query: &AuditQuery, author: &Author) -> Result<AuditAnswer, Refusal> {
        let caller = Caller::from(author);
        let vault = Key { namespace: query.namespace().unwrap_or_default(), name: query.spec.vault.clone() };
        let entry = self.entry(query, &caller, &vault);
        match self.judged(query, &caller, &vault).await {
            Ok((wanted, member)) => {
                // First the record, then the answer.
                let entry = Entry { member, ..entry };
                let recorded = self.releaser.audit.record(vec![entry]).await;
                recorded.map_err(|_| Refusal::AuditUnavailable)?;
                self.found(query, wanted).await
            }
            Err(refusal) => {
                let reason = Some(refusal.reason().to_owned());
                let entry = Entry { decision: Decision::Denied, reason, ..entry };
                Err(self.releaser.refuse(entry, refusal).await)
            }
        }
    }

    /// What the caller may see of what it asks for, and as which member.
    async fn judged(
        &self,
        query: &AuditQuery,
        caller: &Caller,
        vault: &Key,
    ) -> Result<(Wanted, Option<String>), Refusal> {
        let stores = &self.releaser.stores;
        if caller.username != self.operator {
            let requester = MemberUid(caller.username.clone());
            self.windows.charge(&requester, self.limit).await.map_err(|RetryAfter(wait)| {
                Refusal::AskedTooOften {
                    limit: self.limit,
                    retry_after_seconds: u64::try_from(wait.as_secs() + 1).unwrap_or(1),
                }
            })?;
        }
        let known = stores.memberships(vault, caller, (self.releaser.clock)());
        let inquiry = Inquiry {
            caller: Some(caller),
            operator: &self.operator,
            name: &vault.name,
            vault: known.as_ref().map(|(vault, members)| (vault.as_ref(), members.as_slice())),
        };
        let auditor = may_audit(&inquiry).map_err(Refusal::NotAuditor)?;
        // Whoever is nobody here does not learn from this that there is such a vault (T28).
        if stores.is_unguarded(vault) {
            return Err(Refusal::Unguarded);
        }
        let mut wanted = wanted(query, vault, &auditor);
        if let (Auditor::Member(..), Some((vault, _))) = (&auditor, &known) {
            // A vault of that name before this one was others'.
            let made = vault.metadata.creation_timestamp.as_ref().map(|at| at.0);
            wanted.since = wanted.since.max(made);
        }
        if let Some(page) = query.spec.page.as_deref().filter(|_| !query.spec.last_reads)
            && page::place_of(page).parse::<u64>().is_err()
        {
            let accepted = "must be what an answer before gave as next";
            return Err(Refusal::Malformed { field: "spec.page", accepted });
        }
        Ok((wanted, auditor.member().map(str::to_owned)))
    }

    /// Searches the log, off the threads that serve.
    async fn found(&self, query: &AuditQuery, wanted: Wanted) -> Result<AuditAnswer, Refusal> {
        let (log, last_reads) = (self.log.clone(), query.spec.last_reads);
        let place = query.spec.page.as_deref().map(|page| page::place_of(page).to_owned());
        let deadline = Instant::now() + PATIENCE;
        let replica = self.replica.clone();
        let answer = AuditAnswer {
            v: VERSION,
            code: 200,
            replica: replica.clone(),
            replicas: self.peers.all().into_iter().collect(),
            ..AuditAnswer::default()
        };
        let room = MAX_ANSWER_BYTES - BESIDES;
        let searched = tokio::task::spawn_blocking(move || -> io::Result<AuditAnswer> {
            if last_reads {
                let found = search::last_reads(&log, &wanted, deadline)?;
                let (last_reads, next) = page::part(found.times, place.as_deref(), room);
                let next = next.map(|place| page::page(&replica, &place));
                return Ok(AuditAnswer { last_reads, next, truncated: found.truncated, ..answer });
            }
            let before = place.and_then(|place| place.parse().ok());
            let found = search::newest(&log, &wanted, before, room, deadline)?;
            let next = found.next.map(|seq| page::page(&replica, &seq.to_string()));
            Ok(AuditAnswer { records: found.lines, next, truncated: found.truncated, ..answer })
        });
        match searched.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the audit log cannot be searched");
                Err(Refusal::AuditUnavailable)
            }
            Err(error) => {
                tracing::error!(%error, "a search of the audit log did not end");
                Err(Refusal::AuditUnavailable)
            }
        }
    }

    fn denied(&self, refusal: &Refusal) -> AuditAnswer {
        let (code, message) = (refusal.code(), refusal.to_string());
        AuditAnswer::denied(&self.replica, code, message, refusal.retry_after_seconds())
    }

    /// The record of a question that is answered.
    fn entry(&self, query: &AuditQuery, caller: &Caller, vault: &Key) -> Entry {
        let now = timestamp((self.releaser.clock)());
        Entry {
            vault: Some(vault.to_string()),
            connection: query.spec.filter.connection.clone(),
            verb: Some(verb_name(Verb::Audit).to_owned()),
            door: Some(DOOR.to_owned()),
            reason: None,
            request_id: query.uid(),
            ..Entry::about_itself(Event::Queried, requests::actor(caller), now, String::new())
        }
    }

    fn failed(&self, message: &str) -> AuditQueryStatus {
        AuditQueryStatus {
            phase: Some(RequestPhase::Failed),
            finished_at: Some(Time((self.releaser.clock)())),
            message: Some(message.to_owned()),
            ..AuditQueryStatus::default()
        }
    }
}

fn wanted(query: &AuditQuery, vault: &Key, auditor: &Auditor<'_>) -> Wanted {
    let filter = query.spec.filter.clone();
    let sees: Sees = match auditor.narrowed_to().cloned() {
        None => Box::new(|_| true),
        Some(role) => Box::new(move |connection| {
            // What is about no Connection may be about any.
            let name = connection.and_then(|connection| Some(connection.split_once('/')?.1));
            name.is_some_and(|name| role.covers(name))
        }),
    };
    Wanted {
        vault: vault.to_string(),
        member: filter.member,
        connection: filter.connection,
        event: filter.event,
        since: filter.since.map(|at| at.0),
        until: filter.until.map(|at| at.0),
        sees,
    }
}
