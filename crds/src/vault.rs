use crate::{Author, NamespaceAccess, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A team's set of credentials and members, with its own key.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Vault",
    plural = "vaults",
    shortname = "vlt",
    category = "coffer",
    namespaced,
    status = "VaultStatus",
    derive = "PartialEq",
    doc = "A Vault is a team's set of credentials and members, with its own key.",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owners..name", description = "The first owner."),
    printcolumn(name = "Sharing", type_ = "string", json_path = ".spec.sharing", description = "What a Connection without members means."),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members.active", description = "Active members."),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections", description = "Connections in this vault."),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Invited", type_ = "integer", json_path = ".status.members.invited", priority = 1),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.keyEpoch", priority = 1),
    printcolumn(name = "Rotation", type_ = "string", json_path = r#".status.conditions[?(@.type=="Rotating")].reason"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(crate::rules::NAME).message(crate::rules::NAME_MESSAGE),
)]
#[serde(rename_all = "camelCase")]
pub struct VaultSpec {
    /// Who owns the vault: everything is theirs to do. The operator makes each a VaultMember that is Active at once.
    /// Empty: the webhook fills in whoever creates the Vault. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub owners: Vec<Subject>,
    /// What a Connection that lists no `members` means. `All` (default): every member, those added later too. `Owner`:
    /// its owner alone, until shared; to others it looks absent.
    #[serde(default)]
    pub sharing: Sharing,
    /// Which members the vault takes. `Any` (default). `SelfOnly`: only members with a key of their own, so that no
    /// process of Coffer but the operator can open anything.
    #[serde(default)]
    pub custody: CustodyPolicy,
    /// Where the vault's Connections, and pods that use them, may be. Default: the vault's own namespace.
    #[serde(default)]
    pub access: Access,
    /// Roles besides the built-in `owner`, `admin` and `member`, which cannot be redefined. A role in use cannot be
    /// taken out. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub roles: Vec<RoleSpec>,
    /// How long a membership lasts that sets neither `expiresAt` nor `ttl`, counted from acceptance: a whole number and
    /// `h`, `d`, `w` or `m` (30 days), such as `90d`. Owners' never end. Absent: it does not end.
    #[serde(default, rename = "memberTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = crate::duration::PATTERN))]
    pub member_ttl: Option<String>,
    /// When keys are turned over without another cause. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationSpec>,
    /// Whether Connections of this vault may ask to be written into a Secret (`Connection.spec.sync`). Default: false.
    #[serde(default)]
    pub allow_sync: bool,
    /// Who wrote this spec last; stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_writer: Option<Author>,
}

/// What a Connection without `members` means.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Sharing {
    /// Every member.
    #[default]
    All,
    /// Its owner alone, until shared.
    Owner,
}

/// Which members a vault takes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum CustodyPolicy {
    /// Any.
    #[default]
    Any,
    /// Only members with a key of their own.
    SelfOnly,
}

/// Where a vault's Connections and pods may be.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct Access {
    /// `Same` (default): the vault's own namespace. `All`: every namespace. `{selector: {matchLabels: …}}`: the vault's
    /// own, and those whose labels match. Anything else is refused at admission.
    #[serde(default)]
    pub namespaces: NamespaceAccess,
}

/// A role of one vault.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(self.name in ['owner', 'admin', 'member'])")
    .message("owner, admin and member are built in and cannot be redefined: choose another name").field_path(".name"))]
pub struct RoleSpec {
    /// Its name: a DNS-1123 label, not `owner`, `admin` or `member`.
    #[schemars(length(max = 63), regex(pattern = crate::limits::LABEL_PATTERN))]
    pub name: String,
    /// What its members may do: `list`, `use` (a workload gets the values), `read` (a person does), `write`, `share`,
    /// `invite`, `audit`, `rotate`. Without `use` or `read` nothing is wrapped for them.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub verbs: Vec<Verb>,
    /// To which Connections: globs over `metadata.name`, in which `*` stands for any run of characters. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 63), regex(pattern = crate::limits::GLOB_PATTERN)),
        extend("x-kubernetes-list-type" = "atomic"))]
    pub connections: Option<Vec<String>>,
    /// Requests per sliding window for each member with this role: `N/Ws`, such as `30/60s`. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 13), regex(pattern = crate::rate_limit::PATTERN))]
    pub rate_limit: Option<String>,
    /// Connections in one request. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_connections: Option<u32>,
}

/// What a role allows.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// See that Connections exist.
    List,
    /// Have the values in a workload.
    Use,
    /// Have the values in person.
    Read,
    /// Create Connections, change values and settings.
    Write,
    /// Change who may use a Connection.
    Share,
    /// Invite and remove members, up to one's own role.
    Invite,
    /// Read the audit log.
    Audit,
    /// Turn keys over.
    Rotate,
}

/// When keys are turned over without another cause.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationSpec {
    /// Time from one turn-over to the next: a whole number and `h`, `d`, `w` or `m` (30 days), such as `30d`. Absent:
    /// never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = crate::duration::PATTERN))]
    pub interval: Option<String>,
    /// Turn the keys over once, at this moment or as soon as it has passed, such as `2026-11-25T22:00:00Z`. Keys made
    /// since then answer it. `kubectl coffer rotate` sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Time>,
}

/// What the operator says of a Vault. Everything here can be rebuilt from the Keyring and the specs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultStatus {
    /// `Ready`, `RotationPending`, `Rotating`, `Guarded`; reasons are documented in the API reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The vault's random id, 32 hex characters: part of every key's context. It outlives a restore; the uid does not.
    #[serde(default, rename = "vaultID", skip_serializing_if = "Option::is_none")]
    pub vault_id: Option<String>,
    /// Where input for this vault is sealed to. Absent: the vault has no keys yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intake_key: Option<IntakeKey>,
    /// The public half of the vault's signing key, Ed25519, base64. Clients pin it when they accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custodian_key: Option<String>,
    /// The epoch in which everything is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_epoch: Option<i64>,
    /// The turn-over under way. Absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,
    /// How many members there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MemberCounts>,
    /// How many Connections there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// How many Connections should get a new value at their provider (`ProviderRotationAdvised`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_advised: Option<i64>,
    /// How many Connections need an older generation of the custodian root than the vault: their `sealedData` is sealed to
    /// it (`kubectl coffer reseal` ends that), or their Envelope is not sealed anew yet. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_to_older_roots: Option<i64>,
}

/// Where input for this vault is sealed to: an X-Wing public key, signed by the vault's signing key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntakeKey {
    /// Its id: `intake/<root generation>/<intake generation>`.
    pub kid: String,
    /// The public key: 1,216 bytes, base64.
    pub public_key: String,
    /// The signature by `custodianKey`, base64.
    pub signature: String,
}

/// How far a turn-over of epochs is.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// The epoch that it leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_epoch: Option<i64>,
    /// Why: reasons of `Rotating`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub causes: Vec<String>,
    /// Members for whom the new epoch is wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_wrapped: Option<i64>,
    /// Connections that are sealed in the new epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_resealed: Option<i64>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// How many members a vault has.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct MemberCounts {
    /// Active ones.
    pub active: i64,
    /// Invites not answered yet.
    pub invited: i64,
}
