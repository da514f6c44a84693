//! Keeps certificates and trust as [`super::certificates`] plans them.

use std::{sync::Arc, time::Duration};

use coffer_runtime::{CallError, within};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    jiff::Timestamp,
};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{
    bundles::Configurations,
    certificates::{
        AuthorityFacts, IssueError, Issued, Plan, Server, ServingFacts, bundle_pem, issue_authority,
        issue_serving, plan, read_authority, read_serving,
    },
    data,
};
use crate::{
    apply::{MANAGED_BY, MANAGER, WriteError, Writer},
    cache::Key,
    meters::Meters,
    report::until,
};

/// Secret with the authority's key pair and ConfigMap with the bundle.
const AUTHORITY: &str = "coffer-ca";

/// Nothing is left alone for longer than that, so that a Secret that somebody deleted comes back.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Limit of each read.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a round did not get to its end; the next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// What is there could not be read.
    #[error("read {what}")]
    Read {
        /// Kind and name.
        what: &'static str,
        /// The cause.
        source: CallError,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// Something could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Keeper of the certificates of one installation.
pub struct Serving {
    namespace: String,
    client: Client,
    writer: Writer,
    configurations: Arc<Configurations>,
    meters: Meters,
}

/// What lies in the cluster.
struct Found {
    authority: Option<(Secret, AuthorityFacts)>,
    servers: Vec<(Server, Option<ServingFacts>)>,
    published: Option<String>,
}

impl Serving {
    /// For the installation in `namespace`.
    pub fn new(
        namespace: &str,
        client: Client,
        writer: Writer,
        configurations: Arc<Configurations>,
        meters: Meters,
    ) -> Self {
        Self { namespace: String::from(namespace), client, writer, configurations, meters }
    }

    /// Works until it is dropped: round after round, when something is due, when a webhook configuration changed, or
    /// after half a minute.
    pub async fn run(&self) {
        loop {
            let wait = match self.round(Timestamp::now()).await {
                Ok(next) => until(next, Timestamp::now()).min(LOOK_AT_LEAST_EVERY),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "certificates are not complete yet; trying again");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.configurations.changed() => {}
            }
        }
    }

    /// One round. Trust is spread before a certificate is made that needs it.
    ///
    /// # Errors
    /// [`ServingError`]; what was written before it stands.
    pub async fn round(&self, now: Timestamp) -> Result<Timestamp, ServingError> {
        let found = self.fetch().await?;
        let plan = plan(found.authority.as_ref().map(|(_, facts)| facts), &found.servers, now);
        let (authority, bundle) = self.authority(&found, &plan, now).await?;
        if found.published.as_deref() != Some(bundle.as_str()) {
            self.apply_config_map(&bundle).await?;
        }
        // A webhook configuration may be refused for reasons of its own; the certificates do not wait for it.
        let trusted = self.configurations.trust(&self.writer, &bundle).await;
        for server in &plan.issue {
            let issued = issue_serving(server, &authority, now)?;
            self.apply_secret(server.secret, &issued, &bundle).await?;
            tracing::info!(secret = server.secret, "serving certificate issued");
        }
        trusted?;
        let ends = found.servers.iter().filter_map(|(_, facts)| facts.as_ref()).map(|facts| facts.not_after);
        if let Some(first) = ends.min().filter(|_| plan.issue.is_empty()) {
            self.meters.certificates_end(first.as_second());
        }
        Ok(plan.next)
    }

    /// The authority that signs from now on, and the bundle.
    async fn authority(
        &self,
        found: &Found,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<(Issued, String), ServingError> {
        if let Some((secret, _)) = found.authority.as_ref().filter(|_| !plan.new_authority) {
            let text = |key| String::from_utf8_lossy(data(secret, key).unwrap_or_default()).into_owned();
            return Ok((
                Issued { certificate: text("tls.crt"), key: text("tls.key") },
                bundle_pem(None, &plan.bundle),
            ));
        }
        let issued = issue_authority(now)?;
        let bundle = bundle_pem(Some(&issued.certificate), &plan.bundle);
        self.apply_secret(AUTHORITY, &issued, &bundle).await?;
        tracing::info!("new authority for serving certificates");
        Ok((issued, bundle))
    }

    async fn fetch(&self) -> Result<Found, ServingError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = |name: &'static str| {
            let secrets = &secrets;
            async move {
                let read = within(READ_TIMEOUT, secrets.get_opt(name)).await;
                read.map_err(|source| ServingError::Read { what: name, source })
            }
        };
        let mut servers = Vec::new();
        for server in Server::all(&self.namespace) {
            let facts = secret(server.secret)
                .await?
                .and_then(|secret| read_serving(data(&secret, "tls.crt")?, data(&secret, "tls.key")?));
            servers.push((server, facts));
        }
        let authority = secret(AUTHORITY).await?.and_then(|secret| {
            let bundle = data(&secret, "ca.crt").unwrap_or_default();
            let facts = read_authority(data(&secret, "tls.crt")?, data(&secret, "tls.key")?, bundle)?;
            Some((secret, facts))
        });
        let published = within(READ_TIMEOUT, config_maps.get_opt(AUTHORITY))
            .await
            .map_err(|source| ServingError::Read { what: "ConfigMap coffer-ca", source })?
            .and_then(|map| map.data?.remove("ca.crt"));
        Ok(Found { authority, servers, published })
    }

    async fn apply_secret(&self, name: &str, issued: &Issued, bundle: &str) -> Result<(), WriteError> {
        let encode = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
        let fields = json!({
            "metadata": {"labels": labels()},
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": encode(&issued.certificate), "tls.key": encode(&issued.key), "ca.crt": encode(bundle)},
        });
        self.writer.apply::<Secret>(&Key::new(&self.namespace, name), fields, true).await.map(drop)
    }

    async fn apply_config_map(&self, bundle: &str) -> Result<(), WriteError> {
        let fields = json!({"metadata": {"labels": labels()}, "data": {"ca.crt": bundle}});
        self.writer.apply::<ConfigMap>(&Key::new(&self.namespace, AUTHORITY), fields, true).await.map(drop)
    }
}

fn labels() -> Value {
    json!({MANAGED_BY: MANAGER, "app.kubernetes.io/part-of": "coffer"})
}
