//! What a request leaves in the audit log.

use super::{Asker, Asking, Releaser, plan::Granted};
use crate::{
    audit::{Decision, Entry, Event, timestamp},
    facts::{Facts, Key},
    refusal::Refusal,
};
use coffer_policy::{resolve::ResolveError, roles::verb_name};
use jiff::Timestamp;
use std::time::Instant;

/// Longest caller's word that is written down, in characters.
const MAX_WORD: usize = 128;

/// What all records of one request share.
pub(super) struct Trail<'a> {
    pub(super) asker: &'a Asker,
    pub(super) asking: Asking<'a>,
    pub(super) now: Timestamp,
}

impl Trail<'_> {
    /// A Connection is about to be released.
    pub(super) fn allowed(&self, facts: &Facts, index: usize, grant: &Granted) -> Entry {
        let opening = facts.opening(index, &grant.member);
        // In whose place it is opened for somebody who breaks glass, says nothing about that member.
        let member = facts.glass().is_none().then(|| grant.member.name.clone());
        Entry {
            member,
            cross_identity: grant.cross_identity,
            key_epoch: opening.map(|opening| opening.envelope.spec.epoch),
            ..self.about(facts, index, Decision::Allowed)
        }
    }

    /// A Connection that was allowed is not released after all.
    pub(super) fn failed(&self, facts: &Facts, index: usize, grant: &Granted, refusal: &Refusal) -> Entry {
        Entry {
            decision: Decision::Failed,
            reason: Some(refusal.reason().to_owned()),
            ..self.allowed(facts, index, grant)
        }
    }

    /// A request is denied because of one Connection.
    pub(super) fn denied(&self, facts: &Facts, index: usize, refusal: &Refusal) -> Entry {
        let entry = self.about(facts, index, Decision::Denied);
        let word = || self.asking.references.get(index).map(|word| word.chars().take(MAX_WORD).collect());
        Entry {
            member: facts.membership(index, &self.asker.caller).map(|member| member.name.clone()),
            connection: entry.connection.clone().or_else(word),
            reason: Some(refusal.reason().to_owned()),
            ..entry
        }
    }

    /// A request is denied because of a word that means nothing for sure.
    pub(super) fn unresolved(&self, word: Option<&str>, error: &ResolveError) -> Entry {
        Entry {
            connection: word.map(|word| word.chars().take(MAX_WORD).collect()),
            reason: Some(Refusal::Unresolved(error.clone()).reason().to_owned()),
            ..self.entry(Decision::Denied)
        }
    }

    /// A request is denied before anything about it is looked at.
    pub(super) fn turned_away(&self, refusal: &Refusal) -> Entry {
        Entry { reason: Some(refusal.reason().to_owned()), ..self.entry(Decision::Denied) }
    }

    fn about(&self, facts: &Facts, index: usize, decision: Decision) -> Entry {
        let connection = facts.connection(index);
        Entry {
            vault: facts.vault(index).or_else(|| self.asker.vault.clone()).map(|vault| vault.to_string()),
            connection: connection.map(|connection| Key::of(connection.as_ref()).to_string()),
            owner: connection.and_then(|connection| connection.spec.owner.clone()),
            break_glass: facts
                .glass()
                .and_then(|glass| glass.group_of(&self.asker.caller))
                .map(str::to_owned),
            ..self.entry(decision)
        }
    }

    fn entry(&self, decision: Decision) -> Entry {
        Entry {
            verb: Some(verb_name(self.asker.verb).to_owned()),
            door: Some(self.asker.door.to_owned()),
            decision,
            reason: None,
            vault: self.asker.vault.as_ref().map(ToString::to_string),
            request_id: Some(self.asking.request_id.to_owned()),
            purpose: self.asking.purpose.map(str::to_owned),
            impersonation_possible: self.asker.impersonation_possible,
            source_ip: self.asker.source_ip,
            ..Entry::about_itself(
                Event::Release,
                self.asker.actor.clone(),
                timestamp(self.now),
                String::new(),
            )
        }
    }
}

impl Releaser {
    /// Puts a denial on record, as long as its caller's denials do not flood the log. Without a record the answer is
    /// that of a missing log, whatever the denial was.
    pub(crate) async fn refuse(&self, entry: Entry, refusal: Refusal) -> Refusal {
        let who = entry.actor.name.clone().unwrap_or_default();
        let Some(suppressed) = self.denials.take(who, Instant::now()) else {
            self.metrics.suppressed();
            return refusal;
        };
        match self.audit.record(vec![Entry { suppressed, ..entry }]).await {
            Ok(()) => refusal,
            Err(_) => Refusal::AuditUnavailable,
        }
    }
}
