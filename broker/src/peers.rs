//! Which replicas of the broker there are, and which is to do what only one should do: rendezvous hashing over the ready
//! ones.
//!
//! The ready ones are those of the headless Service's EndpointSlices. A replica that sees them late takes something up
//! late or too early; what keeps two from doing it is the resourceVersion of the object that they would write.

use coffer_runtime::{Readiness, Shutdown, Store, StoreOptions, store};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, runtime::watcher};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// The Service that all replicas are behind.
const SERVICE: &str = "coffer-broker-peers";

/// Knows the replicas.
pub trait Peers: Send + Sync + 'static {
    /// How many come before this one for what has this uid. 0: this replica is the first.
    fn before_us(&self, uid: &str) -> usize;

    /// All that run, this one among them, ready or not: each has an audit log.
    fn all(&self) -> BTreeSet<String>;
}

/// The replicas that the cluster sees. Needs `list` and `watch` on EndpointSlices of its own namespace. Cheap to clone.
#[derive(Clone)]
pub struct ReadyReplicas {
    ourselves: String,
    slices: Store<EndpointSlice>,
}

impl ReadyReplicas {
    /// Watches in the background; `ourselves` is this pod's name.
    pub fn watch(
        client: &Client,
        namespace: &str,
        ourselves: &str,
        readiness: &Readiness,
        shutdown: &Shutdown,
    ) -> Self {
        let ours = watcher::Config::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
        let options = StoreOptions { watch: ours, ..StoreOptions::default() };
        let slices = store(Api::namespaced(client.clone(), namespace), options, readiness, shutdown);
        Self { ourselves: ourselves.to_owned(), slices }
    }
}

impl Peers for ReadyReplicas {
    fn before_us(&self, uid: &str) -> usize {
        let slices = self.slices.state();
        let ready: Vec<&str> = slices.iter().flat_map(|slice| ready(slice)).collect();
        before(&self.ourselves, &ready, uid)
    }

    fn all(&self) -> BTreeSet<String> {
        let slices = self.slices.state();
        let named = slices.iter().flat_map(|slice| named(slice)).map(str::to_owned);
        named.chain([self.ourselves.clone()]).collect()
    }
}

/// Names of all pods of a slice.
fn named(slice: &EndpointSlice) -> impl Iterator<Item = &str> {
    slice.endpoints.iter().filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref())
}

/// Names of the pods that a slice says are ready. What it does not say counts as ready, as the API has it.
fn ready(slice: &EndpointSlice) -> impl Iterator<Item = &str> {
    let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
    slice
        .endpoints
        .iter()
        .filter(move |endpoint| {
            is_ready(endpoint.conditions.as_ref().and_then(|conditions| conditions.ready))
        })
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref())
}

/// How many of the ready replicas come before `ourselves` for this uid. One that is not ready comes last.
fn before(ourselves: &str, ready: &[&str], uid: &str) -> usize {
    let others = ready.iter().filter(|replica| **replica != ourselves);
    if !ready.contains(&ourselves) {
        return others.count();
    }
    let own = weight(ourselves, uid);
    others.filter(|replica| weight(replica, uid) > own).count()
}

fn weight(replica: &str, uid: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(replica);
    hash.update([0]);
    hash.update(uid);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn only_ready_pods_count_and_what_is_not_said_is_ready() {
        let slice = json!({
            "metadata": {}, "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "b-0"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "b-1"}},
                {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod", "name": "b-2"}},
                {"addresses": ["10.0.0.4"]},
            ],
        });
        let slice: EndpointSlice = serde_json::from_value(slice).expect("a valid slice");
        assert_eq!(ready(&slice).collect::<Vec<_>>(), ["b-0", "b-2"]);
        assert_eq!(named(&slice).collect::<Vec<_>>(), ["b-0", "b-1", "b-2"]);
    }

    #[test]
    fn a_replica_that_is_not_ready_comes_after_all_that_are_and_one_alone_is_the_first() {
        assert_eq!(before("b-2", &["b-0", "b-1"], "u"), 2);
        assert_eq!(before("b-0", &[], "u"), 0);
        assert_eq!(before("b-0", &["b-0"], "u"), 0);
    }

    proptest! {
        /// Every uid has exactly one first replica, one second, and so on, and a replica that goes changes the first one
        /// of its own uids only.
        #[test]
        fn replicas_agree_on_one_order_and_keep_it_when_another_goes(uid in "[a-f0-9-]{1,36}", count in 1usize..6) {
            let names: Vec<String> = (0..count).map(|index| format!("coffer-broker-{index}")).collect();
            let ready: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut ranks: Vec<usize> = ready.iter().map(|replica| before(replica, &ready, &uid)).collect();
            let first = ranks.iter().position(|rank| *rank == 0);
            ranks.sort_unstable();
            prop_assert_eq!(ranks, (0..count).collect::<Vec<_>>());
            for gone in 0..count {
                let left: Vec<&str> = ready.iter().copied().filter(|replica| *replica != ready[gone]).collect();
                let now_first = left.iter().find(|replica| before(replica, &left, &uid) == 0);
                if first != Some(gone) {
                    prop_assert_eq!(now_first, first.map(|first| &ready[first]));
                }
            }
        }
    }
}
