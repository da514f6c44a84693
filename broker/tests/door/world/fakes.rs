//! What stands in for the cluster around the broker: tokens, the API server past the watches, witnesses, a volume.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use coffer_broker::{
    audit::{Committed, FileSink, Opened, Sink},
    facts::{Fresh, Reread, RereadFailed, Wanted},
    identity::{BoundObject, ReviewUnavailable, TokenIdentity, TokenReviewer},
    last_used::{StatusWriter, Used},
    release::Witness,
};
use coffer_policy::Caller;
use coffer_runtime::Notice;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::DRIVER;

/// A pod with its ServiceAccount's token.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) username: String,
    pub(crate) account_uid: String,
    pub(crate) token: String,
}

/// Tokens that the fake API server accepts.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<BTreeMap<String, TokenIdentity>>,
    pub(crate) down: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

impl Tokens {
    /// A pod of ServiceAccount `account` in `team-a`, on node `n1`.
    pub(crate) fn pod(&self, account: &str) -> Pod {
        self.pod_in("team-a", account, "n1")
    }

    pub(crate) fn pod_in(&self, namespace: &str, account: &str, node: &str) -> Pod {
        let pod = Pod {
            namespace: namespace.into(),
            name: format!("{account}-0"),
            uid: format!("uid-of-{account}-0-in-{namespace}"),
            username: format!("system:serviceaccount:{namespace}:{account}"),
            account_uid: format!("sa-{account}"),
            token: format!("{namespace}.{account}.{node}"),
        };
        self.accept(&pod.token, identity(&pod, Some(node)));
        pod
    }

    /// The token of the driver on `node`.
    pub(crate) fn driver(&self, node: &str) -> String {
        let token = format!("driver.{node}.sig");
        let pod = Pod {
            namespace: "coffer-system".into(),
            name: format!("coffer-node-{node}"),
            uid: format!("uid-of-driver-{node}"),
            username: DRIVER.into(),
            account_uid: "sa-coffer-node".into(),
            token: token.clone(),
        };
        self.accept(&token, identity(&pod, Some(node)));
        token
    }

    pub(crate) fn accept(&self, token: &str, identity: TokenIdentity) {
        self.known.lock().unwrap().insert(token.into(), identity);
    }
}

pub(crate) fn identity(pod: &Pod, node: Option<&str>) -> TokenIdentity {
    let caller = Caller {
        username: pod.username.clone(),
        uid: Some(pod.account_uid.clone()),
        groups: vec!["system:serviceaccounts".into(), "system:authenticated".into()],
    };
    TokenIdentity {
        caller,
        pod: Some(BoundObject { name: pod.name.clone(), uid: pod.uid.clone() }),
        node: node.map(|node| BoundObject { name: node.into(), uid: format!("uid-of-{node}") }),
    }
}

/// A fake that a test keeps a hand on.
pub(super) struct Shared<T>(pub(super) Arc<T>);

impl TokenReviewer for Shared<Tokens> {
    fn review<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, ReviewUnavailable>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let answer = match self.0.down.load(Ordering::SeqCst) {
            true => Err(ReviewUnavailable),
            false => Ok(self.0.known.lock().unwrap().get(token).cloned()),
        };
        Box::pin(async move { answer })
    }
}

/// What the API server has, seen past the watches.
#[derive(Default)]
pub(crate) struct FakeReread {
    pub(crate) fresh: Mutex<Option<Fresh>>,
    /// What it has after each further look; the last of it from then on.
    pub(crate) later: Mutex<VecDeque<Fresh>>,
    pub(crate) asked: AtomicUsize,
}

impl Reread for Shared<FakeReread> {
    fn read<'a>(&'a self, _: &'a Wanted) -> BoxFuture<'a, Result<Fresh, RereadFailed>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let mut fresh = self.0.fresh.lock().unwrap();
        let shown = fresh.clone().ok_or(RereadFailed).map(|shown| Fresh {
            envelope: shown.envelope.map(versioned),
            keyring: shown.keyring.map(versioned),
            members: shown.members.into_iter().map(versioned).collect(),
        });
        if let Some(next) = self.0.later.lock().unwrap().pop_front() {
            *fresh = Some(next);
        }
        Box::pin(async move { shown })
    }
}

/// With a resourceVersion: the same for what is the same, and for nothing else.
pub(super) fn versioned<K: Resource + Serialize + Clone>(object: Arc<K>) -> Arc<K> {
    let mut object = Arc::unwrap_or_clone(object);
    object.meta_mut().resource_version = None;
    let digest = Sha256::digest(serde_json::to_vec(&object).unwrap());
    object.meta_mut().resource_version = Some(digest.iter().map(|byte| byte.to_string()).collect());
    Arc::new(object)
}

impl Witness for Shared<Mutex<Vec<(String, String)>>> {
    fn tell(&self, about: ObjectReference, notice: Notice) {
        self.0.lock().unwrap().push((about.name.unwrap(), notice.note));
    }
}

impl StatusWriter for Shared<Mutex<Vec<Used>>> {
    fn write<'a>(
        &'a self,
        used: &'a Used,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<(), coffer_runtime::CallError>> {
        self.0.lock().unwrap().push(used.clone());
        Box::pin(async { Ok(()) })
    }
}

/// An audit volume that can go away.
pub(super) struct Gated {
    pub(super) inner: FileSink,
    pub(super) gone: Arc<AtomicBool>,
}

impl Gated {
    fn gate(&self) -> io::Result<()> {
        if self.gone.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Sink for Gated {
    fn open(&mut self) -> io::Result<Opened> {
        self.gate()?;
        self.inner.open()
    }
    fn commit(&mut self, lines: &[u8], first_seq: u64) -> io::Result<Committed> {
        self.gate()?;
        self.inner.commit(lines, first_seq)
    }
}
