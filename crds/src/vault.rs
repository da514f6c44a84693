use crate::{Author, NamespaceAccess, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Vault",
    plural = "vaults",
    category = "coffer",
    namespaced,
    status = "VaultStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VaultSpec {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Subject>,
    #[serde(default)]
    pub sharing: Sharing,
    #[serde(default)]
    pub custody: CustodyPolicy,
    #[serde(default)]
    pub access: Access,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleSpec>,
    #[serde(default, rename = "memberTTL", skip_serializing_if = "Option::is_none")]
    pub member_ttl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationSpec>,
    #[serde(default)]
    pub allow_sync: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_writer: Option<Author>,
}

/// What a Connection without `members` means.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Sharing {
    #[default]
    All,
    Owner,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum CustodyPolicy {
    #[default]
    Any,
    SelfOnly,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct Access {
    #[serde(default)]
    pub namespaces: NamespaceAccess,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleSpec {
    pub name: String,
    pub verbs: Vec<Verb>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    List,
    Use,
    Read,
    Write,
    Share,
    Invite,
    Audit,
    Rotate,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct RotationSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultStatus {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, rename = "vaultID", skip_serializing_if = "Option::is_none")]
    pub vault_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intake_key: Option<IntakeKey>,
    /// The public half of the vault's signing key, Ed25519, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custodian_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_epoch: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MemberCounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_advised: Option<i64>,
}

/// Where input for this vault is sealed to: an X-Wing public key, signed by the vault's signing key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntakeKey {
    pub kid: String,
    pub public_key: String,
    pub signature: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_epoch: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_wrapped: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_resealed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct MemberCounts {
    pub active: i64,
    pub invited: i64,
}
