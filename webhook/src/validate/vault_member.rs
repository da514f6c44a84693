//! VaultMembers: who may invite, change and remove whom.

use coffer_crds::{Vault, VaultMember};
use coffer_policy::writes;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::{
    Circumstances, Facts, SpecSchema, acceptance, before, caller, check_form, check_subject, clear_up, judge,
    refuse, spec_schema, stored, typed, vault_named,
};
use crate::{
    draft::Draft,
    refusal::Refusal,
    review::{Admitted, Operation, Request},
    stamp::{Paths, differs, stamp},
    state::{Directory, Key, Look},
};

const STAMPS: Paths<'_> = &[&["lastWriter"], &["invitedBy"], &["acceptance", "by"]];
const WAY_OUT: &str = "An owner of the vault can delete this VaultMember and invite again";
pub(super) static SCHEMA: SpecSchema = SpecSchema::new(|| spec_schema(&VaultMember::crd()));

/// Decides a CREATE or UPDATE and stamps it: `invitedBy` vouches for what the membership grants, `acceptance.by` for
/// the acceptance, `lastWriter` for everything.
///
/// # Errors
/// [`Refusal`].
pub async fn admit(
    mut request: Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    let old = request.old_object.expose();
    let creating = request.operation == Operation::Create;
    let changed = creating || differs(draft.object(), old, STAMPS);
    let accepts = draft.get(["spec", "acceptance"]).is_some();
    let accepted = accepts && acceptance_differs(draft.object(), old);
    let (mut granted, mut broken) = (false, None);
    // What is as it was passes whatever it is, so that metadata tools work.
    if changed {
        let mut new: VaultMember = typed(draft.object(), &SCHEMA)?;
        new.metadata.namespace = Some(request.namespace.clone());
        let stored: Option<VaultMember> = match creating {
            true => None,
            false => Some(before(&request, &SCHEMA, WAY_OUT)?),
        };
        check_form(draft.object(), old, &SCHEMA)?;
        check_subject("spec.subject", &new.spec.subject)?;
        let caller = caller(&request.user_info);
        let key = Key::new(&request.namespace, &new.spec.vault);
        broken = directory
            .wait(|tables| {
                let vault = match vault_named(tables, &key, "spec.vault") {
                    Ok(vault) => vault,
                    Err(refusal) => return Look::Unless(Err(refusal)),
                };
                let facts = Facts::gather(tables, vault, circumstances.now);
                let judged = judge(&facts, circumstances, &caller, |view| {
                    writes::member(&caller, view, stored.as_ref(), Some(&new))
                });
                match judged {
                    Ok(broken) => match check_keys(&new, stored.as_ref(), vault) {
                        Err(refusal @ Refusal::AwaitReadiness(_)) => Look::Until(Err(refusal)),
                        checked => Look::Settled(checked.map(|()| broken)),
                    },
                    Err(refusal) => refuse(refusal, &facts, &caller),
                }
            })
            .await?;
        granted = stored.as_ref().is_none_or(|stored| writes::grant_changed(stored, &new));
    }
    stamp(&mut draft, &["spec", "invitedBy"], old, &request.user_info, granted)?;
    if accepts {
        stamp(&mut draft, &["spec", "acceptance", "by"], old, &request.user_info, accepted)?;
    }
    stamp(&mut draft, &["spec", "lastWriter"], old, &request.user_info, changed)?;
    Ok(Admitted { patch: draft.into_patch(), broken, ..Admitted::default() })
}

/// Checks what the subject says of its keys, where that is new.
fn check_keys(new: &VaultMember, stored: Option<&VaultMember>, vault: &Vault) -> Result<(), Refusal> {
    let status = stored.and_then(|stored| stored.status.clone()).unwrap_or_default();
    let brought = |member: &VaultMember| {
        let acceptance = member.spec.acceptance.clone();
        acceptance.map(|acceptance| (acceptance.public_key, acceptance.proof))
    };
    if stored.is_none_or(|stored| brought(stored) != brought(new)) {
        acceptance::check(new, &status, vault)?;
    }
    if stored.is_none_or(|stored| stored.spec.key_change != new.spec.key_change) {
        acceptance::check_change(new, &status, vault)?;
    }
    Ok(())
}

/// Decides a DELETE.
///
/// # Errors
/// [`Refusal::Authorize`].
pub async fn delete(
    request: &Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    let Some(old) = stored::<VaultMember>(request) else {
        return clear_up(request, directory, circumstances);
    };
    let key = Key::new(&request.namespace, &old.spec.vault);
    let caller = caller(&request.user_info);
    let broken = directory
        .wait(|tables| {
            // A membership of a vault that is gone means nothing; RBAC alone says who clears up.
            let Some(vault) = tables.vault(&key) else { return Look::Settled(Ok(None)) };
            let facts = Facts::gather(tables, vault, circumstances.now);
            let judged =
                judge(&facts, circumstances, &caller, |view| writes::member(&caller, view, Some(&old), None));
            judged.map_or_else(|refusal| refuse(refusal, &facts, &caller), |broken| Look::Settled(Ok(broken)))
        })
        .await?;
    Ok(Admitted { broken, ..Admitted::default() })
}

/// Whether the acceptance is another than the one that is stored, by whomever.
fn acceptance_differs(new: &Value, old: &Value) -> bool {
    let of = |object: &Value| json!({"spec": object.pointer("/spec/acceptance")});
    differs(&of(new), &of(old), &[&["by"]])
}

#[cfg(test)]
mod tests;
