use crate::{Custody, Subject, Wrap};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Keyring",
    plural = "keyrings",
    category = "coffer",
    namespaced,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct KeyringSpec {
    #[serde(rename = "vaultID")]
    pub vault_id: String,
    #[serde(rename = "vaultUID")]
    pub vault_uid: String,
    pub revision: i64,
    pub root_generation: i64,
    pub brokered_generation: i64,
    pub intake_generations: Vec<IntakeGeneration>,
    pub signing_key: Wrap,
    /// The epoch that writes use.
    pub current: i64,
    pub epochs: Vec<Epoch>,
    #[serde(default)]
    pub members: Vec<RegisteredMember>,
    pub signature: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct IntakeGeneration {
    pub root: i64,
    pub generation: i64,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    pub epoch: i64,
    pub created_at: Time,
    pub wrapped: Wrap,
}

/// What the operator recorded of a member when it took effect.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredMember {
    pub name: String,
    pub uid: String,
    pub subject: Subject,
    #[serde(default, rename = "subjectUID", skip_serializing_if = "Option::is_none")]
    pub subject_uid: Option<String>,
    pub role: String,
    pub custody: Custody,
    /// SHA-256 of the member's public key, base64; absent for Brokered members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<String>,
    pub accepted_at: Time,
}
