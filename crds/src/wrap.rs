use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One wrapped key. `salt` is set for symmetric wraps, `enc` for wraps to a public key. Standard base64.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Wrap {
    /// The version of the format.
    pub v: u32,
    /// The algorithms, by name.
    pub suite: String,
    /// The id of the key that it is wrapped with.
    pub kid: String,
    /// The salt of a symmetric wrap: 32 bytes. Absent for wraps to a public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The encapsulated key of a wrap to a public key. Absent for symmetric wraps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<String>,
    /// The wrapped key.
    pub ct: String,
}
