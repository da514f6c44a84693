//! The vault that the chart installs. Once it is there it is its owners': nothing here ever changes or deletes it.

use std::{future::Future, time::Duration};

use coffer_crds::Vault;
use coffer_runtime::{CallError, within};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use tokio::time::{Instant, sleep};

/// For how long one answer is waited for: the API server itself waits up to 30 s for a webhook.
const CALL: Duration = Duration::from_secs(35);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(2);

/// Why a vault was not made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Its namespace cannot be looked at or made.
    #[error("make namespace '{0}'")]
    MakeNamespace(String, #[source] CallError),
    /// It cannot be looked at or made.
    #[error("make Vault '{0}'")]
    MakeVault(String, #[source] CallError),
}

/// What was found or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// There was none; now there is.
    Now,
    /// There was one, which is as it was.
    Before,
}

impl Made {
    /// For people.
    pub fn text(self, vault: &Vault) -> String {
        let name = full_name(vault);
        match self {
            Self::Now => format!("Vault '{name}' is made\n"),
            Self::Before => format!("Vault '{name}' is there already and is left as it is\n"),
        }
    }
}

/// Reads a manifest.
///
/// # Errors
/// A sentence that says what is missing or not understood.
pub fn read(json: &str) -> Result<Box<Vault>, String> {
    let vault: Vault = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let meta = &vault.metadata;
    for (field, value) in [("name", &meta.name), ("namespace", &meta.namespace)] {
        if value.as_ref().is_none_or(String::is_empty) {
            return Err(format!("metadata.{field}: must be given"));
        }
    }
    // Whoever runs this would become the owner, and that is a ServiceAccount that goes again.
    if vault.spec.owners.is_empty() {
        return Err(String::from(
            "spec.owners: name at least one, such as [{\"user\": {\"name\": \"alice\"}}]",
        ));
    }
    Ok(Box::new(vault))
}

/// Makes the vault and its namespace where they are not there. While an API server or a webhook does not answer, as in
/// the first seconds of an installation, it is tried again, for `patience` at most.
///
/// # Errors
/// [`MakeError`]: what was refused, or did not work until the end.
pub async fn make(client: Client, vault: &Vault, patience: Duration) -> Result<Made, MakeError> {
    let end = Instant::now() + patience;
    let namespace = vault.namespace().unwrap_or_default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object: Namespace = Namespace {
        metadata: kube::core::ObjectMeta { name: Some(namespace.clone()), ..Default::default() },
        ..Default::default()
    };
    let made = ensure(end, &namespaces, &namespace, &object).await;
    made.map_err(|error| MakeError::MakeNamespace(namespace.clone(), error))?;
    let vaults: Api<Vault> = Api::namespaced(client, &namespace);
    let made = ensure(end, &vaults, &vault.name_any(), vault).await;
    made.map_err(|error| MakeError::MakeVault(full_name(vault), error))
}

fn full_name(vault: &Vault) -> String {
    format!("{}/{}", vault.namespace().unwrap_or_default(), vault.name_any())
}

async fn ensure<K>(end: Instant, api: &Api<K>, name: &str, object: &K) -> Result<Made, CallError>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let there = patiently(end, || within(CALL, api.get_opt(name))).await?;
    if there.is_some() {
        return Ok(Made::Before);
    }
    let how = PostParams { field_manager: Some(String::from("coffer-chart")), ..PostParams::default() };
    match patiently(end, || within(CALL, api.create(&how, object))).await {
        Ok(_) => Ok(Made::Now),
        // Made by somebody else in between, or by an attempt whose answer was lost. A webhook says 409 as well, of
        // another object in the way, and then there is none of this name.
        Err(error) if error.is_conflict() => {
            let there = patiently(end, || within(CALL, api.get_opt(name))).await?;
            there.map(|_| Made::Before).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// Tries again what fails for now, until the end.
async fn patiently<T, F>(end: Instant, mut call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    loop {
        match call().await {
            Err(error) if error.is_transient() && Instant::now() + PAUSE < end => {
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}
