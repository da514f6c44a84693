use crate::limits::{LABEL_PATTERN, MAX_AUDIT_ANSWERS, MAX_AUDIT_RESULT_CHARS, XWING_PUBLIC_KEY_CHARS};
use crate::{Author, RequestPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A question to the audit logs, answered in its status by every replica of the broker.
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
    doc = "An AuditQuery is a question to the audit log of a vault. Every replica of the broker has a log of its own and answers from it in the status, sealed to the key in the request. It lives a minute.",
    printcolumn(name = "Vault", type_ = "string", json_path = ".spec.vault"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester.username"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
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
    /// Instead of records: when each Connection was last released to each member, of those that the filter lets through.
    /// Default: false.
    #[serde(default)]
    pub last_reads: bool,
    /// Where to go on: `next` of a replica's answer before. That replica alone answers then. Absent: every replica, from
    /// the newest records.
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

/// The answers, as far as they are there.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditQueryStatus {
    /// `Answered` once a replica has, `Failed` when none did in time or none can. Absent: `Pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RequestPhase>,
    /// One of each replica that has answered, from its own log. Which replicas have one, each answer says inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_AUDIT_ANSWERS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["answeredBy"]))]
    pub answers: Vec<AuditQueryAnswer>,
    /// When it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Why nobody answered. Never whether it was granted: that is inside the sealed results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}

/// One replica's answer.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditQueryAnswer {
    /// The broker's pod whose log it is from.
    #[schemars(length(min = 1, max = 253))]
    pub answered_by: String,
    /// Code, message and what was found, sealed to `spec.publicKey`, base64; at most 64 KiB.
    #[schemars(length(max = MAX_AUDIT_RESULT_CHARS))]
    pub result: String,
}
