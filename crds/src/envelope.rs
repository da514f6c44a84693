use crate::{Author, Wrap};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Envelope",
    plural = "envelopes",
    category = "coffer",
    namespaced,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct EnvelopeSpec {
    pub v: u32,
    pub suite: String,
    #[serde(rename = "vaultID")]
    pub vault_id: String,
    pub connection: EnvelopeConnection,
    pub owner: EnvelopeMember,
    pub version: i64,
    pub revision: i64,
    pub epoch: i64,
    /// `*`, or the listed members, owner included.
    pub members: EnvelopeScope,
    pub members_digest: String,
    pub commitment: String,
    pub items: BTreeMap<String, EnvelopeItem>,
    pub slots: Vec<Slot>,
    pub created_at: Time,
    pub created_by: String,
    /// Who wrote the present version.
    pub writer: Author,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advised: Vec<Advised>,
    pub signature: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct EnvelopeConnection {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct EnvelopeMember {
    pub name: String,
    /// Empty until the member is Active.
    #[serde(default)]
    pub uid: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EnvelopeScope {
    /// Every member, those added later too.
    All(AllMembers),
    Listed(Vec<EnvelopeMember>),
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct AllMembers {}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct EnvelopeItem {
    pub ct: String,
    #[serde(rename = "sealedSHA256")]
    pub sealed_sha256: String,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SlotRecipient {
    Vault,
    Custodian,
    Member,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Slot {
    pub to: SlotRecipient,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    pub wrap: Wrap,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct HistoryEntry {
    pub version: i64,
    pub at: Time,
    pub writer: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct Advised {
    pub member: String,
    pub reason: String,
    pub at: Time,
}
