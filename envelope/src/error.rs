use coffer_keys::{FormatError, OpenError};

/// Why a Keyring is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A part has no known form.
    #[error("Keyring {0}")]
    Malformed(#[from] FormatError),
    /// Wrapped under a generation of the custodian root or the brokered branch that this program does not hold.
    #[error("Keyring is of {branch} generation {generation}, which this installation does not hold")]
    UnknownGeneration {
        /// `custodian root` or `brokered branch`.
        branch: &'static str,
        /// The generation that is missing.
        generation: u64,
    },
    /// Names an epoch that is not in the Keyring.
    #[error("epoch {0} is not in the Keyring")]
    UnknownEpoch(i64),
    /// Of another installation, altered, or not signed by its vault.
    #[error("Keyring {0}")]
    Open(#[from] OpenError),
}

/// Why an Envelope does not give what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A part has no known form.
    #[error("Envelope {0}")]
    Malformed(#[from] FormatError),
    /// Lies at another place than it says: another vault, Connection or object.
    #[error("Envelope belongs to another Connection than the one it lies beside")]
    Displaced,
    /// The member, by name and uid, is not in the Envelope's scope.
    #[error("member is not in the Envelope's scope")]
    OutsideScope,
    /// Nothing is wrapped for the member: no slot, or no vault key of the Envelope's epoch.
    #[error("nothing in the Envelope is wrapped for the member in its epoch")]
    NoSlot,
    /// Wrapped under a generation of the brokered branch that is not held.
    #[error("Envelope is wrapped under brokered branch generation {0}, which is not held")]
    UnknownGeneration(u64),
    /// The custodian's slot is under a generation of the custodian root that is not held.
    #[error("Envelope is sealed under custodian root generation {0}, which this installation does not hold")]
    UnknownRoot(u64),
    /// No such item.
    #[error("Envelope has no item '{0}'")]
    NoSuchItem(String),
    /// Not sealed by this vault for this place, or altered.
    #[error("Envelope {0}")]
    Open(#[from] OpenError),
}

/// Why something is not sealed or wrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A part has no known form.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// What is there does not open, so that nothing is made from it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Names an epoch that is not in the Keyring.
    #[error("epoch {0} is not in the Keyring")]
    UnknownEpoch(i64),
    /// The generation of the brokered branch is not held.
    #[error("brokered branch generation {0} is not held")]
    UnknownGeneration(u64),
    /// A Self member without its public key, or a key that is not the one in the register.
    #[error("member '{0}' keeps its own key, but the key given is not the one in the register")]
    WrongMemberKey(String),
    /// A member that the scope does not name.
    #[error("member '{0}' is to get a slot, but the scope does not name it")]
    RecipientOutsideScope(String),
    /// An owner that the listed scope does not name.
    #[error("owner '{0}' is not in the scope; the owner always is")]
    OwnerOutsideScope(String),
    /// Someone would lose access, or the owner or epoch changes: that needs a new data key.
    #[error("a narrower scope, another owner or another epoch needs a new data key")]
    NeedsNewKey,
    /// The notes name other items than the Envelope has.
    #[error("the items' digests are not exactly those of the Envelope's items")]
    OtherItems,
}
