//! What a team has: a vault, members and credentials in a test's namespace, written as people write them.

use crate::kubectl::Kubectl;
use crate::namespace::Namespace;
use crate::wait;
use anyhow::{Context, Result};
use coffer_crds::{Connection, MemberPhase, Vault, VaultMember, annotations, conditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

/// The label that opts a namespace's pods in.
pub const INJECTED: (&str, &str) = (annotations::INJECTION, annotations::INJECTION_ENABLED);

/// A vault in a namespace.
#[derive(Clone, Copy)]
pub struct Team<'a> {
    namespace: &'a Namespace,
    vault: &'a str,
}

impl<'a> Team<'a> {
    /// Make the vault `team` and wait until it is ready.
    ///
    /// # Errors
    /// If it is refused or not ready in time.
    pub async fn make(namespace: &'a Namespace) -> Result<Self> {
        Self::with_spec(namespace, "team", json!({})).await
    }

    /// Make a vault of this spec and wait until it is ready.
    ///
    /// # Errors
    /// If it is refused or not ready in time.
    pub async fn with_spec(namespace: &'a Namespace, vault: &'a str, spec: Value) -> Result<Self> {
        let manifest = object("Vault", vault, spec);
        namespace.kubectl().apply(&manifest.to_string()).await?;
        wait::object(&namespace.api::<Vault>(), vault, "vault ready", wait::SOON, |found: Option<&Vault>| {
            found.is_some_and(|found| {
                let status = found.status.as_ref();
                status.is_some_and(|status| ready(&status.conditions, found.metadata.generation))
            })
        })
        .await?;
        Ok(Self { namespace, vault })
    }

    /// The vault `team` that is there already.
    #[must_use]
    pub fn existing(namespace: &'a Namespace) -> Self {
        Self { namespace, vault: "team" }
    }

    /// Make a ServiceAccount and make it a member; waits until it is Active.
    ///
    /// # Errors
    /// If that is refused or takes too long.
    pub async fn workload(&self, name: &str) -> Result<()> {
        self.namespace.service_account(name).await?;
        self.invite(name, "member", json!({"serviceAccount": {"name": name}})).await?;
        self.active(name).await
    }

    /// Make a person a member who has accepted; kubectl as that person, with the cluster's role `edit` here.
    ///
    /// # Errors
    /// If that is refused or takes too long.
    pub async fn person(&self, name: &str, role: &str) -> Result<Kubectl> {
        let edit = ["create", "rolebinding", name, "--clusterrole=edit", "--user"];
        self.namespace.kubectl().run(edit).arg(name).ok().await?;
        self.invite(name, role, json!({"user": {"name": name}})).await?;
        let person = self.namespace.member(name, &[]).await?;
        let accept = r#"{"spec":{"acceptance":{}}}"#;
        person.run(["patch", "vaultmember", name, "--type", "merge", "-p", accept]).ok().await?;
        self.active(name).await?;
        Ok(person)
    }

    /// Make a VaultMember, without waiting.
    ///
    /// # Errors
    /// If it is refused, with kubectl's words.
    pub async fn invite(&self, name: &str, role: &str, subject: Value) -> Result<String> {
        let spec = json!({"vault": self.vault, "role": role, "subject": subject});
        self.namespace.kubectl().apply(&object("VaultMember", name, spec).to_string()).await
    }

    /// Wait until a member is Active.
    ///
    /// # Errors
    /// If it takes too long.
    pub async fn active(&self, name: &str) -> Result<()> {
        let members = self.namespace.api::<VaultMember>();
        wait::object(&members, name, "member active", wait::SOON, |found: Option<&VaultMember>| {
            found.and_then(|found| found.status.as_ref()?.phase) == Some(MemberPhase::Active)
        })
        .await
        .map(drop)
    }

    /// Apply a Connection with these items and wait until it is ready.
    ///
    /// # Errors
    /// If it is refused or takes too long.
    pub async fn connection(
        &self,
        name: &str,
        members: &[&str],
        items: &[(&str, &str)],
    ) -> Result<Connection> {
        self.namespace.kubectl().apply(&self.manifest(name, members, items).to_string()).await?;
        self.ready(name).await
    }

    /// What a person writes for a Connection.
    #[must_use]
    pub fn manifest(&self, name: &str, members: &[&str], items: &[(&str, &str)]) -> Value {
        let items: serde_json::Map<_, _> =
            items.iter().map(|(key, value)| ((*key).into(), json!(value))).collect();
        object(
            "Connection",
            name,
            json!({"vault": {"name": self.vault}, "members": members, "stringData": items}),
        )
    }

    /// Wait until a Connection is ready as it was last written.
    ///
    /// # Errors
    /// If it takes too long.
    pub async fn ready(&self, name: &str) -> Result<Connection> {
        let connections = self.namespace.api::<Connection>();
        wait::object(&connections, name, "connection ready", wait::SOON, |found: Option<&Connection>| {
            found.is_some_and(is_ready)
        })
        .await
    }

    /// The version of a Connection's values, once it is ready.
    ///
    /// # Errors
    /// If it takes too long or has none.
    pub async fn version(&self, name: &str) -> Result<i64> {
        let status = self.ready(name).await?.status;
        status
            .and_then(|status| status.version)
            .with_context(|| format!("Connection '{name}' has no version"))
    }
}

/// A pod's changes: under this ServiceAccount, with these Connections asked for.
#[must_use]
pub fn asking(service_account: &str, connections: &str) -> Value {
    json!({
        "metadata": {"annotations": {annotations::CONNECTIONS: connections}},
        "spec": {"serviceAccountName": service_account},
    })
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Whether a Connection is ready as it was last written.
#[must_use]
pub fn is_ready(connection: &Connection) -> bool {
    let status = connection.status.as_ref();
    status.is_some_and(|status| ready(&status.conditions, connection.metadata.generation))
}

fn ready(conditions: &[Condition], generation: Option<i64>) -> bool {
    conditions.iter().any(|condition| {
        condition.type_ == conditions::READY
            && condition.status == "True"
            && (condition.observed_generation.is_none() || condition.observed_generation >= generation)
    })
}
