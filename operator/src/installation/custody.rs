//! The custodian root of this installation: made at the first start, then never replaced by itself.
//!
//! Whatever is gone while anything depends on it is missing, and said to be missing; nothing is made in its place. Two of
//! the three Secrets are immutable, so that even a mistake here could not overwrite one. The third gains a root when a
//! newer generation is asked for (`growth`); the policy `coffer-custodian-root` lets the operator only add to it.

mod growth;
mod secrets;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coffer_crds::Keyring;
use coffer_envelope::custody::{
    BROKERED_SECRET, CUSTODIAN_SECRET, Custodian, CustodyError, ROOT_SECRET, RootOfTrust, seal_new_root,
    seal_secrets,
};
use coffer_runtime::{CallError, Check, within};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, api::ListParams, core::DeserializeGuard};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    apply::{WriteError, Writer},
    cache::Key,
    context::rng,
    meters::Meters,
};
use growth::{Growth, growth};
use secrets::{entries, fields, generate, missing, open, slices, unusable};

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

/// uid and resourceVersion of each of the three Secrets: what tells one custodian root from another.
pub type Sources = [(Option<String>, Option<String>); 3];

/// The custodian root, and which Secrets it came from.
#[derive(Clone)]
pub struct Opened {
    /// The keys.
    pub custodian: Custodian,
    sources: Arc<Sources>,
}

impl Opened {
    /// Which Secrets, in which state, the keys are from.
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// Keys that did not come from Secrets: for tests.
    #[cfg(test)]
    pub(crate) fn of(custodian: Custodian) -> Self {
        Self { custodian, sources: Arc::default() }
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
            (Self::Open(a), Self::Open(b)) => a.sources == b.sources,
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
    root_generation: u32,
    client: Client,
    writer: Writer,
    custody: watch::Sender<Custody>,
    check: Check,
    meters: Meters,
    /// What was last said of the generations.
    told: Mutex<Growth>,
}

impl Keeper {
    /// For the installation in `namespace`, which is to have this generation of the root; `check` is met while the root is
    /// open.
    pub fn new(
        namespace: &str,
        root_generation: u32,
        client: Client,
        writer: Writer,
        custody: watch::Sender<Custody>,
        check: Check,
        meters: Meters,
    ) -> Self {
        let (namespace, told) = (String::from(namespace), Mutex::new(Growth::Settled));
        Self { namespace, root_generation, client, writer, custody, check, meters, told }
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

    /// Looks once, and makes what a first start makes, or a generation that is asked for.
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
            Step::Open => self.opened([root, custodian, brokered]).await,
            Step::Make { .. } => self.make(root, brokered).await,
            Step::Missing(absent) => Ok(Custody::Unavailable(missing(&absent, &self.namespace).into())),
        }
    }

    /// Opens what is there, with one generation more if that is asked for.
    async fn opened(&self, secrets: [Option<Secret>; 3]) -> Result<Custody, LookError> {
        let found = open(&secrets);
        let (Custody::Open(opened), [Some(root), Some(custodian), brokered]) = (&found, &secrets) else {
            return Ok(found);
        };
        let (asked, newest) = (u64::from(self.root_generation), opened.custodian.newest_root());
        let in_use = if asked > newest { self.newest_in_use().await? } else { newest };
        let growth = growth(asked, newest, in_use, custodian.immutable == Some(true));
        self.tell(growth);
        let Growth::Make(generation) = growth else { return Ok(found) };
        if let Err(error) = self.add_root(generation, root, custodian).await {
            // What is there goes on meanwhile.
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, generation, "the custodian root could not be turned over; trying again");
            return Ok(found);
        }
        tracing::info!(
            generation,
            "a new generation of the custodian root is made; keep a new copy of Secret coffer-custodian"
        );
        // Read back rather than trusted.
        let custodian = self.read(CUSTODIAN_SECRET).await?;
        Ok(open(&[Some(root.clone()), custodian, brokered.clone()]))
    }

    /// Adds a root to the Secret, in the very state that was read. Those that are there stay byte for byte.
    async fn add_root(&self, generation: u64, root: &Secret, custodian: &Secret) -> Result<(), LookError> {
        let trust = RootOfTrust::from_local_secret(entries(root)).map_err(LookError::Seal)?;
        let (name, sealed) = seal_new_root(generation, &trust, &mut rng()).map_err(LookError::Seal)?;
        let data = entries(custodian).chain([(name.as_str(), sealed.as_slice())]);
        let mut fields = fields(CUSTODIAN_SECRET, data);
        fields["metadata"]["uid"] = json!(custodian.uid());
        fields["metadata"]["resourceVersion"] = json!(custodian.resource_version());
        let key = Key::new(&self.namespace, CUSTODIAN_SECRET);
        self.writer.apply::<Secret>(&key, fields, false).await?;
        Ok(())
    }

    /// The newest generation that a Keyring is wrapped under, as the API server has them now.
    async fn newest_in_use(&self) -> Result<u64, LookError> {
        const PAGE: u32 = 500;
        let keyrings: Api<DeserializeGuard<Keyring>> = Api::all(self.client.clone());
        let (mut params, mut newest) = (ListParams::default().limit(PAGE), 0);
        loop {
            let page = within(READ_TIMEOUT, keyrings.list(&params)).await;
            let page = page.map_err(|error| LookError::Read("Keyrings", error))?;
            let read = page.items.iter().filter_map(|found| found.0.as_ref().ok());
            let roots = read.filter_map(|keyring| u64::try_from(keyring.spec.root_generation).ok());
            newest = roots.max().unwrap_or(0).max(newest);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(newest),
            }
        }
    }

    /// Logs how the generations stand, when that is news.
    fn tell(&self, growth: Growth) {
        let before =
            std::mem::replace(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner), growth);
        if before != growth {
            growth.log();
        }
    }

    /// Makes what is absent; the custodian root is written last, as the mark that all was made.
    async fn make(&self, root: Option<Secret>, brokered: Option<Secret>) -> Result<Custody, LookError> {
        let first = u64::from(self.root_generation);
        let (trust, custodian) = match generate(first, root.as_ref(), brokered.as_ref()) {
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
        Ok(open(&[root, custodian, self.read(BROKERED_SECRET).await?]))
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
        let key = Key::new(&self.namespace, name);
        self.writer.apply::<Secret>(&key, fields(name, data), false).await.map(drop)
    }

    fn publish(&self, found: Custody) {
        match &found {
            Custody::Open(opened) => {
                self.check.ready();
                self.meters.custodian_available(true);
                self.meters.newest_root(opened.custodian.newest_root());
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
