use crate::Author;
use crate::limits::{ITEM_PATTERN, LABEL_PATTERN, MAX_RESULT_CHARS, XWING_PUBLIC_KEY_CHARS};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request for credentials by a `kubectl` user, answered in its status.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    shortname = "crel",
    category = "coffer",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "A Release is a request for credentials by a kubectl user, answered in its status, sealed to the key in the request. It lives a minute.",
    printcolumn(name = "Vault", type_ = "string", json_path = ".spec.vault"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester.username"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Answered by", type_ = "string", json_path = ".status.answeredBy", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(crate::rules::NAME).message(crate::rules::NAME_MESSAGE),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a Release never changes: make another"))]
pub struct ReleaseSpec {
    /// The vault's name, in this namespace.
    #[schemars(length(max = 63), regex(pattern = LABEL_PATTERN))]
    pub vault: String,
    /// What is asked for: 1 to 64. All or nothing.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub connections: Vec<ReleaseConnection>,
    /// The X-Wing public key that the answer is sealed to, base64. Make a fresh one for each request.
    #[schemars(length(min = XWING_PUBLIC_KEY_CHARS, max = XWING_PUBLIC_KEY_CHARS))]
    pub public_key: String,
    /// Why, for the audit log. Absent: no reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Who asks; stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Author>,
    /// Whether the request named no credential id, as one sent with `--as` does not: then `requester` may be impersonated,
    /// and the audit log says so; stamped. Absent: it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonation_possible: Option<bool>,
}

/// One Connection asked for.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct ReleaseConnection {
    /// Its alias or name.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Its namespace. Absent: any that the vault's Connections are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = LABEL_PATTERN))]
    pub namespace: Option<String>,
    /// Which items. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253), regex(pattern = ITEM_PATTERN)), extend("x-kubernetes-list-type" = "atomic"))]
    pub items: Vec<String>,
}

/// Where a request stands: `Pending` (also when absent) → `Claimed` by a replica → `Answered`, or `Failed` when nobody did
/// in time. Whether it was granted is inside the sealed result.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum RequestPhase {
    /// Nobody has taken it up.
    Pending,
    /// A replica of the broker has.
    Claimed,
    /// Answered; the code and the message are inside the sealed result.
    Answered,
    /// Not answered in time.
    Failed,
}

/// The answer.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// `Pending`, `Claimed`, `Answered` or `Failed`. Absent: `Pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RequestPhase>,
    /// The broker's pod that took it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// Code, message and data, sealed to `spec.publicKey`, base64; at most 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_RESULT_CHARS))]
    pub result: Option<String>,
    /// When it was answered or failed. A minute later the operator deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What it waits for, or why nobody answered. Never whether it was granted: that is inside the sealed result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}
