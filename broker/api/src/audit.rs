//! The audit door: an AuditQuery object is the question, and every replica of the broker answers in its status from the
//! log that it keeps.
//!
//! A client's half is [`PendingQuery`]: it makes the object to create, with a fresh key in it, and opens the answers as
//! they come. Each [`AuditAnswer`] names the replicas that have a log; [`is_complete`] says whether all of them have
//! answered. How often to look and when to give up is the client's business; afterwards it deletes the object.

use crate::{
    VERSION,
    lp::put,
    people::{NotOpened, unguessable_name},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{
    AuditFilter, AuditQuery, AuditQueryAnswer, AuditQuerySpec,
    limits::{MAX_AUDIT_RESULT_CHARS, SEALING_OVERHEAD_BYTES},
};
use coffer_keys::answer::{AnswerContext, EphemeralKey};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The door's name in the answers' context, in the audit record and in metrics.
pub const DOOR: &str = "audit";
/// The longest plaintext whose sealed answer still fits a `status.answers[].result`.
pub const MAX_ANSWER_BYTES: usize = MAX_AUDIT_RESULT_CHARS / 4 * 3 - SEALING_OVERHEAD_BYTES;

/// The bytes whose SHA-256 binds the answers to an AuditQuery:
///
/// ```text
/// LP("coffer/v1/audit-query") ‖ LP(namespace) ‖ LP(vault) ‖ LP(member) ‖ LP(connection) ‖ LP(event)
///   ‖ LP(since) ‖ LP(until) ‖ LP(lastReads) ‖ LP(page) ‖ LP(publicKey)
/// ```
///
/// `namespace` is the object's own. What is absent is empty; times are whole seconds of Unix time, decimal; `lastReads` is
/// `true` or empty. What admission stamps is not in it.
pub fn canonical(namespace: &str, spec: &AuditQuerySpec) -> Vec<u8> {
    let AuditFilter { member, connection, event, since, until } = &spec.filter;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let seconds = |at: Option<i64>| at.map(|second| second.to_string()).unwrap_or_default();
    let mut out = Vec::with_capacity(512 + spec.public_key.len());
    put(&mut out, "coffer/v1/audit-query");
    put(&mut out, namespace);
    put(&mut out, &spec.vault);
    put(&mut out, &text(member));
    put(&mut out, &text(connection));
    put(&mut out, &text(event));
    put(&mut out, &seconds(since.as_ref().map(|at| at.0.as_second())));
    put(&mut out, &seconds(until.as_ref().map(|at| at.0.as_second())));
    put(&mut out, if spec.last_reads { "true" } else { "" });
    put(&mut out, &text(&spec.page));
    put(&mut out, &spec.public_key);
    out
}

/// Calls `with` with the context of the answers to a stored AuditQuery that asked for `spec`: its uid and its requester,
/// as admission stamped them.
pub fn with_context<T>(
    query: &AuditQuery,
    spec: &AuditQuerySpec,
    with: impl FnOnce(&AnswerContext<'_>) -> T,
) -> T {
    let namespace = query.metadata.namespace.as_deref().unwrap_or_default();
    let requester = query.spec.requester.as_ref();
    with(&AnswerContext {
        door: DOOR,
        request_id: query.metadata.uid.as_deref().unwrap_or_default(),
        requester_username: requester.map(|author| author.username.as_str()).unwrap_or_default(),
        requester_uid: requester.and_then(|author| author.uid.as_deref()).unwrap_or_default(),
        request_sha256: &Sha256::digest(canonical(namespace, spec)).into(),
    })
}

/// What one replica says. Identifiers only: no record ever holds a value.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuditAnswer {
    /// [`VERSION`].
    pub v: u32,
    /// As [`crate::ErrorBody::code`]; 200 = granted.
    pub code: u16,
    /// One sentence for people; empty when granted.
    pub message: String,
    /// When asking again may help: after so many seconds, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// Whose log this is from.
    pub replica: String,
    /// Every replica that has a log now, as this one sees them; empty when refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
    /// Records, the newest first, each the very line of the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// For `lastReads`: by member and by Connection as `namespace/name`, the time in the newest record of a release that was
    /// allowed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_reads: BTreeMap<String, BTreeMap<String, String>>,
    /// `spec.page` of the question that goes on from here. Absent: there is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The log was too long to be looked through in time: there may be more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl AuditAnswer {
    /// A refusal.
    pub fn denied(replica: &str, code: u16, message: String, retry_after_seconds: Option<u64>) -> Self {
        Self {
            v: VERSION,
            code,
            message,
            retry_after_seconds,
            replica: replica.to_owned(),
            ..Self::default()
        }
    }

    /// Whether it was granted.
    pub fn is_granted(&self) -> bool {
        self.code == 200
    }

    /// The bytes to seal.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialize into memory")
    }

    /// Reads [`AuditAnswer::encode`]'s bytes.
    ///
    /// # Errors
    /// [`NotOpened::Malformed`].
    pub fn decode(plaintext: &[u8]) -> Result<Self, NotOpened> {
        let answer: Self = serde_json::from_slice(plaintext).map_err(|_| NotOpened::Malformed)?;
        if answer.v == VERSION { Ok(answer) } else { Err(NotOpened::Malformed) }
    }
}

/// The replicas that the answers name and that have not answered.
pub fn missing(answers: &BTreeMap<String, AuditAnswer>) -> BTreeSet<&str> {
    let named = answers.values().flat_map(|answer| &answer.replicas);
    named.map(String::as_str).filter(|replica| !answers.contains_key(*replica)).collect()
}

/// Whether every replica that any of the answers names has answered.
pub fn is_complete(answers: &BTreeMap<String, AuditAnswer>) -> bool {
    !answers.is_empty() && missing(answers).is_empty()
}

/// A question on the client's side: what is asked, and the one key that opens the answers.
pub struct PendingQuery {
    namespace: String,
    name: String,
    spec: AuditQuerySpec,
    key: EphemeralKey,
}

impl PendingQuery {
    /// A question about the vault `vault` of `namespace`, under a name of 128 random bits and with a key of its own.
    pub fn new(
        namespace: &str,
        vault: &str,
        filter: AuditFilter,
        last_reads: bool,
        page: Option<String>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let key = EphemeralKey::generate(rng);
        let spec = AuditQuerySpec {
            vault: vault.to_owned(),
            filter,
            last_reads,
            page,
            public_key: key.public().to_base64(),
            requester: None,
        };
        Self { namespace: namespace.to_owned(), name: unguessable_name(rng), spec, key }
    }

    /// The object's name; nobody can guess it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The object to create.
    pub fn object(&self) -> AuditQuery {
        let mut query = AuditQuery::new(&self.name, self.spec.clone());
        query.metadata.namespace = Some(self.namespace.clone());
        query
    }

    /// The answers that the stored object holds by now, by replica; one that is not that replica's to this question is
    /// left out.
    pub fn answers(&self, stored: &AuditQuery) -> BTreeMap<String, AuditAnswer> {
        let answers = stored.status.iter().flat_map(|status| &status.answers);
        let opened = answers.filter_map(|answer| {
            let opened = self.open(stored, answer).ok()?;
            (opened.replica == answer.answered_by).then_some((opened.replica.clone(), opened))
        });
        opened.collect()
    }

    /// Opens one answer. It is taken for an answer to what was asked, whatever the stored spec says by now.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn open(&self, stored: &AuditQuery, answer: &AuditQueryAnswer) -> Result<AuditAnswer, NotOpened> {
        let sealed = STANDARD.decode(&answer.result).map_err(|_| NotOpened::DoesNotOpen)?;
        let opened = with_context(stored, &self.spec, |context| self.key.open(context, &sealed));
        AuditAnswer::decode(opened.map_err(|_| NotOpened::DoesNotOpen)?.expose())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

    use super::*;
    use coffer_crds::{AuditQueryStatus, Author};
    use coffer_keys::answer::{self, AnswerPublicKey};
    use getrandom::{SysRng, rand_core::UnwrapErr};

    fn pending(last_reads: bool) -> PendingQuery {
        let filter = AuditFilter { member: Some("bob".into()), ..AuditFilter::default() };
        PendingQuery::new("team-a", "main", filter, last_reads, None, &mut UnwrapErr(SysRng))
    }

    /// What the API server would store: admission's stamp and a uid.
    fn stored(pending: &PendingQuery) -> AuditQuery {
        let mut query = pending.object();
        query.metadata.uid = Some("uid-1".into());
        query.spec.requester = Some(Author { username: "alice".into(), ..Author::default() });
        query
    }

    fn answer_of(replica: &str, replicas: &[&str]) -> AuditAnswer {
        AuditAnswer {
            replicas: replicas.iter().map(|replica| (*replica).to_owned()).collect(),
            records: vec!["{\"seq\":1}".to_owned()],
            last_reads: [(
                "bob".to_owned(),
                [("team-a/github".to_owned(), "2026-03-01T12:00:00.000Z".to_owned())].into(),
            )]
            .into(),
            ..AuditAnswer::denied(replica, 200, String::new(), None)
        }
    }

    /// What a broker would store.
    fn answered(query: &mut AuditQuery, as_replica: &str, answer: &AuditAnswer) {
        let key = AnswerPublicKey::parse(&query.spec.public_key).unwrap();
        let sealed = with_context(query, &query.spec, |context| {
            answer::seal(&key, context, &answer.encode(), &mut UnwrapErr(SysRng))
        });
        let status = query.status.get_or_insert_with(AuditQueryStatus::default);
        status
            .answers
            .push(AuditQueryAnswer { answered_by: as_replica.into(), result: STANDARD.encode(sealed) });
    }

    #[test]
    fn answers_are_opened_as_they_come_and_are_complete_when_all_have_answered() {
        let pending = pending(true);
        let mut query = stored(&pending);
        assert!(!is_complete(&pending.answers(&query)), "nobody has answered");
        let (first, second) = (answer_of("b-0", &["b-0", "b-1"]), answer_of("b-1", &["b-0", "b-1"]));
        answered(&mut query, "b-0", &first);
        assert!(!is_complete(&pending.answers(&query)), "b-1 has a log too");
        assert_eq!(missing(&pending.answers(&query)), ["b-1"].into());
        answered(&mut query, "b-1", &second);
        let answers = pending.answers(&query);
        assert!(is_complete(&answers));
        assert_eq!(answers["b-1"], second);
    }

    /// T2: an answer is one replica's, to one question of one requester.
    #[test]
    fn an_answer_that_was_moved_is_none() {
        let pending_one = pending(true);
        let mut query = stored(&pending_one);
        answered(&mut query, "b-1", &answer_of("b-0", &["b-0"]));
        assert!(pending_one.answers(&query).is_empty(), "another replica's");
        let mut query = stored(&pending_one);
        answered(&mut query, "b-0", &answer_of("b-0", &["b-0"]));
        assert_eq!(pending_one.answers(&query).len(), 1);
        assert!(pending(true).answers(&query).is_empty(), "another question's key");
        let mut moved = query.clone();
        moved.metadata.uid = Some("uid-2".into());
        assert!(pending_one.answers(&moved).is_empty(), "another object");
        moved = query;
        moved.spec.requester = Some(Author { username: "mallory".into(), ..Author::default() });
        assert!(pending_one.answers(&moved).is_empty(), "another requester");
    }

    #[test]
    fn whatever_is_asked_for_is_in_the_canonical_bytes() {
        let spec = pending(false).spec;
        let bytes = |change: fn(&mut AuditQuerySpec)| {
            let mut changed = spec.clone();
            change(&mut changed);
            canonical("team-a", &changed)
        };
        let changes: [fn(&mut AuditQuerySpec); 7] = [
            |spec| spec.vault.push('x'),
            |spec| spec.filter.member = None,
            |spec| spec.filter.connection = Some("bob".into()),
            |spec| spec.filter.event = Some("release".into()),
            |spec| spec.last_reads = true,
            |spec| spec.page = Some("b-0/7".into()),
            |spec| spec.public_key.push('A'),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            assert_ne!(bytes(change), bytes(|_| {}), "change {index}");
        }
        assert_ne!(canonical("team-b", &spec), bytes(|_| {}));
        assert_eq!(
            bytes(|spec| spec.requester = Some(Author::default())),
            bytes(|_| {}),
            "the stamp is in the context"
        );
    }

    #[test]
    fn an_unknown_version_or_form_is_refused() {
        let mut answer = answer_of("b-0", &[]);
        answer.v = 2;
        assert_eq!(AuditAnswer::decode(&answer.encode()), Err(NotOpened::Malformed));
        assert_eq!(AuditAnswer::decode(b"{}"), Err(NotOpened::Malformed));
    }
}
