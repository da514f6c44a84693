//! The people's door: a Release object is the request, its `status.result` the sealed answer.
//!
//! A client's half is [`PendingRelease`]: it makes the object to create, with a fresh key in it, and opens the answer.
//! How often to look and when to give up is the client's business; afterwards it deletes the object.
//!
//! ```
//! # use coffer_broker_api::people::{Delivered, PendingRelease, Progress};
//! # use coffer_crds::{Release, ReleaseConnection};
//! # use getrandom::{SysRng, rand_core::UnwrapErr};
//! # fn example(create: impl Fn(&Release) -> Release, get: impl Fn(&str) -> Release) -> Result<(), Box<dyn std::error::Error>> {
//! let github = ReleaseConnection { name: "github".into(), namespace: None, items: vec![] };
//! let pending = PendingRelease::new("team-a", "main", vec![github], None, &mut UnwrapErr(SysRng));
//! create(&pending.object());
//! let release = get(pending.name());
//! if let Progress::Answered = pending.progress(&release) {
//!     for delivered in pending.open(&release)?.granted()? {
//!         match delivered {
//!             Delivered::Items(connection) => drop(connection.items),
//!             Delivered::Wrapped(own) => drop(own.custodian_key()?), // compare it with the pinned one, then own.open(…)
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod wire;

pub use answer::{Answer, Delivered, Denied, NotOpened, WrappedConnection};

use crate::lp::put;
use coffer_crds::{Release, ReleaseConnection, ReleaseSpec, RequestPhase};
use coffer_keys::answer::{AnswerContext, EphemeralKey};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

/// The door's name in the answer's context, in the audit record and in metrics.
pub const DOOR: &str = "request";
/// The longest plaintext whose sealed answer still fits `status.result`: 1 MiB of base64, less what sealing adds.
pub const MAX_ANSWER_BYTES: usize =
    coffer_crds::limits::MAX_RESULT_CHARS / 4 * 3 - coffer_crds::limits::SEALING_OVERHEAD_BYTES;

/// The bytes whose SHA-256 binds an answer to a Release:
///
/// ```text
/// LP("coffer/v1/release") ‖ LP(namespace) ‖ LP(vault) ‖ LP(number of connections, decimal)
///   ‖ (LP(name) ‖ LP(namespace) ‖ LP(number of items, decimal) ‖ LP(item)…)…
///   ‖ LP(publicKey) ‖ LP(reason)
/// ```
///
/// `namespace` is the object's own. What is absent is empty. What admission stamps is not in it: the requester is in
/// the answer's context by itself, and so is the object's uid.
pub fn canonical(namespace: &str, spec: &ReleaseSpec) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + spec.public_key.len());
    put(&mut out, "coffer/v1/release");
    put(&mut out, namespace);
    put(&mut out, &spec.vault);
    put(&mut out, &spec.connections.len().to_string());
    for connection in &spec.connections {
        put(&mut out, &connection.name);
        put(&mut out, connection.namespace.as_deref().unwrap_or_default());
        put(&mut out, &connection.items.len().to_string());
        for item in &connection.items {
            put(&mut out, item);
        }
    }
    put(&mut out, &spec.public_key);
    put(&mut out, spec.reason.as_deref().unwrap_or_default());
    out
}

/// Calls `with` with the context of the answer to a stored Release that asked for `spec`: its uid and its requester, as
/// admission stamped them.
pub fn with_context<T>(
    release: &Release,
    spec: &ReleaseSpec,
    with: impl FnOnce(&AnswerContext<'_>) -> T,
) -> T {
    let namespace = release.metadata.namespace.as_deref().unwrap_or_default();
    let requester = release.spec.requester.as_ref();
    with(&AnswerContext {
        door: DOOR,
        request_id: release.metadata.uid.as_deref().unwrap_or_default(),
        requester_username: requester.map(|author| author.username.as_str()).unwrap_or_default(),
        requester_uid: requester.and_then(|author| author.uid.as_deref()).unwrap_or_default(),
        request_sha256: &Sha256::digest(canonical(namespace, spec)).into(),
    })
}

/// How far a Release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not answered yet; the text says what it waits for, where that is known.
    Waiting(Option<String>),
    /// Answered: [`PendingRelease::open`].
    Answered,
    /// Nobody answered in time, and nobody will; the text says why.
    Failed(String),
}

/// A request on the client's side: what is asked, and the one key that opens the answer.
pub struct PendingRelease {
    namespace: String,
    name: String,
    spec: ReleaseSpec,
    key: EphemeralKey,
}

impl PendingRelease {
    /// A request to the vault `vault` of `namespace`, under a name of 128 random bits and with a key of its own.
    pub fn new(
        namespace: &str,
        vault: &str,
        connections: Vec<ReleaseConnection>,
        reason: Option<String>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let key = EphemeralKey::generate(rng);
        let spec = ReleaseSpec {
            vault: vault.to_owned(),
            connections,
            public_key: key.public().to_base64(),
            reason,
            requester: None,
            impersonation_possible: None,
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
    pub fn object(&self) -> Release {
        let mut release = Release::new(&self.name, self.spec.clone());
        release.metadata.namespace = Some(self.namespace.clone());
        release
    }

    /// How far the stored object is.
    pub fn progress(&self, stored: &Release) -> Progress {
        let Some(status) = &stored.status else { return Progress::Waiting(None) };
        match status.phase {
            Some(RequestPhase::Answered) => Progress::Answered,
            Some(RequestPhase::Failed) => {
                Progress::Failed(status.message.clone().unwrap_or_else(|| "Nobody answered in time".into()))
            }
            Some(RequestPhase::Pending | RequestPhase::Claimed) | None => {
                Progress::Waiting(status.message.clone())
            }
        }
    }

    /// Opens the answer in the stored object. It is taken for an answer to what was asked, whatever the stored spec says
    /// by now.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn open(&self, stored: &Release) -> Result<Answer, NotOpened> {
        let result = stored.status.as_ref().and_then(|status| status.result.as_deref());
        let sealed = wire::decode_base64(result.ok_or(NotOpened::Unanswered)?)?;
        let opened = with_context(stored, &self.spec, |context| self.key.open(context, &sealed));
        Answer::decode(opened.map_err(|_| NotOpened::DoesNotOpen)?.expose())
    }
}

/// A name of 128 random bits.
pub(crate) fn unguessable_name(rng: &mut impl CryptoRng) -> String {
    let mut name = [0; 16];
    rng.fill_bytes(&mut name);
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
