use crate::limits::{MAX_ITEMS, VAULT_ID_PATTERN};
use crate::{Author, Wrap};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The ciphertext of one Connection, and the wrapped data keys that open it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Envelope",
    plural = "envelopes",
    shortname = "envl",
    category = "coffer",
    namespaced,
    derive = "PartialEq",
    doc = "An Envelope holds the ciphertext of one Connection and the wrapped data keys that open it. It lies beside its Connection and has its name. Only the operator writes it; docs/format.md gives every byte.",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner.name"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".spec.version"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".spec.epoch"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".spec.revision", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EnvelopeSpec {
    /// The version of the format.
    #[schemars(range(min = 1, max = 255))]
    pub v: u32,
    /// The algorithms, by name.
    #[schemars(length(max = 64))]
    pub suite: String,
    /// The vault's random id.
    #[serde(rename = "vaultID")]
    #[schemars(length(max = 32), regex(pattern = VAULT_ID_PATTERN))]
    pub vault_id: String,
    /// The Connection that it belongs to. One re-made under the same name does not inherit it.
    pub connection: EnvelopeConnection,
    /// The member that owns the Connection.
    pub owner: EnvelopeMember,
    /// Counts the values; never falls.
    #[schemars(range(min = 1))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("an Envelope's version never falls"))]
    pub version: i64,
    /// Counts the writes of this Envelope; never falls.
    #[schemars(range(min = 1))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("an Envelope's revision never falls"))]
    pub revision: i64,
    /// The epoch in which it is sealed; never falls.
    #[schemars(range(min = 1))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("an Envelope's epoch never falls"))]
    pub epoch: i64,
    /// Who can open it: `all: {}`, or the `listed` members, owner included.
    pub members: EnvelopeScope,
    /// SHA-256 over `members`, base64.
    #[schemars(length(max = 64))]
    pub members_digest: String,
    /// The commitment to the data key, base64; checked before anything is opened.
    #[schemars(length(max = 64))]
    pub commitment: String,
    /// The items' ciphertext, by item.
    #[schemars(schema_with = "items")]
    pub items: BTreeMap<String, EnvelopeItem>,
    /// The data key, wrapped for each that may open it.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub slots: Vec<Slot>,
    /// When the first value was sealed.
    pub created_at: Time,
    /// The user name of whoever wrote the first value.
    #[schemars(length(max = 1024))]
    pub created_by: String,
    /// Who wrote the present version.
    pub writer: Author,
    /// The last 20 versions, without values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryEntry>,
    /// Members that lost access and may know the present value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub advised: Vec<Advised>,
    /// The vault's signature over all of the above, base64.
    #[schemars(length(max = 128))]
    pub signature: String,
}

/// The Connection that an Envelope belongs to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct EnvelopeConnection {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A member by name and uid.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct EnvelopeMember {
    /// The VaultMember's name.
    pub name: String,
    /// The VaultMember's uid. Empty until the member is Active.
    #[serde(default)]
    pub uid: String,
}

/// Who can open an Envelope.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EnvelopeScope {
    /// Every member, those added later too.
    All(AllMembers),
    /// These, owner included, sorted by name.
    Listed(Vec<EnvelopeMember>),
}

/// Nothing more to say.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct AllMembers {}

/// One item's ciphertext.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct EnvelopeItem {
    /// The ciphertext, base64.
    pub ct: String,
    /// SHA-256 of the sealed bytes that it came from, base64: unchanged input is not opened again.
    #[serde(rename = "sealedSHA256")]
    pub sealed_sha256: String,
}

/// For whom a slot is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SlotRecipient {
    /// Whoever holds the vault key of the epoch.
    Vault,
    /// The custodian.
    Custodian,
    /// One member.
    Member,
}

/// The data key, wrapped for one recipient.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Slot {
    /// `vault`, `custodian` or `member`.
    pub to: SlotRecipient,
    /// The member's name. Absent unless `to` is `member`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The member's uid. Absent unless `to` is `member`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The data key, wrapped.
    pub wrap: Wrap,
}

/// One earlier version; its value is gone.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct HistoryEntry {
    /// Its number.
    pub version: i64,
    /// When it was sealed.
    pub at: Time,
    /// The user name of whoever wrote it.
    pub writer: String,
}

/// A member that lost access to the present value.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct Advised {
    /// Its name.
    pub member: String,
    /// `MemberDidRead`: an audit log holds a release of the value to it. `MemberCouldRead`: none is known to.
    pub reason: String,
    /// When it lost access.
    pub at: Time,
}

fn items(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let item = generator.subschema_for::<EnvelopeItem>();
    schemars::json_schema!({ "type": "object", "maxProperties": MAX_ITEMS, "additionalProperties": item })
}
