use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One wrapped key. `salt` is set for symmetric wraps, `enc` for wraps to a public key. Standard base64.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Wrap {
    pub v: u32,
    pub suite: String,
    pub kid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<String>,
    pub ct: String,
}
