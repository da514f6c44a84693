use crate::limits::{LABEL_PATTERN, SHA256_HEX_PATTERN};
use crate::{Author, Verb};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The hash of a bearer token of a member without a Kubernetes identity.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "AccessToken",
    plural = "accesstokens",
    shortname = "ctok",
    category = "coffer",
    namespaced,
    status = "AccessTokenStatus",
    derive = "PartialEq",
    doc = "An AccessToken is the hash of a bearer token (cof_…) of a member without a Kubernetes identity. The client makes the token and shows it once; deleting this object revokes it.",
    printcolumn(name = "Member", type_ = "string", json_path = ".spec.member"),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.prefix"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Last used", type_ = "date", json_path = ".status.lastUsedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(crate::rules::NAME).message(crate::rules::NAME_MESSAGE),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("an AccessToken never changes: delete it and make another"))]
pub struct AccessTokenSpec {
    /// The VaultMember, in this namespace, that the token speaks for.
    #[schemars(length(max = 63), regex(pattern = LABEL_PATTERN))]
    pub member: String,
    /// SHA-256 of the token, lower-case hex. The token itself is nowhere.
    #[schemars(length(max = 64), regex(pattern = SHA256_HEX_PATTERN))]
    pub sha256: String,
    /// The token's first characters, to tell tokens apart; they open nothing.
    #[schemars(length(min = 1, max = 16))]
    pub prefix: String,
    /// When it ends, to the second. Absent: with the membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Who made it; stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<Author>,
    /// What it may be used for, of what the member's role allows. Absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub verbs: Option<Vec<Verb>>,
}

/// What is known of a token's use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessTokenStatus {
    /// When it was last used. Written by the broker, at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// `Ready`; reasons are documented in the API reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
