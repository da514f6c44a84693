//! The three Secrets that an installation's keys are in: what is written of each, and what is read from all.

use std::{collections::BTreeMap, sync::Arc};

use coffer_envelope::custody::{
    Branches, CUSTODIAN_SECRET, Custodian, CustodyError, RootOfTrust, open_branch, open_custodian,
};
use coffer_keys::hierarchy::CustodianRoot;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::{Map, Value, json};

use super::{Custody, Opened};
use crate::{
    apply::{MANAGED_BY, MANAGER},
    context::rng,
};

/// What is applied of one of the three Secrets. Only the custodian's can grow.
pub(super) fn fields<'a>(name: &str, data: impl Iterator<Item = (&'a str, &'a [u8])>) -> Value {
    let data: Map<String, Value> =
        data.map(|(key, bytes)| (String::from(key), json!(ByteString(bytes.to_vec())))).collect();
    let mut fields = json!({
        "metadata": {"labels": {MANAGED_BY: MANAGER, "app.kubernetes.io/part-of": "coffer"}},
        "type": "Opaque",
        "data": data,
    });
    if name != CUSTODIAN_SECRET {
        fields["immutable"] = json!(true);
    }
    fields
}

/// New keys under the root of trust that is there, or a new one, and with the branch that is there, or a new one.
pub(super) fn generate(
    first: u64,
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
    Ok((trust, Custodian::new([CustodianRoot::generate(first, &mut rng())], branches)))
}

pub(super) fn open(secrets: &[Option<Secret>; 3]) -> Custody {
    let [root, custodian, brokered] = secrets;
    let opened = RootOfTrust::from_local_secret(root.iter().flat_map(entries)).and_then(|trust| {
        open_custodian(&trust, custodian.iter().flat_map(entries), brokered.iter().flat_map(entries))
    });
    match opened {
        Ok(custodian) => {
            let source = |secret: &Option<Secret>| {
                let metadata = secret.as_ref().map(|secret| &secret.metadata);
                metadata.map(|it| (it.uid.clone(), it.resource_version.clone())).unwrap_or_default()
            };
            Custody::Open(Opened { custodian, sources: Arc::new(secrets.each_ref().map(source)) })
        }
        Err(error) => unusable(&error),
    }
}

pub(super) fn unusable(error: &CustodyError) -> Custody {
    let advice = "restore it from a backup; nothing is replaced by itself";
    Custody::Unavailable(format!("the custodian root does not open: {error}; {advice}").into())
}

pub(super) fn slices(data: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (&str, &[u8])> {
    data.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
}

pub(super) fn entries(secret: &Secret) -> impl Iterator<Item = (&str, &[u8])> {
    secret.data.iter().flatten().map(|(name, ByteString(bytes))| (name.as_str(), bytes.as_slice()))
}

pub(super) fn missing(absent: &[&str], namespace: &str) -> String {
    format!(
        "Secret {} is gone from namespace {namespace} while Keyrings or other keys depend on it; \
         restore it from a backup, nothing is replaced by itself",
        absent.join(", ")
    )
}
