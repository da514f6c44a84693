use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who wrote something, as the API server authenticated them.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct Author {
    pub username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// Exactly one identity.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    ServiceAccount(ServiceAccountSubject),
    User(NamedSubject),
    Group(NamedSubject),
    External(ExternalSubject),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct ServiceAccountSubject {
    /// Defaults to the VaultMember's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct NamedSubject {
    pub name: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub struct ExternalSubject {}

/// Whether a member keeps its own private key.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Custody {
    /// The member brought a public key; nothing else opens what is wrapped for it.
    #[serde(rename = "Self")]
    Own,
    /// The member has no key; its wrapping key is derived from the brokered branch.
    Brokered,
}
