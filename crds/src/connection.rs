use crate::limits::{
    ALIAS_PATTERN, LABEL_PATTERN, MAX_ITEMS, MAX_LISTED_MEMBERS, MAX_SEALED_CHARS, SCOPE_PATTERN,
};
use crate::{Advised, Author, HistoryEntry};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// One named credential of one provider, owned by exactly one member.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Connection",
    plural = "connections",
    shortname = "conn",
    category = "coffer",
    namespaced,
    status = "ConnectionStatus",
    derive = "PartialEq",
    doc = "A Connection is one named credential (one or more items) of one provider, owned by exactly one member of its vault. metadata.name is required; generateName is refused.",
    selectable = ".spec.owner",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner", description = "The member that owns it."),
    printcolumn(name = "Members", type_ = "string", json_path = ".spec.members", description = "Who may use it besides its owner; empty: as the vault says."),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Vault", type_ = "string", json_path = ".spec.vault.name", priority = 1),
    printcolumn(name = "Alias", type_ = "string", json_path = ".spec.alias", priority = 1),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type", priority = 1),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.version", priority = 1),
    printcolumn(name = "Rotate", type_ = "string", json_path = r#".status.conditions[?(@.type=="ProviderRotationAdvised")].status"#, description = "Whether the value should be changed at the provider."),
    printcolumn(name = "Rotate reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="ProviderRotationAdvised")].reason"#, description = "Whether somebody who lost access did read the value, or could have.", priority = 1),
    printcolumn(name = "Last used", type_ = "date", json_path = ".status.lastUsedAt", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(crate::rules::NAME).message(crate::rules::NAME_MESSAGE),
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = add_string_data)]
#[x_kube(
    validation = Rule::new("!has(self.stringData)")
        .message("the webhook did not seal stringData, and plaintext is never stored: is coffer-webhook running?").field_path(".stringData"),
    validation = Rule::new("!has(oldSelf.vault) || has(self.vault)")
        .message("a Connection never moves to another vault: delete it and make it there").field_path(".vault"),
    validation = Rule::new("!(has(self.expiresAt) && has(self.ttl))")
        .message("set expiresAt or ttl, not both").field_path(".ttl"),
)]
pub struct ConnectionSpec {
    /// The vault. It never changes once set. Absent or empty: the default vault, which the webhook fills in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultRef>,
    /// Whose service the credential is for: free text, such as `github`. (vault, owner, provider, connectionName) is
    /// unique. Absent: none in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub provider: Option<String>,
    /// Tells several credentials of one provider and owner apart. Absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub connection_name: Option<String>,
    /// What paths (`/coffer/<alias>/<item>`), placeholders (`{{secure.ALIAS}}`) and messages call it:
    /// `[A-Za-z0-9_-]{1,64}`. Absent: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = ALIAS_PATTERN))]
    pub alias: Option<String>,
    /// What kind of credential it is; tells clients how to show and use it. Default: `opaque`.
    #[serde(default, rename = "type")]
    pub type_: ConnectionType,
    /// The VaultMember that owns it: the creator's, filled in by the webhook. Changed only by transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = LABEL_PATTERN))]
    pub owner: Option<String>,
    /// Which members may use it besides the owner: names of VaultMembers, at most 256, or `["*"]` for all, those added
    /// later too. Empty: nobody. Absent: as the vault's `sharing` says. Setting it replaces the whole list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_LISTED_MEMBERS), inner(length(max = 63), regex(pattern = SCOPE_PATTERN)),
        extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = Rule::new("!('*' in self) || self.size() == 1")
        .message("'*' means every member and stands alone: write [\"*\"], or names only"))]
    pub members: Option<Vec<String>>,
    /// The values, sealed to the vault's intake key (`Vault.status.intakeKey`), base64, by item. Safe in Git; opens only
    /// for this vault, namespace, name, owner and item. At most 64 items of 64 KiB and 256 KiB in all, before sealing;
    /// keys `[A-Za-z0-9._-]{1,253}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "sealed_data")]
    pub sealed_data: BTreeMap<String, String>,
    // `stringData` is in the schema only (`add_string_data`): it is never stored, and no type of ours holds it.
    /// When the credential ends, to the second; nothing is released afterwards. Absent: by `ttl`, else never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How long a value lasts from when it was written: a whole number and `h`, `d`, `w` or `m` (30 days), such as
    /// `90d`. Absent: see `expiresAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = crate::duration::PATTERN))]
    pub ttl: Option<String>,
    /// How pods get it. Absent: as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<Inject>,
    /// What happens to pods when the value changes. `None` (default): their files are renewed, nothing else. `Signal`:
    /// their processes get a signal. `Restart`: their workload is rolled.
    #[serde(default)]
    pub on_change: OnChange,
    /// Keeps a Secret with the values, where the vault allows it too. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<Sync>,
    /// Who wrote this spec last; stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_writer: Option<Author>,
}

/// Names a Vault. What is set never changes.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.name) || (has(self.name) && self.name == oldSelf.name)")
        .message("a Connection never moves to another vault: delete it and make it there").field_path(".name"),
    validation = Rule::new("!has(oldSelf.name) || (has(self.__namespace__) ? has(oldSelf.__namespace__) && self.__namespace__ == oldSelf.__namespace__ : !has(oldSelf.__namespace__))")
        .message("a Connection never moves to a vault of another namespace: delete it and make it there").field_path(".namespace"),
)]
pub struct VaultRef {
    /// Its name. Absent: the default vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = LABEL_PATTERN))]
    pub name: Option<String>,
    /// Its namespace. Absent: the Connection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = LABEL_PATTERN))]
    pub namespace: Option<String>,
}

/// Kinds of credentials.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionType {
    /// Anything.
    #[default]
    Opaque,
    /// An API key.
    ApiKey,
    /// An access token.
    AccessToken,
    /// A password.
    Password,
    /// A user name and a password.
    BasicAuth,
    /// A token for Git over HTTPS.
    GitToken,
    /// A private SSH key.
    Ssh,
    /// A certificate and its private key.
    Tls,
    /// OAuth 2 tokens.
    Oauth2,
    /// A registry's `config.json`.
    Docker,
}

/// How pods get a Connection.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct Inject {
    /// As files. Absent: yes, at `/coffer/<alias>/<item>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<InjectFiles>,
    /// As environment variables. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<InjectEnv>,
}

/// Files in pods.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct InjectFiles {
    /// No files. Default: false.
    #[serde(default)]
    pub disabled: bool,
}

/// Environment variables in containers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct InjectEnv {
    /// The name of each variable (`[A-Za-z_][A-Za-z0-9_]*`), and the item that it holds. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "variables")]
    pub variables: BTreeMap<String, String>,
}

/// What happens to pods when a value changes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OnChange {
    /// Files are renewed, nothing else.
    #[default]
    None,
    /// Processes get a signal.
    Signal,
    /// The workload is rolled.
    Restart,
}

/// A Secret that is kept with the values.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sync {
    /// The Secret's name, in the Connection's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The Secret's type. Absent: `Opaque`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub type_: Option<String>,
}

/// Where a Connection stands: `Pending`, `Ready`, `Expired`, or `Invalid` until its spec changes. The condition `Ready`
/// says why.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum ConnectionPhase {
    /// Not in effect yet.
    Pending,
    /// In effect.
    Ready,
    /// Past its end.
    Expired,
    /// Not in effect, and nothing will change that but another spec.
    Invalid,
}

/// What the operator says of a Connection.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// `Pending`, `Ready`, `Expired` or `Invalid`; the condition `Ready` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ConnectionPhase>,
    /// Counts the values: it rises only with a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Names of the items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub items: Vec<String>,
    /// When the first value was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// The user name of whoever wrote the first value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When the present value was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refreshed: Option<Time>,
    /// When it was last released to somebody. Written by the broker, at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// The epoch in which it is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_epoch: Option<i64>,
    /// The last 20 versions, the newest last: who wrote them, and when. Values of old versions are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryEntry>,
    /// Members that lost access and may know the present value: until there is another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub advised: Vec<Advised>,
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `ScopeResolved`, `RotationPending`, `ProviderRotationAdvised`; reasons are documented in the API reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The write-only field. Its values have no types, patterns or rules: the API server echoes what offends one into error
/// texts and its audit log. The object itself has a type, or the rule that refuses it could not see it.
fn add_string_data(schema: &mut Schema) {
    let field = json!({
        "description": "Values in plain, by item: write only. The webhook seals each to the vault's intake key, moves it to sealedData and takes this field out before anything is stored; the API server refuses an object that still has it. Items that the same writer applied before and no longer lists are removed.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    });
    if let Some(properties) = schema.ensure_object().get_mut("properties").and_then(|p| p.as_object_mut()) {
        properties.insert("stringData".to_owned(), field);
    }
}

/// No pattern on the values: whoever writes plaintext here by mistake must not find it in an error text.
fn sealed_data(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ITEMS,
        "additionalProperties": { "type": "string", "maxLength": MAX_SEALED_CHARS },
        "x-kubernetes-validations": [{
            "rule": "self.all(k, k.matches('^[A-Za-z0-9._-]{1,253}$') && k != '.' && k != '..')",
            "message": "item keys are 1 to 253 of A-Z a-z 0-9 . _ - and not '.' or '..'",
        }],
    })
}

fn variables(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ITEMS,
        "additionalProperties": { "type": "string", "maxLength": 253, "pattern": crate::limits::ITEM_PATTERN },
        "x-kubernetes-validations": [{
            "rule": "self.all(k, k.matches('^[A-Za-z_][A-Za-z0-9_]{0,252}$'))",
            "message": "names of variables are letters, digits and '_', and do not begin with a digit",
        }],
    })
}
