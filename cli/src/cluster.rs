//! How the API server is reached, and what is read from it and written to it.

use std::{fmt::Debug, time::Duration};

use coffer_policy::Caller;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use kube::{
    Api, Client, Config, Resource,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
    },
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Failure, command::Options};

/// A person waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// One cluster, as one user.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace that is meant when none is named.
    pub(crate) namespace: String,
    /// The API server's address: what tells one cluster from another on this machine.
    pub(crate) server: String,
    /// Whether writes are only judged.
    pub(crate) dry_run: bool,
}

/// How often a write is tried again whose object only got another status meanwhile.
const ATTEMPTS: usize = 5;

/// How many objects are read at once.
const PAGE: u32 = 500;

/// How managedFields name this program.
const FIELD_MANAGER: &str = "kubectl-coffer";

/// What can be read and written here: a kind of a namespace.
pub(crate) trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
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
        let server = config.cluster_url.to_string();
        Ok(Self { client: Client::try_from(config)?, namespace, server, dry_run: options.dry_run })
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One object.
    pub(crate) async fn get<K: Kind>(&self, name: &str) -> Result<K, Failure> {
        within(async { Ok(self.api().get(name).await?) }).await
    }

    /// One object, if there is one of that name.
    pub(crate) async fn find<K: Kind>(&self, name: &str) -> Result<Option<K>, Failure> {
        within(async { Ok(self.api().get_opt(name).await?) }).await
    }

    /// All objects of the namespace that can be read. Malformed ones concern only those who ask for them by name.
    pub(crate) async fn all<K: Kind>(&self) -> Result<Vec<K>, Failure> {
        Ok(self.list::<K>(false).await?.into_iter().filter_map(|listed| listed.parsed.ok()).collect())
    }

    /// Makes an object.
    pub(crate) async fn create<K: Kind>(&self, object: Value) -> Result<K, Failure> {
        let object: K = serde_json::from_value(object).map_err(|error| Failure::Usage(error.to_string()))?;
        self.make(&object).await
    }

    /// Makes an object as it is.
    pub(crate) async fn make<K: Kind>(&self, object: &K) -> Result<K, Failure> {
        let how = PostParams { dry_run: self.dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        within(async { Ok(self.api().create(&how, object).await?) }).await
    }

    /// Changes an object by a merge patch (RFC 7396). One that names a resourceVersion is refused when somebody else
    /// was faster.
    pub(crate) async fn patch<K: Kind>(&self, name: &str, patch: &Value) -> Result<K, Failure> {
        let how = PatchParams {
            dry_run: self.dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        within(async { Ok(self.api().patch(name, &how, &Patch::Merge(patch)).await?) }).await
    }

    /// Changes the spec of an object as it was read. The operator may write the status meanwhile; if somebody else
    /// changed the spec, nothing is done.
    pub(crate) async fn change<K: Kind>(&self, before: &K, spec: &Value) -> Result<K, Failure> {
        self.change_with(before, &json!({"spec": spec})).await
    }

    /// The same with a merge patch of the whole object.
    pub(crate) async fn change_with<K: Kind>(&self, before: &K, patch: &Value) -> Result<K, Failure> {
        let name = before.meta().name.clone().unwrap_or_default();
        let mut version = before.meta().resource_version.clone();
        for _ in 0..ATTEMPTS {
            let mut patch = patch.clone();
            patch["metadata"]["resourceVersion"] = json!(version);
            match self.patch(&name, &patch).await {
                Err(Failure::Conflict(said)) => {
                    let now: K = self.get(&name).await?;
                    if now.meta().resource_version == version {
                        return Err(Failure::Conflict(said));
                    }
                    if now.meta().generation != before.meta().generation
                        || now.meta().uid != before.meta().uid
                    {
                        break;
                    }
                    version.clone_from(&now.meta().resource_version);
                }
                done => return done,
            }
        }
        let kind = K::kind(&()).to_lowercase();
        Err(Failure::Conflict(format!(
            "{kind} '{name}' was changed by somebody else meanwhile, and nothing is done: look at it and try again"
        )))
    }

    /// Deletes an object, and no other that has taken its name since.
    pub(crate) async fn delete<K: Kind>(&self, object: &K) -> Result<(), Failure> {
        let how = DeleteParams {
            dry_run: self.dry_run,
            preconditions: Some(Preconditions { uid: object.meta().uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let name = object.meta().name.clone().unwrap_or_default();
        within(async { Ok(self.api::<K>().delete(&name, &how).await.map(drop)?) }).await
    }

    /// Whom the API server takes the caller for.
    pub(crate) async fn user(&self) -> Result<UserInfo, Failure> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review =
            within(async { Ok(api.create(&PostParams::default(), &SelfSubjectReview::default()).await?) })
                .await?;
        Ok(review.status.and_then(|status| status.user_info).unwrap_or_default())
    }

    /// The same as decisions take it.
    pub(crate) async fn caller(&self) -> Result<Caller, Failure> {
        let user = self.user().await?;
        Ok(Caller {
            username: user.username.unwrap_or_default(),
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
        })
    }

    /// The same cluster, looking at another namespace.
    pub(crate) fn at(&self, namespace: &str) -> Self {
        Self {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            server: self.server.clone(),
            dry_run: self.dry_run,
        }
    }

    /// The same cluster, for writes that are only judged.
    pub(crate) fn judged(&self) -> Self {
        Self { dry_run: true, ..self.at(&self.namespace) }
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
        let mut objects = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = within(async { Ok(api.list(&page).await?) }).await?;
            objects.extend(listed.items.into_iter().map(|raw| read(raw, &kind)));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(objects),
            }
        }
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
