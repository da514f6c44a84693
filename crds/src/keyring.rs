use crate::limits::{MAX_FORMER_UIDS, VAULT_ID_PATTERN};
use crate::{Custody, EnvelopeMember, Subject, Wrap};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A vault's random id, its epoch keys wrapped for the custodian, and the register of its members.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Keyring",
    plural = "keyrings",
    shortname = "kring",
    category = "coffer",
    namespaced,
    derive = "PartialEq",
    doc = "A Keyring holds a vault's random id, its epoch keys wrapped for the custodian, and the register of its members. It has the vault's name and namespace. Only the operator writes it; back it up with the custodian root.",
    printcolumn(name = "Vault ID", type_ = "string", json_path = ".spec.vaultID"),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".spec.current",
        description = "The epoch that writes use."
    ),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".spec.revision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct KeyringSpec {
    /// The vault's random id: 32 hex characters. Part of every key's context; it never changes.
    #[serde(rename = "vaultID")]
    #[schemars(length(max = 32), regex(pattern = VAULT_ID_PATTERN))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a Keyring's vault id never changes"))]
    pub vault_id: String,
    /// The uid of the Vault that it belongs to. Another Vault of the same name does not inherit it.
    #[serde(rename = "vaultUID")]
    #[schemars(length(max = 64))]
    pub vault_uid: String,
    /// Counts the writes of this Keyring; never falls.
    #[schemars(range(min = 1))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("a Keyring's revision never falls"))]
    pub revision: i64,
    /// The generation of the custodian root that wraps these keys; never falls.
    #[schemars(range(min = 0))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("a Keyring's root generation never falls"))]
    pub root_generation: i64,
    /// The generation of the brokered branch.
    #[schemars(range(min = 0))]
    pub brokered_generation: i64,
    /// Which intake keys are in use, the newest last.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub intake_generations: Vec<IntakeGeneration>,
    /// The private half of the vault's signing key, wrapped for the custodian.
    pub signing_key: Wrap,
    /// The epoch that writes use; never falls.
    #[schemars(range(min = 1))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("a Keyring's current epoch never falls"))]
    pub current: i64,
    /// The epoch that began when the Keyring was restored: Envelopes of older ones are adopted. Absent: it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub restored_epoch: Option<i64>,
    /// The vault key of each epoch still in use, wrapped for the custodian.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["epoch"]))]
    pub epochs: Vec<Epoch>,
    /// The register: members as they took effect. At most 4,096.
    #[serde(default)]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub members: Vec<RegisteredMember>,
    /// The vault's own signature over all of the above, base64.
    #[schemars(length(max = 128))]
    pub signature: String,
}

/// One generation of the vault's intake key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct IntakeGeneration {
    /// The generation of the custodian root that it is derived from.
    pub root: i64,
    /// Its own number.
    pub generation: i64,
}

/// One generation of the vault key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    /// Its number; after a restore the Unix time.
    pub epoch: i64,
    /// When it began.
    pub created_at: Time,
    /// The vault key, wrapped for the custodian.
    pub wrapped: Wrap,
    /// Why it took the place of the one before. Empty for a vault's first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub causes: Vec<EpochCause>,
}

/// One reason why a vault's keys were turned over.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct EpochCause {
    /// A reason of `Rotating`.
    pub reason: String,
    /// The VaultMember that knows the keys before this one and is not to know this one. Absent when it is about nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<EnvelopeMember>,
}

/// What the operator recorded of a member when it took effect.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredMember {
    /// The VaultMember's name.
    pub name: String,
    /// The VaultMember's uid.
    pub uid: String,
    /// The identity.
    pub subject: Subject,
    /// The ServiceAccount's uid at acceptance. Absent for other subjects.
    #[serde(default, rename = "subjectUID", skip_serializing_if = "Option::is_none")]
    pub subject_uid: Option<String>,
    /// The role in effect.
    pub role: String,
    /// Whether the member keeps its own key.
    pub custody: Custody,
    /// SHA-256 of the member's public key, base64; absent for Brokered members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<String>,
    /// When the membership took effect.
    pub accepted_at: Time,
    /// The uids of the VaultMember before each restore, the newest last: Envelopes that name one of them mean this
    /// member. At most 16.
    #[serde(default, rename = "formerUIDs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_FORMER_UIDS), extend("x-kubernetes-list-type" = "atomic"))]
    pub former_uids: Vec<String>,
}
