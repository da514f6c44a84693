//! What a sealed answer says.

use super::wire;
use crate::released::ReleasedConnection;
use coffer_crds::{EnvelopeConnection, EnvelopeMember, EnvelopeSpec, WrappedVaultKey};
use coffer_envelope::{EnvelopeError, Place, SelfMember, open_as_self};
use coffer_keys::{FormatError, VaultId, member_key::MemberSecretKey, signature::VaultPublicKey};
use zeroize::Zeroizing;

/// An opened answer. May hold plaintext: no `Debug`, no `Serialize`.
#[derive(Clone, PartialEq)]
pub struct Answer {
    /// As [`crate::ErrorBody::code`]; 200 = granted.
    pub code: u16,
    /// One sentence for people; empty when granted. Never a value.
    pub message: String,
    /// When asking again may help: after so many seconds, at least 1.
    pub retry_after_seconds: Option<u64>,
    /// What was granted, one for each entry of the request, in its order.
    pub connections: Vec<Delivered>,
}

/// One Connection of an answer. May hold plaintext: no `Debug`, no `Serialize`.
#[derive(Clone, PartialEq)]
pub enum Delivered {
    /// To a member of custody `Brokered`: the items.
    Items(ReleasedConnection),
    /// To a member with a key of its own: what that key opens.
    Wrapped(Box<WrappedConnection>),
}

/// A Connection as only a member's own key opens it. Nothing in here is secret.
#[derive(Clone, Debug, PartialEq)]
pub struct WrappedConnection {
    /// Namespace, name and uid of the live Connection. Remember the highest `(epoch, version, revision)` of `envelope` for
    /// each uid: an older one is a replay.
    pub connection: EnvelopeConnection,
    /// Its alias.
    pub alias: String,
    /// Its `spec.type`.
    pub type_: String,
    /// The member that it is wrapped for: name and uid of the VaultMember.
    pub member: EnvelopeMember,
    /// The vault's id.
    pub vault_id: String,
    /// The vault's signing key as its status claims it. Believe the one that was pinned at acceptance.
    pub custodian_key: String,
    /// The vault key of the Envelope's epoch, wrapped for the member; none when it has a slot of its own.
    pub wrapped_keys: Vec<WrappedVaultKey>,
    /// The Envelope, signed by the custodian.
    pub envelope: EnvelopeSpec,
    /// The items that were asked for; empty: all.
    pub items: Vec<String>,
}

/// A request that was not granted.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("{message}")]
pub struct Denied {
    /// As [`crate::ErrorBody::code`].
    pub code: u16,
    /// The broker's sentence.
    pub message: String,
    /// When asking again may help.
    pub retry_after_seconds: Option<u64>,
}

/// Why an answer cannot be read. Says nothing of its content.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// There is no result.
    #[error("the Release has no result")]
    Unanswered,
    /// It was not sealed for this request and this requester, or was altered.
    #[error("the answer does not open: it is not the broker's to this request")]
    DoesNotOpen,
    /// It opens, and is of another form or version than this program knows.
    #[error("the answer is not of a form that this program knows: its version may be too old")]
    Malformed,
}

impl Answer {
    /// A refusal.
    pub fn denied(code: u16, message: String, retry_after_seconds: Option<u64>) -> Self {
        Self { code, message, retry_after_seconds, connections: Vec::new() }
    }

    /// A grant.
    pub fn of(connections: Vec<Delivered>) -> Self {
        Self { code: 200, message: String::new(), retry_after_seconds: None, connections }
    }

    /// What was granted.
    ///
    /// # Errors
    /// [`Denied`], when nothing was.
    pub fn granted(self) -> Result<Vec<Delivered>, Denied> {
        let Self { code, message, retry_after_seconds, connections } = self;
        if code == 200 { Ok(connections) } else { Err(Denied { code, message, retry_after_seconds }) }
    }

    /// The bytes to seal:
    /// `{"v":1,"code","message","retryAfterSeconds","connections":[{…,"items":{k: base64}} | {…,"wrapped":{…}}]}`.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        wire::encode(self)
    }

    /// Reads [`Answer::encode`]'s bytes.
    ///
    /// # Errors
    /// [`NotOpened::Malformed`], without a word about the content.
    pub fn decode(plaintext: &[u8]) -> Result<Self, NotOpened> {
        wire::decode(plaintext)
    }
}

impl WrappedConnection {
    /// The signing key that the vault's status claims, for comparison with the pinned one.
    ///
    /// # Errors
    /// It has not the form of one.
    pub fn custodian_key(&self) -> Result<VaultPublicKey, FormatError> {
        VaultPublicKey::parse(&self.custodian_key)
    }

    /// Opens what was asked for, with the member's own key. `custodian_key` is the pinned one.
    ///
    /// # Errors
    /// [`EnvelopeError`]: not sealed by that vault, for that Connection or for that key.
    pub fn open(
        &self,
        key: &MemberSecretKey,
        custodian_key: &VaultPublicKey,
    ) -> Result<ReleasedConnection, EnvelopeError> {
        let member = SelfMember { name: &self.member.name, uid: &self.member.uid, key };
        let vault_id = VaultId::parse(&self.vault_id)?;
        let place = Place { vault_id, custodian_key, connection: &self.connection };
        let items = (!self.items.is_empty()).then_some(self.items.as_slice());
        let opened = open_as_self(&member, &self.wrapped_keys, &place, &self.envelope, items)?;
        Ok(ReleasedConnection {
            namespace: self.connection.namespace.clone(),
            name: self.connection.name.clone(),
            alias: self.alias.clone(),
            type_: self.type_.clone(),
            version: self.envelope.version,
            items: opened
                .iter()
                .map(|(name, value)| (name.clone(), crate::ItemValue::new(value.expose().to_vec())))
                .collect(),
        })
    }
}
