use crate::{Author, Custody, Subject, Wrap};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One identity in one vault, with one role. It lives in the vault's namespace.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "coffer.dev",
    version = "v1alpha1",
    kind = "VaultMember",
    plural = "vaultmembers",
    shortname = "vmem",
    category = "coffer",
    namespaced,
    status = "VaultMemberStatus",
    derive = "PartialEq",
    doc = "A VaultMember is one identity in one vault, with one role. It lives in the vault's namespace; its name is what scopes, owners and messages say.",
    selectable = ".spec.vault",
    printcolumn(name = "Vault", type_ = "string", json_path = ".spec.vault"),
    printcolumn(name = "Subject", type_ = "string", json_path = ".spec.subject..name", description = "The name of the ServiceAccount, user or group."),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Custody", type_ = "string", json_path = ".status.custody", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt", priority = 1),
    printcolumn(name = "Last used", type_ = "date", json_path = ".status.lastUsedAt", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(crate::rules::NAME).message(crate::rules::NAME_MESSAGE),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.acceptance) || (has(self.acceptance) && (self.acceptance == oldSelf.acceptance || (has(oldSelf.acceptance.publicKey) && has(self.acceptance.proof) && has(self.acceptance.publicKey) && self.acceptance.publicKey == oldSelf.acceptance.publicKey)))")
        .message("acceptance is set once: change the key through keyChange, or delete the member and invite again").field_path(".acceptance"),
    validation = Rule::new("!(has(oldSelf.declined) && oldSelf.declined) || (has(self.declined) && self.declined)")
        .message("a declined invite stays declined: delete it and invite again").field_path(".declined"),
    validation = Rule::new("!(has(self.declined) && self.declined && has(self.acceptance))")
        .message("an invite is either accepted or declined").field_path(".declined"),
    validation = Rule::new("!(has(self.expiresAt) && has(self.ttl))")
        .message("set expiresAt or ttl, not both").field_path(".ttl"),
)]
pub struct VaultMemberSpec {
    /// The vault's name, in this namespace. It never changes.
    #[schemars(length(max = 63), regex(pattern = crate::limits::LABEL_PATTERN))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a member never moves to another vault: delete it and invite again"))]
    pub vault: String,
    /// Whose membership it is: exactly one of `serviceAccount`, `user`, `group`, `external`; one VaultMember per subject
    /// and vault. It never changes.
    #[x_kube(validation = Rule::new("self == oldSelf").message("a member's subject never changes: delete it and invite again"))]
    pub subject: Subject,
    /// Its role: `owner`, `admin`, `member`, or one of the vault's own.
    #[schemars(length(max = 63), regex(pattern = crate::limits::LABEL_PATTERN))]
    pub role: String,
    /// When the membership ends, to the second. Absent: by `ttl`, else by the vault's `memberTTL`, else never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How long the membership lasts from its acceptance: a whole number and `h`, `d`, `w` or `m` (30 days), such as
    /// `90d`. Absent: see `expiresAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = crate::duration::PATTERN))]
    pub ttl: Option<String>,
    /// How long the invite waits, from its creation. Absent: `48h`.
    #[serde(default, rename = "inviteTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = crate::duration::PATTERN))]
    pub invite_ttl: Option<String>,
    /// The fingerprint that the accepted key must have, `SHA256:<base64>`. With it, whoever delivers the proof of that
    /// key may accept for an `external` subject. Absent: any key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub key_fingerprint: Option<String>,
    /// Requests per sliding window, `N/Ws`, such as `30/60s`; in place of the role's. Absent: the role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 13), regex(pattern = crate::rate_limit::PATTERN))]
    pub rate_limit: Option<String>,
    /// Puts the membership on hold: nothing is released to it, at once. Default: false.
    #[serde(default)]
    pub suspended: bool,
    /// Who granted what this membership grants: its creator, then whoever last changed its role, limits or times;
    /// stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<Author>,
    /// The subject's acceptance. Set once, by the subject. Absent: an invite; ServiceAccounts of this namespace and
    /// owners need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Acceptance>,
    /// The subject does not want to. For good. Default: false.
    #[serde(default)]
    pub declined: bool,
    /// A new key for a member that brought one; set by the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_change: Option<KeyChange>,
    /// Who wrote this spec last; stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_writer: Option<Author>,
}

/// The subject's acceptance.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.publicKey) || !has(self.proof)")
    .message("a proof belongs to a publicKey: give both, or neither for a member without a key of its own"))]
pub struct Acceptance {
    /// Who accepted; stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    /// The member's public key: Ed25519 (PEM, `ssh-ed25519 …`, `did:key:…`), X25519 or X-Wing. Absent: the member has no
    /// key of its own (custody `Brokered`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub public_key: Option<String>,
    /// Proof that whoever accepts holds the private half, base64: a signature, or the answer to `status.challenge`. An
    /// X25519 or X-Wing key is given without one first; the answer follows, again if it was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub proof: Option<String>,
}

/// A new key in place of the present one.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyChange {
    /// The new public key, as in `acceptance.publicKey`; Ed25519.
    #[schemars(length(min = 1, max = 4096))]
    pub public_key: String,
    /// Proof of the new private key, base64: its signature over the acceptance, as for `acceptance.proof`.
    #[schemars(length(min = 1, max = 4096))]
    pub proof: String,
    /// The public key in force, in the form of `publicKey`. Absent: the member had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub old_public_key: Option<String>,
    /// Proof of the old private key, base64: its signature over the new key's acceptance. Absent: the member had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub old_proof: Option<String>,
}

/// Where a membership stands: `Invited` → `Accepted` → `Active` → `Expired` or `Suspended`; or `Declined`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum MemberPhase {
    /// Not answered yet.
    Invited,
    /// Accepted; keys are about to be wrapped.
    Accepted,
    /// A member.
    Active,
    /// Turned down.
    Declined,
    /// On hold.
    Suspended,
    /// Run out.
    Expired,
}

/// What the operator says of a VaultMember.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultMemberStatus {
    /// `Invited` → `Accepted` → `Active` → `Expired` or `Suspended`; or `Declined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MemberPhase>,
    /// `Self`: only the member's own key opens what is wrapped for it. `Brokered`: the broker does, for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custody: Option<Custody>,
    /// The fingerprint of the member's key, `SHA256:<base64>`. Absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// What a member with an X25519 or X-Wing key has to open to prove it, base64. Absent: nothing to prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// The vault key wrapped for this member, one per epoch. Empty for members that no vault key is wrapped for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["epoch"]))]
    pub wrapped_keys: Vec<WrappedVaultKey>,
    /// When something was last released to it. Written by the broker, at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`; reasons are documented in the API reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The vault key of one epoch, wrapped for this member and signed by the vault's signing key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct WrappedVaultKey {
    /// The epoch.
    pub epoch: i64,
    /// The vault key, wrapped.
    pub wrap: Wrap,
    /// The signature, base64.
    pub signature: String,
}
