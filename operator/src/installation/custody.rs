//! The custodian root of this installation: made at the first start, then never replaced by itself.
//!
//! Whatever is gone while anything depends on it is missing, and said to be missing; nothing is made in its place. The
//! three Secrets are immutable, so that even a mistake here could not overwrite one.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use coffer_crds::Keyring;
use coffer_envelope::custody::{
    BROKERED_SECRET, Branches, CUSTODIAN_SECRET, Custodian, CustodyError, ROOT_SECRET, RootOfTrust,
    open_branch, open_custodian, seal_secrets,
};
use coffer_keys::hierarchy::CustodianRoot;
use coffer_runtime::{CallError, Check, within};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::ListParams};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::{
    apply::{MANAGED_BY, MANAGER, WriteError, Writer},
    cache::Key,
    context::rng,
    meters::Meters,
};

/// How soon a Secret that is gone, or back, is noticed. They are read by name; there is no right to watch Secrets.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Limit of each read.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// What this process knows of the custodian root.
#[derive(Clone)]
pub enum Custody {
    /// Not looked at yet.
    Unknown,
    /// Open.
    Open(Opened),
    /// Not to be had; the sentence says what to do.
    Unavailable(Arc<str>),
}

/// The custodian root, and which Secrets it came from. They are immutable, so their uids tell one root from another.
#[derive(Clone)]
pub struct Opened {
    /// The keys.
    pub custodian: Custodian,
    /// The uids of the three Secrets.
    secrets: [Option<String>; 3],
}

impl Opened {
    /// Keys that did not come from Secrets: for tests.
    #[cfg(test)]
    pub(crate) fn of(custodian: Custodian) -> Self {
        Self { custodian, secrets: [None, None, None] }
    }
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Open(_) => "Open",
            Self::Unavailable(_) => "Unavailable",
        })
    }
}

impl Custody {
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open(a), Self::Open(b)) => a.secrets == b.secrets,
            (Self::Unavailable(a), Self::Unavailable(b)) => a == b,
            (Self::Unknown, Self::Unknown) => true,
            (Self::Unknown | Self::Open(_) | Self::Unavailable(_), _) => false,
        }
    }
}

/// Which of the Secrets exist, and whether anything depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `coffer-root` exists.
    pub root: bool,
    /// `coffer-custodian` exists.
    pub custodian: bool,
    /// `coffer-brokered` exists.
    pub brokered: bool,
    /// At least one Keyring exists, anywhere.
    pub keyrings: bool,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All are there: open them.
    Open,
    /// Nothing depends on what is absent: make it, under the root of trust and beside the branch that are there.
    Make {
        /// Whether `coffer-root` is to be made.
        root: bool,
        /// Whether `coffer-brokered` is to be made. `coffer-custodian` always is: it is written last.
        brokered: bool,
    },
    /// Something depends on what is absent.
    Missing(Vec<&'static str>),
}

/// Decides what to do. A first start writes root, branch and custodian in this order, so each state that it may have
/// been interrupted in is gone on from; any other is the rest of something that was, and is for people to judge.
pub fn plan(facts: Facts) -> Step {
    let named =
        [(ROOT_SECRET, facts.root), (CUSTODIAN_SECRET, facts.custodian), (BROKERED_SECRET, facts.brokered)];
    let absent: Vec<_> = named.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if absent.is_empty() {
        return Step::Open;
    }
    let interrupted = !facts.custodian && (facts.root || !facts.brokered);
    if facts.keyrings || !interrupted {
        return Step::Missing(absent);
    }
    Step::Make { root: !facts.root, brokered: !facts.brokered }
}

/// Why custody could not be looked at or made; tried again.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A Secret or the list of Keyrings could not be read.
    #[error("read {0}")]
    Read(&'static str, #[source] CallError),
    /// A Secret could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was just made does not wrap: a defect.
    #[error("wrap the new keys")]
    Seal(#[source] CustodyError),
}

/// Keeper of the custodian root.
pub struct Keeper {
    namespace: String,
    client: Client,
    writer: Writer,
    custody: watch::Sender<Custody>,
    check: Check,
    meters: Meters,
}

impl Keeper {
    /// For the installation in `namespace`; `check` is met while the root is open.
    pub fn new(
        namespace: &str,
        client: Client,
        writer: Writer,
        custody: watch::Sender<Custody>,
        check: Check,
        meters: Meters,
    ) -> Self {
        Self { namespace: String::from(namespace), client, writer, custody, check, meters }
    }

    /// Works until it is dropped.
    pub async fn run(&self) {
        loop {
            match self.look().await {
                Ok(found) => self.publish(found),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the custodian root could not be looked at; trying again");
                }
            }
            tokio::time::sleep(if self.is_open() { LOOK_EVERY } else { Duration::from_secs(1) }).await;
        }
    }

    fn is_open(&self) -> bool {
        matches!(*self.custody.borrow(), Custody::Open(_))
    }

    /// Looks once, and makes what a first start makes.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn look(&self) -> Result<Custody, LookError> {
        let root = self.read(ROOT_SECRET).await?;
        let custodian = self.read(CUSTODIAN_SECRET).await?;
        let brokered = self.read(BROKERED_SECRET).await?;
        let complete = root.is_some() && custodian.is_some() && brokered.is_some();
        let facts = Facts {
            root: root.is_some(),
            custodian: custodian.is_some(),
            brokered: brokered.is_some(),
            keyrings: !complete && self.keyrings_exist().await?,
        };
        match plan(facts) {
            Step::Open => Ok(open([root, custodian, brokered])),
            Step::Make { .. } => self.make(root, brokered).await,
            Step::Missing(absent) => Ok(Custody::Unavailable(missing(&absent, &self.namespace).into())),
        }
    }

    /// Makes what is absent; the custodian root is written last, as the mark that all was made.
    async fn make(&self, root: Option<Secret>, brokered: Option<Secret>) -> Result<Custody, LookError> {
        let (trust, custodian) = match generate(root.as_ref(), brokered.as_ref()) {
            Ok(made) => made,
            Err(error) => return Ok(unusable(&error)),
        };
        let sealed = seal_secrets(&custodian, &trust, &mut rng()).map_err(LookError::Seal)?;
        if root.is_none() {
            let keys = trust.local_secret();
            self.write(ROOT_SECRET, keys.iter().map(|(name, key)| (*name, key.expose()))).await?;
        }
        if brokered.is_none() {
            self.write(BROKERED_SECRET, slices(&sealed.brokered)).await?;
        }
        self.write(CUSTODIAN_SECRET, slices(&sealed.custodian)).await?;
        tracing::info!(
            root = "local",
            "custodian root made; keep a copy of Secret coffer-root apart from the cluster"
        );
        // Read back rather than trusted: what is used is what is stored.
        let (root, custodian) = (self.read(ROOT_SECRET).await?, self.read(CUSTODIAN_SECRET).await?);
        Ok(open([root, custodian, self.read(BROKERED_SECRET).await?]))
    }

    async fn read(&self, name: &'static str) -> Result<Option<Secret>, LookError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        within(READ_TIMEOUT, secrets.get_opt(name)).await.map_err(|error| LookError::Read(name, error))
    }

    /// Asks the API server, not a cache: the answer decides whether a root is made.
    async fn keyrings_exist(&self) -> Result<bool, LookError> {
        let keyrings: Api<Keyring> = Api::all(self.client.clone());
        let first = within(READ_TIMEOUT, keyrings.list_metadata(&ListParams::default().limit(1))).await;
        first.map(|list| !list.items.is_empty()).map_err(|error| LookError::Read("Keyrings", error))
    }

    async fn write<'a>(
        &self,
        name: &str,
        data: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(), WriteError> {
        let data: Map<String, Value> =
            data.map(|(key, bytes)| (String::from(key), json!(ByteString(bytes.to_vec())))).collect();
        let fields = json!({
            "metadata": {"labels": {MANAGED_BY: MANAGER, "app.kubernetes.io/part-of": "coffer"}},
            "type": "Opaque",
            "immutable": true,
            "data": data,
        });
        self.writer.apply::<Secret>(&Key::new(&self.namespace, name), fields, false).await.map(drop)
    }

    fn publish(&self, found: Custody) {
        match &found {
            Custody::Open(_) => {
                self.check.ready();
                self.meters.custodian_available(true);
            }
            Custody::Unavailable(why) => {
                self.check.not_ready(why.as_ref());
                self.meters.custodian_available(false);
            }
            Custody::Unknown => {}
        }
        self.custody.send_if_modified(|known| {
            let same = known.is_as(&found);
            *known = found;
            !same
        });
    }
}

/// New keys under the root of trust that is there, or a new one, and with the branch that is there, or a new one.
fn generate(
    root: Option<&Secret>,
    brokered: Option<&Secret>,
) -> Result<(RootOfTrust, Custodian), CustodyError> {
    let trust = match root {
        Some(secret) => RootOfTrust::from_local_secret(entries(secret))?,
        None => RootOfTrust::generate_local(&mut rng()),
    };
    let branches = match brokered {
        Some(secret) => open_branch(&trust, entries(secret))?,
        None => Branches::generate(&mut rng()),
    };
    Ok((trust, Custodian::new([CustodianRoot::generate(1, &mut rng())], branches)))
}

fn open(secrets: [Option<Secret>; 3]) -> Custody {
    let [root, custodian, brokered] = &secrets;
    let opened = RootOfTrust::from_local_secret(root.iter().flat_map(entries)).and_then(|trust| {
        open_custodian(&trust, custodian.iter().flat_map(entries), brokered.iter().flat_map(entries))
    });
    match opened {
        Ok(custodian) => {
            let secrets = secrets.map(|secret| secret.and_then(|secret| secret.metadata.uid));
            Custody::Open(Opened { custodian, secrets })
        }
        Err(error) => unusable(&error),
    }
}

fn unusable(error: &CustodyError) -> Custody {
    let advice = "restore it from a backup; nothing is replaced by itself";
    Custody::Unavailable(format!("the custodian root does not open: {error}; {advice}").into())
}

fn slices(data: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (&str, &[u8])> {
    data.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
}

fn entries(secret: &Secret) -> impl Iterator<Item = (&str, &[u8])> {
    secret.data.iter().flatten().map(|(name, ByteString(bytes))| (name.as_str(), bytes.as_slice()))
}

fn missing(absent: &[&str], namespace: &str) -> String {
    format!(
        "Secret {} is gone from namespace {namespace} while Keyrings or other keys depend on it; \
         restore it from a backup, nothing is replaced by itself",
        absent.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Facts = Facts { root: false, custodian: false, brokered: false, keyrings: false };
    const ALL: Facts = Facts { root: true, custodian: true, brokered: true, keyrings: true };

    #[test]
    fn a_first_start_makes_everything_and_one_that_ended_after_the_root_goes_on_with_it() {
        assert_eq!(plan(FIRST), Step::Make { root: true, brokered: true });
        assert_eq!(plan(Facts { root: true, ..FIRST }), Step::Make { root: false, brokered: true });
        assert_eq!(
            plan(Facts { root: true, brokered: true, ..FIRST }),
            Step::Make { root: false, brokered: false }
        );
    }

    #[test]
    fn what_is_there_is_opened() {
        assert_eq!(plan(ALL), Step::Open);
        assert_eq!(plan(Facts { keyrings: false, ..ALL }), Step::Open);
    }

    #[test]
    fn nothing_is_ever_made_while_a_keyring_exists() {
        for bits in 0..7u8 {
            let facts = Facts {
                root: bits & 1 != 0,
                custodian: bits & 2 != 0,
                brokered: bits & 4 != 0,
                keyrings: true,
            };
            assert!(matches!(plan(facts), Step::Missing(absent) if !absent.is_empty()), "{facts:?}");
        }
    }

    #[test]
    fn a_custodian_root_is_never_made_beside_one_that_exists() {
        let step = plan(Facts { custodian: true, ..FIRST });
        assert_eq!(step, Step::Missing(vec![ROOT_SECRET, BROKERED_SECRET]));
        let step = plan(Facts { brokered: true, ..FIRST });
        assert_eq!(
            step,
            Step::Missing(vec![ROOT_SECRET, CUSTODIAN_SECRET]),
            "its branch opens with the lost root only"
        );
    }
}
