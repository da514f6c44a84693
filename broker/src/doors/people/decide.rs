//! What a Release is answered with.

use super::PeopleDoor;
use crate::{
    doors::requests,
    facts::Key,
    limits::{MemberUid, RateLimiter as _},
    refusal::Refusal,
    release::{Asker, Asking, Takes},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_broker_api::people::{Answer, DOOR, with_context};
use coffer_crds::{
    Author, Release, ReleaseConnection, ReleaseStatus, RequestPhase, Verb, limits::MAX_RESULT_CHARS,
};
use coffer_keys::answer::{self, AnswerPublicKey};
use coffer_policy::{
    Caller, memberships,
    release::{RetryAfter, not_found},
};
use getrandom::{SysRng, rand_core::UnwrapErr};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

/// The reason, for metrics, of a Release to which nothing can be sealed.
const MALFORMED: &str = "Malformed";

impl PeopleDoor {
    /// The status that answers a Release, and why nothing was granted, if so. Code and message are inside the seal.
    pub(super) async fn decide(&self, release: &Release) -> (ReleaseStatus, Option<&'static str>) {
        let Ok(key) = AnswerPublicKey::parse(&release.spec.public_key) else {
            let text = "spec.publicKey: must be an X-Wing public key, 1216 bytes in standard base64";
            return (self.failed(text), Some(MALFORMED));
        };
        // By the policy coffer-requests there always is one.
        let Some(author) = release.spec.requester.as_ref().filter(|author| !author.username.is_empty())
        else {
            return (
                self.failed("spec.requester: names nobody, so there is nobody to answer"),
                Some(MALFORMED),
            );
        };
        let (answer, reason) = match self.decided(release, author).await {
            Ok(answer) => (answer, None),
            Err(refusal) => (denied(&refusal), Some(refusal.reason())),
        };
        let mut result = seal(release, &key, &answer);
        if result.len() > MAX_RESULT_CHARS {
            // The estimate that the decision was made by is never below the truth.
            tracing::error!(release = %Key::of(release), "an answer became larger than was told before");
            result = seal(release, &key, &denied(&Refusal::TooLarge { bytes: MAX_RESULT_CHARS / 2 }));
        }
        let status =
            ReleaseStatus { phase: Some(RequestPhase::Answered), result: Some(result), ..self.finished() };
        (status, reason)
    }

    async fn decided(&self, release: &Release, author: &Author) -> Result<Answer, Refusal> {
        let asker = asker(release, author);
        let references: Vec<String> = release.spec.connections.iter().map(reference).collect();
        let items: Vec<Vec<String>> = release.spec.connections.iter().map(|c| c.items.clone()).collect();
        let request_id = release.uid().unwrap_or_default();
        let asking = Asking {
            request_id: &request_id,
            references: &references,
            items: &items,
            purpose: release.spec.reason.as_deref(),
        };
        if let Err(refusal) = self.admits(&asker, asking).await {
            return Err(self.releaser.turn_away(&asker, asking, refusal).await);
        }
        self.releaser.release(&asker, asking).await.map(Answer::of)
    }

    /// What comes before any decision: whether this one asks too often, and whether requesters can be believed.
    async fn admits(&self, asker: &Asker, asking: Asking<'_>) -> Result<(), Refusal> {
        let requester = MemberUid(asker.caller.username.clone());
        self.windows.charge(&requester, self.limit).await.map_err(|RetryAfter(wait)| {
            Refusal::AskedTooOften {
                limit: self.limit,
                retry_after_seconds: u64::try_from(wait.as_secs() + 1).unwrap_or(1),
            }
        })?;
        match asker.vault.as_ref().filter(|vault| self.releaser.stores.is_unguarded(vault)) {
            Some(vault) => Err(self.unguarded(asker, asking, vault)),
            None => Ok(()),
        }
    }

    /// Why nobody is believed. Whoever is nobody in the vault is told what is told of an absent one (T28).
    fn unguarded(&self, asker: &Asker, asking: Asking<'_>, vault: &Key) -> Refusal {
        let (caller, glass) = (&asker.caller, &self.releaser.glass.groups);
        let known = self.releaser.stores.memberships(vault, caller, (self.releaser.clock)());
        let is_member = known.is_some_and(|(_, views)| {
            memberships(caller, &views).into_iter().any(|member| member.is_active())
        });
        if is_member || glass.group_of(caller).is_some() {
            return Refusal::Unguarded;
        }
        let reference = asking.references.first().map(String::as_str).unwrap_or_default();
        Refusal::Denied { denial: not_found(reference), hidden: None }
    }

    fn failed(&self, message: &str) -> ReleaseStatus {
        let message = Some(message.to_owned());
        ReleaseStatus { phase: Some(RequestPhase::Failed), message, ..self.finished() }
    }

    fn finished(&self) -> ReleaseStatus {
        ReleaseStatus {
            answered_by: Some(self.replica.clone()),
            finished_at: Some(Time((self.releaser.clock)())),
            ..ReleaseStatus::default()
        }
    }
}

/// Who asks, as admission stamped it and the API server's own policy checked.
fn asker(release: &Release, author: &Author) -> Asker {
    let caller = Caller::from(author);
    let actor = requests::actor(&caller);
    let namespace = release.namespace().unwrap_or_default();
    Asker {
        caller,
        actor,
        vault: Some(Key { namespace: namespace.clone(), name: release.spec.vault.clone() }),
        namespace,
        verb: Verb::Read,
        door: DOOR,
        takes: Takes::ItemsOrEnvelopes,
        source_ip: None,
        impersonation_possible: release.spec.impersonation_possible.unwrap_or(false),
        may_break_glass: true,
    }
}

fn reference(wanted: &ReleaseConnection) -> String {
    match &wanted.namespace {
        Some(namespace) => format!("{namespace}/{}", wanted.name),
        None => wanted.name.clone(),
    }
}

fn denied(refusal: &Refusal) -> Answer {
    Answer::denied(refusal.code(), refusal.to_string(), refusal.retry_after_seconds())
}

fn seal(release: &Release, key: &AnswerPublicKey, answer: &Answer) -> String {
    let sealed = with_context(release, &release.spec, |context| {
        answer::seal(key, context, &answer.encode(), &mut UnwrapErr(SysRng))
    });
    STANDARD.encode(sealed)
}
