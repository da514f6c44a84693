use crate::limits::{LABEL_PATTERN, MAX_RESULT_CHARS, XWING_PUBLIC_KEY_CHARS};
use crate::{Author, RequestPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A question to the audit log, answered in its status.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "AuditQuery",
    plural = "auditqueries",
    shortname = "aq",
    category = "coffer",
    namespaced,
    status = "AuditQueryStatus",
    derive = "PartialEq",
    doc = "An AuditQuery is a question to the audit log of a vault, answered in its status, sealed to the key in the request. It lives a minute.",
    printcolumn(name = "Vault", type_ = "string", json_path = ".spec.vault"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester.username"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Answered by", type_ = "string", json_path = ".status.answeredBy", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(crate::rules::NAME).message(crate::rules::NAME_MESSAGE),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("an AuditQuery never changes: make another"))]
pub struct AuditQuerySpec {
    /// The vault's name, in this namespace.
    #[schemars(length(max = 63), regex(pattern = LABEL_PATTERN))]
    pub vault: String,
    /// Which records. Absent: all of the vault's.
    #[serde(default)]
    pub filter: AuditFilter,
    /// Where to go on, from the answer before. Absent: the newest records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub page: Option<String>,
    /// The X-Wing public key that the answer is sealed to, base64. Make a fresh one for each request.
    #[schemars(length(min = XWING_PUBLIC_KEY_CHARS, max = XWING_PUBLIC_KEY_CHARS))]
    pub public_key: String,
    /// Who asks; stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Author>,
}

/// Which audit records; all that is set must match.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct AuditFilter {
    /// Of this member. Absent: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub member: Option<String>,
    /// About this Connection, by name. Absent: about any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub connection: Option<String>,
    /// Of this event. Absent: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub event: Option<String>,
    /// Not before. Absent: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Before. Absent: until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The answer.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditQueryStatus {
    /// `Pending`, `Claimed`, `Answered` or `Failed`. Absent: `Pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RequestPhase>,
    /// The broker's pod that took it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// Code, message and records, sealed to `spec.publicKey`, base64; at most 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_RESULT_CHARS))]
    pub result: Option<String>,
}
