//! How the API server is reached, and lists of Coffer's kinds from it.

use std::time::Duration;

use kube::{
    Api, Client, Config, Resource,
    api::{ApiResource, DynamicObject, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

use crate::{Failure, command::Options};

/// A person waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// One cluster, as one user.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace that is meant when none is named.
    pub(crate) namespace: String,
}

/// One object as the server gave it, and what it means; `Err` names an object that this version cannot read.
pub(crate) struct Listed<K> {
    pub(crate) raw: DynamicObject,
    pub(crate) parsed: Result<K, String>,
}

impl Cluster {
    /// By flags, KUBECONFIG, `~/.kube/config`, or the pod's own ServiceAccount.
    pub(crate) async fn connect(options: &Options) -> Result<Self, Failure> {
        let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match &options.kubeconfig {
            Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &chosen).await?,
            None if options.context.is_some() => Config::from_kubeconfig(&chosen).await?,
            None => Config::infer().await.map_err(|error| Failure::Usage(error.to_string()))?,
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(PATIENCE);
        // Repeating would hide from the user what is wrong.
        config.default_retry = false;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config)?, namespace })
    }

    /// All objects of a kind, in one namespace or in all.
    pub(crate) async fn list<K>(&self, everywhere: bool) -> Result<Vec<Listed<K>>, Failure>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let kind = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = if everywhere {
            Api::all_with(self.client.clone(), &kind)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
        };
        let objects = within(async { Ok(api.list(&ListParams::default()).await?) }).await?;
        Ok(objects.items.into_iter().map(|raw| read(raw, &kind)).collect())
    }
}

/// Waits for an answer as long as a person does.
pub(crate) async fn within<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn read<K: DeserializeOwned>(mut raw: DynamicObject, kind: &ApiResource) -> Listed<K> {
    // Lists carry no types of their own, and nobody reads managed fields here.
    raw.types = Some(kube::core::TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
    raw.metadata.managed_fields = None;
    let parsed = serde_json::to_value(&raw).and_then(serde_json::from_value).map_err(|error| {
        let name = raw.metadata.name.as_deref().unwrap_or_default();
        format!("{} {name} cannot be read: {error}", kind.kind)
    });
    Listed { raw, parsed }
}
