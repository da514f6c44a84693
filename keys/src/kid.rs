use crate::FormatError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::fmt;

/// The SHA-256 of a public key's kind and bytes, written `SHA256:` and unpadded base64.
///
/// For Ed25519 it is what `ssh-keygen -lf key.pub` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads `SHA256:` and 43 characters of unpadded base64.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for any other form.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        text.strip_prefix("SHA256:")
            .and_then(|digest| STANDARD_NO_PAD.decode(digest).ok())
            .and_then(|digest| digest.try_into().ok())
            .map(Self)
            .ok_or(FormatError::malformed("keyFingerprint", "is not SHA256: and 43 characters of base64"))
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which key something is wrapped under: the `kid` of every wrap, bound into its context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kid {
    /// `root/NAME`: a named key of the root of trust.
    Root(RootName),
    /// `custodian/R`: the vault's custodian wrapping key, of custodian root generation R.
    Custodian(u64),
    /// `intake/R/G`: the vault's intake key of generation G, of custodian root generation R.
    Intake {
        /// Generation of the custodian root.
        root: u64,
        /// Generation of the intake key under that root.
        generation: u64,
    },
    /// `member/B`: a Brokered member's wrapping key, of brokered branch generation B.
    Member(u64),
    /// `epoch/E`: the vault key of epoch E.
    Epoch(u64),
    /// `pub/SHA256:…`: a public key.
    Public(Fingerprint),
    /// `data`: the data key of the Envelope that the structure lies in.
    Data,
}

/// What the root of trust wraps: the installation's two branches, each under a key of its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootName {
    /// The custodian root.
    Custodian,
    /// The brokered branch.
    Brokered,
}

impl RootName {
    /// The name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Custodian => "custodian",
            Self::Brokered => "brokered",
        }
    }
}

impl Kid {
    /// Reads a key id in its one canonical form.
    ///
    /// # Errors
    /// [`FormatError::UnknownKid`].
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Self::parse_known(text)
            .filter(|kid| kid.to_string() == text)
            .ok_or_else(|| FormatError::UnknownKid(FormatError::excerpt(text)))
    }

    fn parse_known(text: &str) -> Option<Self> {
        if text == "data" {
            return Some(Self::Data);
        }
        let (kind, rest) = text.split_once('/')?;
        match kind {
            "root" => [RootName::Custodian, RootName::Brokered]
                .into_iter()
                .find(|name| name.as_str() == rest)
                .map(Self::Root),
            "custodian" => rest.parse().ok().map(Self::Custodian),
            "member" => rest.parse().ok().map(Self::Member),
            "epoch" => rest.parse().ok().map(Self::Epoch),
            "pub" => Fingerprint::parse(rest).ok().map(Self::Public),
            "intake" => {
                let (root, generation) = rest.split_once('/')?;
                Some(Self::Intake { root: root.parse().ok()?, generation: generation.parse().ok()? })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => write!(f, "root/{}", name.as_str()),
            Self::Custodian(root) => write!(f, "custodian/{root}"),
            Self::Intake { root, generation } => write!(f, "intake/{root}/{generation}"),
            Self::Member(branch) => write!(f, "member/{branch}"),
            Self::Epoch(epoch) => write!(f, "epoch/{epoch}"),
            Self::Public(fingerprint) => write!(f, "pub/{fingerprint}"),
            Self::Data => f.write_str("data"),
        }
    }
}
