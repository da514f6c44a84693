//! A namespace per test: made, lent to the test, dumped if it fails, deleted.

use crate::cluster::Cluster;
use crate::dump;
use crate::kubectl::Kubectl;
use crate::lock::Lock;
use crate::users::User;
use crate::wait;
use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{self as core, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a namespace with everything in it may take to go.
const DELETION: Duration = Duration::from_secs(90);

/// Held by every test: shared by most, alone by those that break what all share.
const TESTS: &str = "/run/lock/coffer-e2e-tests.lock";

/// A namespace of one test's own.
#[derive(Clone)]
pub struct Namespace {
    name: String,
    cluster: Cluster,
    client: Client,
}

impl Namespace {
    /// Run a test in a new namespace with these labels.
    ///
    /// When it fails, objects, events and logs are written to `target/e2e-dumps/` and summed up in the error.
    ///
    /// # Errors
    /// Those of the test, and of making the namespace.
    pub async fn lend(
        cluster: &Cluster,
        test: &str,
        labels: &[(&str, &str)],
        body: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let _with_others = Lock::share(Path::new(TESTS), "a test that has the cluster alone").await?;
        Self::during(cluster, test, labels, body).await
    }

    /// Run a test in a new namespace while no other test runs: one that breaks or exchanges what all share.
    ///
    /// It mends what it broke before it ends, also when it fails.
    ///
    /// # Errors
    /// As for [`Namespace::lend`].
    pub async fn lend_alone(
        cluster: &Cluster,
        test: &str,
        labels: &[(&str, &str)],
        body: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let _alone = Lock::acquire(Path::new(TESTS), "the other tests").await?;
        Self::during(cluster, test, labels, body).await
    }

    async fn during(
        cluster: &Cluster,
        test: &str,
        labels: &[(&str, &str)],
        body: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let namespace = Self::make(cluster, test, labels).await?;
        let result = match AssertUnwindSafe(body(&namespace)).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => Err(anyhow!("panicked: {}", panic_text(panic.as_ref()))),
        };
        let result = match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let told = dump::namespace(&namespace, test).await;
                Err(error.context(format!("in namespace {}\n{told}", namespace.name)))
            }
        };
        let deleted = namespace.delete().await;
        result.and(deleted)
    }

    async fn make(cluster: &Cluster, test: &str, labels: &[(&str, &str)]) -> Result<Self> {
        let client = cluster.client().await?;
        let name = format!("{test}-{}", suffix());
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let object: core::Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))
                .context("describe a namespace")?;
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("make namespace {name}"))?;
        let namespace = Self { name, cluster: cluster.clone(), client };
        // A pod made before it appears is refused.
        wait::object(
            &namespace.api::<ServiceAccount>(),
            "default",
            "to appear",
            wait::SOON,
            |found: Option<&ServiceAccount>| found.is_some(),
        )
        .await?;
        Ok(namespace)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is in.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A client with every right.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The objects of one kind in it.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// kubectl with every right, in this namespace.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        self.cluster.kubectl().namespaced(&self.name)
    }

    /// kubectl as a user who is only what RBAC and Coffer know of them.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn kubectl_as(&self, user: &str, groups: &[&str]) -> Result<Kubectl> {
        let user = User::new(&self.cluster, user, groups)?;
        Ok(self.kubectl().with_kubeconfig(user.kubeconfig()))
    }

    /// kubectl as a user whom a vault here has as a member, once RBAC lets them write Connections.
    ///
    /// # Errors
    /// If no certificate can be made, or the right is late.
    pub async fn member(&self, user: &str, groups: &[&str]) -> Result<Kubectl> {
        let kubectl = self.kubectl_as(user, groups)?;
        let what = format!("'{user}' to have a member's rights");
        wait::until(&what, wait::SOON, async || {
            let said = kubectl.run(["auth", "can-i", "create", "connections.coffer.dev"]).said().await?;
            Ok((said.out.trim() == "yes").then_some(()))
        })
        .await?;
        Ok(kubectl)
    }

    /// Make an object from JSON.
    ///
    /// # Errors
    /// If the API server refuses it, with its words.
    pub async fn create<K>(&self, object: Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).context("describe an object")?;
        Ok(self.api::<K>().create(&PostParams::default(), &object).await?)
    }

    /// Make a ServiceAccount.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn service_account(&self, name: &str) -> Result<ServiceAccount> {
        self.create(json!({"metadata": {"name": name}})).await
    }

    /// Start a pod with a shell that waits; `changes` is merged into its description.
    ///
    /// # Errors
    /// If it is refused, with the API server's words, or is not ready in time.
    pub async fn shell(&self, name: &str, changes: Value) -> Result<Pod> {
        self.create::<Pod>(shell_pod(name, changes)).await?;
        wait::pod_ready(&self.api(), name, wait::SOON).await
    }

    async fn delete(&self) -> Result<()> {
        if std::env::var_os("COFFER_E2E_KEEP").is_some() {
            return Ok(());
        }
        // Pods first and at once: a shell does not listen to SIGTERM and would be waited for.
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.api::<Pod>().delete_collection(&at_once, &ListParams::default()).await.context("delete pods")?;
        let namespaces: Api<core::Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.name, &DeleteParams::default())
            .await
            .with_context(|| format!("delete {}", self.name))?;
        wait::absent(&namespaces, &self.name, DELETION).await
    }
}

/// A pod with a shell that waits to be told something, as restricted Pod Security wants it.
#[must_use]
pub fn shell_pod(name: &str, changes: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "shell",
                "image": crate::images::SHELL,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "100000"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    merge(&mut pod, changes);
    pod
}

/// RFC 7396, JSON Merge Patch.
fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

/// Short, and not used before in this cluster.
fn suffix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mixed =
        nanos ^ (u128::from(std::process::id()) << 32) ^ u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{:08x}", (mixed as u32) ^ ((mixed >> 32) as u32))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "something that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_merged_into_the_pod_and_null_takes_away() {
        let pod = shell_pod(
            "a",
            json!({"spec": {"serviceAccountName": "web", "securityContext": {"fsGroup": null}}}),
        );
        assert_eq!(pod["spec"]["serviceAccountName"], "web");
        assert_eq!(pod["spec"]["securityContext"].get("fsGroup"), None);
        assert_eq!(pod["spec"]["securityContext"]["runAsUser"], 1000);
    }
}
