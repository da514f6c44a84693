//! The installation's own keys, and the Secrets that hold them under the root of trust.
//!
//! | Secret | data | readable by |
//! | --- | --- | --- |
//! | `coffer-root` (root `local` only) | `custodian`, `brokered`: 32 random bytes each | operator; broker: `brokered` alone |
//! | `coffer-custodian` | `generation-R`: the custodian root, wrapped under `custodian` | operator |
//! | `coffer-brokered` | `generation-B`: the brokered branch, wrapped under `brokered` | operator, broker |

use crate::encoding;
use coffer_crds::Wrap;
use coffer_keys::hierarchy::{BrokeredBranch, CustodianRoot, RootOfTrustKey};
use coffer_keys::wrap::Wrapped;
use coffer_keys::{FormatError, OpenError, RootName, SecretBytes};
use rand_core::CryptoRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the Secret that holds the root of trust `local`.
pub const ROOT_SECRET: &str = "coffer-root";
/// Name of the Secret that holds the custodian root, wrapped.
pub const CUSTODIAN_SECRET: &str = "coffer-custodian";
/// Name of the Secret that holds the brokered branch, wrapped.
pub const BROKERED_SECRET: &str = "coffer-brokered";

/// What a data key of the wrapped Secrets begins with; the generation follows.
const GENERATION: &str = "generation-";

/// Why the installation's keys cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// The root of trust has no key of this name, so it cannot wrap or open this branch.
    #[error("root of trust has no key '{0}' (accepted: 32 bytes)")]
    NoRootKey(&'static str),
    /// A wrapped Secret holds no generation at all.
    #[error("Secret '{0}' holds no key; expected data generation-1 and so on")]
    Empty(&'static str),
    /// A data key that is not `generation-N`.
    #[error("Secret '{secret}' has data '{key}'; accepted: generation-1 and so on")]
    UnknownData {
        /// The Secret.
        secret: &'static str,
        /// Its data key, shortened.
        key: String,
    },
    /// Not the JSON of a wrap.
    #[error("Secret '{0}' holds something else than a wrapped key in JSON")]
    NotAWrap(&'static str),
    /// A wrap of no known form.
    #[error("Secret '{secret}': {source}")]
    Malformed {
        /// The Secret.
        secret: &'static str,
        /// What is wrong.
        source: FormatError,
    },
    /// Does not open with this root of trust.
    #[error("Secret '{secret}' {source}")]
    Open {
        /// The Secret.
        secret: &'static str,
        /// It never says more.
        source: OpenError,
    },
}

/// Where the installation's trust begins: wraps each branch under a key of the branch's own name.
///
/// Roots outside the cluster (Transit, KMS) become variants beside `Local`. Whoever holds one unwraps by a call
/// over the network and makes the keys with [`CustodianRoot::from_key`] and [`BrokeredBranch::from_key`].
pub enum RootOfTrust {
    /// 32 random bytes per name, in the one Secret [`ROOT_SECRET`].
    Local(LocalRoot),
}

/// The keys of root `local` that a program was given: the operator both, the broker only `brokered`.
pub struct LocalRoot {
    custodian: Option<RootOfTrustKey>,
    brokered: Option<RootOfTrustKey>,
}

impl RootOfTrust {
    /// A new root `local`.
    pub fn generate_local(rng: &mut impl CryptoRng) -> Self {
        Self::Local(LocalRoot {
            custodian: Some(RootOfTrustKey::generate(RootName::Custodian, rng)),
            brokered: Some(RootOfTrustKey::generate(RootName::Brokered, rng)),
        })
    }

    /// Reads root `local` from the data of [`ROOT_SECRET`], or the part of it that was mounted.
    ///
    /// # Errors
    /// [`CustodyError::NoRootKey`] when a key is there but has not 32 bytes.
    pub fn from_local_secret<'a>(
        data: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, CustodyError> {
        let mut root = LocalRoot { custodian: None, brokered: None };
        for (key, bytes) in data {
            let (slot, name) = match key {
                "custodian" => (&mut root.custodian, RootName::Custodian),
                "brokered" => (&mut root.brokered, RootName::Brokered),
                _ => continue,
            };
            let bytes: &[u8; 32] = bytes.try_into().map_err(|_| CustodyError::NoRootKey(name.as_str()))?;
            *slot = Some(RootOfTrustKey::new(name, bytes));
        }
        Ok(Self::Local(root))
    }

    /// The data of [`ROOT_SECRET`]. The only plain keys that Coffer ever stores.
    pub fn local_secret(&self) -> BTreeMap<&'static str, SecretBytes> {
        let Self::Local(root) = self;
        [&root.custodian, &root.brokered]
            .into_iter()
            .flatten()
            .map(|key| (key.name().as_str(), SecretBytes::new(key.expose().to_vec())))
            .collect()
    }

    fn key(&self, name: RootName) -> Result<&RootOfTrustKey, CustodyError> {
        let Self::Local(root) = self;
        let key = match name {
            RootName::Custodian => root.custodian.as_ref(),
            RootName::Brokered => root.brokered.as_ref(),
        };
        key.ok_or(CustodyError::NoRootKey(name.as_str()))
    }
}

/// The brokered branch, every generation that is still held.
#[derive(Clone)]
pub struct Branches(Arc<BTreeMap<u64, BrokeredBranch>>);

impl Branches {
    /// A new branch, of generation 1.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_iter([BrokeredBranch::generate(1, rng)])
    }

    /// The branch of a generation.
    pub fn get(&self, generation: u64) -> Option<&BrokeredBranch> {
        self.0.get(&generation)
    }

    /// The newest generation: what new wraps use.
    pub fn newest(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(generation, _)| *generation)
    }
}

impl FromIterator<BrokeredBranch> for Branches {
    fn from_iter<I: IntoIterator<Item = BrokeredBranch>>(branches: I) -> Self {
        Self(Arc::new(branches.into_iter().map(|branch| (branch.generation(), branch)).collect()))
    }
}

/// Everything the operator holds: the custodian root and the brokered branch. Cheap to clone: one copy in memory.
#[derive(Clone)]
pub struct Custodian {
    roots: Arc<BTreeMap<u64, CustodianRoot>>,
    branches: Branches,
}

impl Custodian {
    /// A new installation's keys, of generation 1.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::new([CustodianRoot::generate(1, rng)], Branches::generate(rng))
    }

    /// Keys that were unwrapped elsewhere.
    pub fn new(roots: impl IntoIterator<Item = CustodianRoot>, branches: Branches) -> Self {
        let roots = roots.into_iter().map(|root| (root.generation(), root)).collect();
        Self { roots: Arc::new(roots), branches }
    }

    /// The brokered branch.
    pub fn branches(&self) -> &Branches {
        &self.branches
    }

    /// The custodian root of a generation.
    pub fn root(&self, generation: u64) -> Option<&CustodianRoot> {
        self.roots.get(&generation)
    }

    /// Every generation of the root that is held, oldest first.
    pub fn root_generations(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.roots.keys().copied()
    }

    /// The newest generation of the root: what new Keyrings use.
    pub fn newest_root(&self) -> u64 {
        self.roots.last_key_value().map_or(0, |(generation, _)| *generation)
    }
}

/// The data of the two wrapped Secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCustody {
    /// Data of [`CUSTODIAN_SECRET`].
    pub custodian: BTreeMap<String, Vec<u8>>,
    /// Data of [`BROKERED_SECRET`].
    pub brokered: BTreeMap<String, Vec<u8>>,
}

/// Wraps the installation's keys for their Secrets.
///
/// # Errors
/// [`CustodyError::NoRootKey`] when the root of trust was only given in part.
pub fn seal_secrets(
    custodian: &Custodian,
    root: &RootOfTrust,
    rng: &mut impl CryptoRng,
) -> Result<SealedCustody, CustodyError> {
    let mut sealed = SealedCustody { custodian: BTreeMap::new(), brokered: BTreeMap::new() };
    for (generation, key) in custodian.roots.iter() {
        let wrapped = root.key(RootName::Custodian)?.wrap_custodian(key, rng);
        sealed.custodian.insert(entry_name(*generation), json(&wrapped));
    }
    for (generation, key) in custodian.branches.0.iter() {
        let wrapped = root.key(RootName::Brokered)?.wrap_brokered(key, rng);
        sealed.brokered.insert(entry_name(*generation), json(&wrapped));
    }
    Ok(sealed)
}

/// A new custodian root of this generation, for the data of [`CUSTODIAN_SECRET`]: what it is called there, and its bytes.
/// It takes its place beside those that are there, which stay as they are.
///
/// # Errors
/// [`CustodyError::NoRootKey`] when the root of trust was only given in part.
pub fn seal_new_root(
    generation: u64,
    root: &RootOfTrust,
    rng: &mut impl CryptoRng,
) -> Result<(String, Vec<u8>), CustodyError> {
    let key = CustodianRoot::generate(generation, rng);
    let wrapped = root.key(RootName::Custodian)?.wrap_custodian(&key, rng);
    Ok((entry_name(generation), json(&wrapped)))
}

/// Opens the operator's keys from the data of [`CUSTODIAN_SECRET`] and [`BROKERED_SECRET`].
///
/// # Errors
/// [`CustodyError`] names the Secret and what is wrong with it.
pub fn open_custodian<'a>(
    root: &RootOfTrust,
    custodian: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    brokered: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Custodian, CustodyError> {
    let key = root.key(RootName::Custodian)?;
    let roots = open_generations(CUSTODIAN_SECRET, custodian, |generation, wrapped| {
        key.unwrap_custodian(generation, wrapped)
    })?;
    Ok(Custodian::new(roots, open_branch(root, brokered)?))
}

/// Opens the broker's keys from the data of [`BROKERED_SECRET`]; files that a mount adds and that begin with a dot
/// are passed over.
///
/// # Errors
/// [`CustodyError`] names the Secret and what is wrong with it.
pub fn open_branch<'a>(
    root: &RootOfTrust,
    brokered: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Branches, CustodyError> {
    let key = root.key(RootName::Brokered)?;
    let branches = open_generations(BROKERED_SECRET, brokered, |generation, wrapped| {
        key.unwrap_brokered(generation, wrapped)
    })?;
    Ok(branches.into_iter().collect())
}

fn open_generations<'a, K>(
    secret: &'static str,
    data: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    open: impl Fn(u64, &Wrapped) -> Result<K, OpenError>,
) -> Result<Vec<K>, CustodyError> {
    let mut keys = Vec::new();
    for (key, bytes) in data.into_iter().filter(|(key, _)| !key.starts_with('.')) {
        let generation = key
            .strip_prefix(GENERATION)
            .and_then(|generation| generation.parse::<u64>().ok())
            .filter(|generation| entry_name(*generation) == key)
            .ok_or_else(|| CustodyError::UnknownData { secret, key: key.chars().take(64).collect() })?;
        let wrap: Wrap = serde_json::from_slice(bytes).map_err(|_| CustodyError::NotAWrap(secret))?;
        let wrapped = encoding::unwrap(&wrap).map_err(|source| CustodyError::Malformed { secret, source })?;
        keys.push(open(generation, &wrapped).map_err(|source| CustodyError::Open { secret, source })?);
    }
    if keys.is_empty() { Err(CustodyError::Empty(secret)) } else { Ok(keys) }
}

/// What a generation is called in the data of a wrapped Secret.
fn entry_name(generation: u64) -> String {
    format!("{GENERATION}{generation}")
}

fn json(wrapped: &Wrapped) -> Vec<u8> {
    serde_json::to_vec(&encoding::wrap(wrapped)).expect("strings and numbers always become JSON")
}
