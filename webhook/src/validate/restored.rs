//! What a restore user makes anew from a backup: objects that others wrote, of vaults that may not be there yet.
//!
//! They are stored as they were, but for their authors: nobody vouches for what somebody else wrote. Nothing is decided
//! here, because nothing comes of it by itself: the operator finds an author who may not have written this, says so,
//! and goes by the signed register of an adopted Keyring.

use coffer_crds::{Connection, Vault, VaultMember};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{SpecSchema, check_form, connection, typed, vault, vault_member};
use crate::{
    draft::Draft,
    refusal::Refusal,
    review::{Admitted, Operation, Request},
    stamp::stamp,
};

/// Where kubectl keeps the manifest that was applied.
const LAST_APPLIED: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// Whether this is such a write. What no backup holds is decided about, and sealed, as everybody's: new values, also those in
/// an applied manifest, and a Vault without owners.
pub fn is_restored(request: &Request, restore_users: &[String]) -> bool {
    request.operation == Operation::Create
        && restore_users.contains(&request.user_info.username)
        && !brings_values(request.object.expose())
}

fn brings_values(object: &Value) -> bool {
    let values = object.pointer("/spec/stringData").and_then(Value::as_object);
    let applied = object.pointer(LAST_APPLIED).and_then(Value::as_str);
    values.is_some_and(|values| !values.is_empty()) || applied.is_some_and(|text| text.contains("stringData"))
}

/// Whether a Vault names its owners; one that does not is its creator's.
pub fn has_owners(request: &Request) -> bool {
    let owners = request.object.expose().pointer("/spec/owners").and_then(Value::as_array);
    owners.is_some_and(|owners| !owners.is_empty())
}

/// Stamps a Vault.
///
/// # Errors
/// [`Refusal::AcceptField`] when it does not fit its schema.
pub fn vault(request: Request) -> Result<Admitted, Refusal> {
    admit::<Vault>(request, &vault::SCHEMA, &[])
}

/// Stamps a VaultMember.
///
/// # Errors
/// As [`vault()`].
pub fn vault_member(request: Request) -> Result<Admitted, Refusal> {
    let accepted = request.object.expose().pointer("/spec/acceptance").is_some_and(|found| !found.is_null());
    let acceptance: &[&str] = &["spec", "acceptance", "by"];
    let authors: &[&[&str]] = &[&["spec", "invitedBy"], acceptance];
    let authors = if accepted { authors } else { &authors[..1] };
    admit::<VaultMember>(request, &vault_member::SCHEMA, authors)
}

/// Stamps a Connection.
///
/// # Errors
/// As [`vault()`].
pub fn connection(request: Request) -> Result<Admitted, Refusal> {
    admit::<Connection>(request, &connection::SCHEMA, &[])
}

fn admit<K: DeserializeOwned>(
    mut request: Request,
    schema: &SpecSchema,
    authors: &[&[&str]],
) -> Result<Admitted, Refusal> {
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    typed::<K>(draft.object(), schema)?;
    check_form(draft.object(), &Value::Null, schema)?;
    let last_writer: &[&str] = &["spec", "lastWriter"];
    for author in authors.iter().copied().chain([last_writer]) {
        stamp(&mut draft, author, &Value::Null, &request.user_info, true)?;
    }
    Ok(Admitted { patch: draft.into_patch(), ..Admitted::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{patched, request};

    fn backup() -> Value {
        json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember",
            "metadata": {"namespace": "a", "name": "bob"},
            "spec": {
                "vault": "gone", "role": "owner", "subject": {"user": {"name": "bob"}},
                "invitedBy": {"username": "alice"}, "lastWriter": {"username": "bob"},
                "acceptance": {"by": {"username": "bob"}, "publicKey": "AAAA", "proof": "AAAA"},
            },
        })
    }

    #[test]
    fn what_a_restore_user_makes_of_a_backup_is_kept_and_stamped_as_theirs() {
        let request = request("CREATE", "velero", backup(), Value::Null);
        assert!(is_restored(&request, &["velero".into()]));
        assert!(!is_restored(&request, &["other".into()]));
        let admitted = vault_member(request).expect("it fits its schema");
        let stored = patched(&backup(), &admitted.patch);
        for author in ["/spec/invitedBy", "/spec/lastWriter", "/spec/acceptance/by"] {
            assert_eq!(stored.pointer(author).expect("it is stamped")["username"], "velero", "{author}");
        }
        assert_eq!(stored["spec"]["acceptance"]["publicKey"], "AAAA");
        assert_eq!(stored["spec"]["role"], "owner");
    }

    #[test]
    fn new_values_and_changes_are_decided_about_as_everybody_s() {
        let with = |values: Value| json!({"spec": {"stringData": values}});
        let users = ["velero".into()];
        assert!(!is_restored(&request("CREATE", "velero", with(json!({"a": "b"})), Value::Null), &users));
        assert!(is_restored(&request("CREATE", "velero", with(json!({})), Value::Null), &users));
        let mut applied = backup();
        applied["metadata"]["annotations"] = json!({
            "kubectl.kubernetes.io/last-applied-configuration": r#"{"spec":{"stringData":{"a":"b"}}}"#
        });
        assert!(!is_restored(&request("CREATE", "velero", applied, Value::Null), &users));
        assert!(!has_owners(&request("CREATE", "velero", json!({"spec": {"owners": []}}), Value::Null)));
        assert!(!is_restored(&request("UPDATE", "velero", backup(), backup()), &users));
    }

    #[test]
    fn a_backup_that_does_not_fit_the_schema_is_refused_by_name() {
        let mut wrong = backup();
        wrong["spec"]["role"] = json!(7);
        let Err(refusal) = vault_member(request("CREATE", "velero", wrong, Value::Null)) else {
            panic!("a number is no role");
        };
        assert!(refusal.to_string().contains("spec.role"), "{refusal}");
    }
}
