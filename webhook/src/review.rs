//! AdmissionReview, `admission.k8s.io/v1`: the request as far as it is used here, and the answer.
//!
//! kube's own answer type writes the patch as an array of numbers, which the API server does not take, and its
//! request type wants a typed object, which `stringData` (anything at all) is not.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::Author;
use k8s_openapi::api::core::v1::ObjectReference;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize as _;

use crate::{draft::Op, refusal::Refusal};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// JSON that may hold plaintext: wiped when dropped, and without `Debug`, so that no log can hold it.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub struct Confidential(Value);

impl Confidential {
    /// The JSON itself.
    pub fn expose(&self) -> &Value {
        &self.0
    }

    /// The JSON itself, to be changed.
    pub fn expose_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    /// Whether there is nothing: the request had no such object.
    pub fn is_absent(&self) -> bool {
        self.0.is_null()
    }
}

impl From<Value> for Confidential {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl Drop for Confidential {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites every string in `value`. Depth is bounded by the parser (128).
pub fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What is being done to the object.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// A new object.
    Create,
    /// A change, by whatever verb: update, patch, apply.
    Update,
    /// A removal.
    Delete,
    /// A connection to a subresource such as `pods/exec`.
    Connect,
}

/// Who asks, as the API server authenticated them. The only source of identity in this program.
#[derive(Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Never empty for an authenticated caller.
    #[serde(default)]
    pub username: String,
    /// Absent for most client certificates.
    #[serde(default)]
    pub uid: Option<String>,
    /// In the API server's order.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What else the authenticator said.
    #[serde(default)]
    pub extra: Option<BTreeMap<String, Vec<String>>>,
}

/// Names the certificate or token that a request was authenticated by. One that is sent in somebody else's name (`--as`)
/// has none.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

impl UserInfo {
    /// Whether the credential is named that this request was authenticated by.
    pub fn has_credential_id(&self) -> bool {
        let ids = self.extra.as_ref().and_then(|extra| extra.get(CREDENTIAL_ID));
        ids.is_some_and(|ids| !ids.is_empty())
    }

    /// The stamp that says "this caller wrote it". An empty uid counts as none.
    pub fn author(&self) -> Author {
        Author {
            username: self.username.clone(),
            uid: self.uid.clone().filter(|uid| !uid.is_empty()),
            groups: self.groups.clone(),
        }
    }
}

/// The caller's `CreateOptions` or `UpdateOptions`.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
struct Options {
    #[serde(default)]
    field_manager: Option<String>,
}

/// One admission request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// To be repeated in the answer.
    pub uid: String,
    /// What is being done.
    pub operation: Operation,
    /// Who does it.
    pub user_info: UserInfo,
    /// Name of the object; empty when the API server is yet to make one (`generateName`).
    #[serde(default)]
    pub name: String,
    /// Namespace of the object; empty for cluster-wide kinds.
    #[serde(default)]
    pub namespace: String,
    /// Such as `status`; empty for the object itself.
    #[serde(default)]
    pub sub_resource: String,
    /// The object as it would be stored; absent on DELETE.
    #[serde(default)]
    pub object: Confidential,
    /// The object as it is stored; absent on CREATE.
    #[serde(default)]
    pub old_object: Confidential,
    /// Whether nothing is to come of it.
    #[serde(default)]
    pub dry_run: Option<bool>,
    #[serde(default)]
    options: Option<Options>,
}

impl Request {
    /// The manager under whose name the caller's fields are recorded, as far as the caller named one.
    pub fn field_manager(&self) -> Option<&str> {
        self.options.as_ref()?.field_manager.as_deref().filter(|name| !name.is_empty())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

/// Reads the body of a webhook call.
///
/// # Errors
/// [`Refusal::ReadReview`], for any bytes that are no AdmissionReview with a request and a caller. The text never
/// quotes the body.
pub fn parse(body: &[u8]) -> Result<Request, Refusal> {
    let review: Review = serde_json::from_slice(body).map_err(|error| {
        // serde_json's own text may quote a value, so only the place is told.
        let problem = if error.is_data() { "is not a valid AdmissionReview" } else { "is not valid JSON" };
        let (line, column) = (error.line(), error.column());
        Refusal::ReadReview(format!("the body {problem} (line {line}, column {column})"))
    })?;
    if review.api_version != API_VERSION || review.kind != KIND {
        return Err(Refusal::ReadReview(format!("the body must be an {KIND} of {API_VERSION}")));
    }
    let Some(request) = review.request else {
        return Err(Refusal::ReadReview(format!("the {KIND} holds no request")));
    };
    if request.user_info.username.is_empty() {
        return Err(Refusal::ReadReview(String::from("the request names no user")));
    }
    Ok(request)
}

/// What was decided about a request that is admitted.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Changes to the object; empty: as it is.
    pub patch: Vec<Op>,
    /// Shown to the caller by kubectl.
    pub warnings: Vec<String>,
    /// That no membership of the caller allows it, but break glass does.
    pub broken: Option<Broken>,
}

/// One use of break glass.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// The group of the caller that may.
    pub group: String,
    /// The Vault that it is about.
    pub vault: ObjectReference,
}

/// The key, below the webhook's name, under which the API server's own audit log says that somebody broke glass.
const BREAK_GLASS: &str = "break-glass";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// The body that answers the request `uid`.
pub fn answer(uid: &str, decision: Result<Admitted, Refusal>) -> Vec<u8> {
    let response = match decision {
        Ok(mut admitted) => {
            if let Some(broken) = &admitted.broken {
                admitted.warnings.push(format!(
                    "no membership of yours allows this: it is done by break glass, as one of group '{}', and on record",
                    broken.group
                ));
            }
            let patch = (!admitted.patch.is_empty()).then(|| STANDARD.encode(encode(&admitted.patch)));
            Response {
                uid,
                allowed: true,
                status: None,
                patch_type: patch.is_some().then_some("JSONPatch"),
                patch,
                warnings: admitted.warnings,
                audit_annotations: admitted
                    .broken
                    .map(|broken| (BREAK_GLASS, broken.group))
                    .into_iter()
                    .collect(),
            }
        }
        Err(refusal) => {
            let (code, reason) = refusal.status();
            let status = Status { code: code.as_u16(), reason, message: refusal.to_string() };
            Response {
                uid,
                allowed: false,
                status: Some(status),
                patch_type: None,
                patch: None,
                warnings: Vec::new(),
                audit_annotations: BTreeMap::new(),
            }
        }
    };
    encode(&Answer { api_version: API_VERSION, kind: KIND, response })
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and maps with string keys always encode")
}

#[cfg(test)]
mod tests;
