use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Who wrote something, as the API server authenticated them. Stamped by the webhook from the request; whatever a
/// client writes here is replaced, and a policy inside the API server checks it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Author {
    /// The authenticated user name; a ServiceAccount's is `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// The authenticated uid. Absent where the authenticator gives none, as for client certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The authenticated groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub groups: Vec<String>,
}

/// Exactly one identity.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic", "x-kubernetes-validations" = subject_rules()))]
pub enum Subject {
    /// A ServiceAccount. Its uid is recorded at acceptance: one deleted and made again is a stranger.
    ServiceAccount(ServiceAccountSubject),
    /// A user, by the exact name that the API server authenticates. ServiceAccounts are named by `serviceAccount`.
    User(NamedSubject),
    /// Every user of a group, as one member. Groups of the system (`system:…`) cannot be members.
    Group(NamedSubject),
    /// Somebody without a Kubernetes identity, who proves a key or holds an access token.
    External(ExternalSubject),
}

/// A ServiceAccount.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct ServiceAccountSubject {
    /// Its namespace. Absent: that of the VaultMember (or Vault) that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = crate::limits::LABEL_PATTERN))]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A user or group.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, KubeSchema)]
#[x_kube(validation = Rule::new("self.name != '*'")
    .message("'*' is no identity: name one user or group"))]
pub struct NamedSubject {
    /// The exact name, 1 to 256 characters. `*` is refused: no name stands for everybody.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
}

/// Nothing more to say: the proof or the token says who it is.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct ExternalSubject {}

/// Whether a member keeps its own private key. `Self`: it brought a public key, and only its own private key opens what is
/// wrapped for it. `Brokered`: it has none; the broker opens for it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Custody {
    /// The member brought a public key; nothing else opens what is wrapped for it.
    #[serde(rename = "Self")]
    Own,
    /// The member has no key; its wrapping key is derived from the brokered branch.
    Brokered,
}

fn subject_rules() -> serde_json::Value {
    json!([
        {
            "rule": "!has(self.group) || !self.group.name.startsWith('system:')",
            "message": "groups of the system (system:…) cannot be members: name a group of your own",
        },
        {
            "rule": "!has(self.user) || (!self.user.name.startsWith('system:serviceaccount:') && self.user.name != 'system:anonymous')",
            "message": "a ServiceAccount is named by serviceAccount {namespace, name}, and the anonymous user is nobody",
        },
    ])
}
