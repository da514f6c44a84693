//! Vaults: who may change one, and who owns a new one.

use coffer_crds::{NamedSubject, ServiceAccountSubject, Subject, Vault, annotations::DEFAULT_VAULT};
use coffer_policy::{Caller, home, roles, writes};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::{
    Circumstances, Facts, SpecSchema, caller, check_form, check_subject, clear_up, from_policy, judge,
    malformed, owners, refuse, spec_schema, stored, typed,
};
use crate::{
    draft::Draft,
    refusal::Refusal,
    review::{Admitted, Broken, Operation, Request},
    stamp::{Paths, differs, stamp},
    state::{Directory, Key, Look, Tables},
};

const STAMPS: Paths<'_> = &[&["lastWriter"]];
pub(super) static SCHEMA: SpecSchema = SpecSchema::new(|| spec_schema(&Vault::crd()));

/// Decides a CREATE or UPDATE, fills in `owners` and stamps it.
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
    let caller = caller(&request.user_info);
    let mut broken = None;
    fill_owners(&mut draft, old, creating, &caller)?;
    let changed = creating || differs(draft.object(), old, STAMPS);
    let (mark, mark_before) = (mark(draft.object()), mark(old));
    check_mark(mark, mark_before)?;
    // What is as it was passes whatever it is, so that metadata tools work.
    if changed || mark != mark_before {
        let mut new: Vault = typed(draft.object(), &SCHEMA)?;
        new.metadata.namespace = Some(request.namespace.clone());
        let stored: Option<Vault> = if creating { None } else { stored(&request) };
        let mending = !creating && stored.is_none();
        if mending {
            check_mender(&request, &caller, directory, circumstances)?;
        }
        if changed {
            check_form(draft.object(), if mending { &Value::Null } else { old }, &SCHEMA)?;
            check_fields(&new)?;
        }
        broken =
            directory.wait(|tables| decide(tables, &caller, stored.as_ref(), &new, circumstances)).await?;
    }
    stamp(&mut draft, &["spec", "lastWriter"], old, &request.user_info, changed)?;
    Ok(Admitted { patch: draft.into_patch(), broken, ..Admitted::default() })
}

/// A Vault that does not fit its schema (T45) cannot be deleted and made again: its keys would go, and with them all that
/// is in it. So an owner may mend it, who could change each of its fields. Who that is, is not asked of the object: it is
/// who is one in force by the memberships of this very vault.
fn check_mender(
    request: &Request,
    caller: &Caller,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<(), Refusal> {
    let key = Key::new(&request.namespace, &request.name);
    let owners = directory.look(|tables| owners(tables, &key, circumstances.now));
    if owners.iter().any(|owner| owner.is_of(caller)) {
        return Ok(());
    }
    let names: Vec<_> = owners.iter().map(|owner| owner.name.as_str()).collect();
    let way_out = match names.as_slice() {
        [] => String::from(
            "It has no Active owner who could mend it: restore it from a backup, or delete it with all that is in it",
        ),
        names => format!("An owner ({}) can mend it by applying it whole", names.join(", ")),
    };
    Err(malformed(request, &SCHEMA, &way_out))
}

/// Decides a DELETE: an owner's, and anybody's whom RBAC lets when nobody owns the vault.
///
/// # Errors
/// [`Refusal::Authorize`].
pub async fn delete(
    request: &Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    let Some(old) = stored::<Vault>(request) else { return clear_up(request, directory, circumstances) };
    let caller = caller(&request.user_info);
    let broken = directory
        .wait(|tables| {
            let facts = Facts::gather(tables, &old, circumstances.now);
            let members = facts.view(circumstances).members;
            let owned = members.iter().any(|member| member.is_active() && member.role == roles::OWNER);
            let judged =
                judge(&facts, circumstances, &caller, |view| writes::vault(&caller, view, Some(&old), None));
            match judged {
                Ok(broken) => Look::Settled(Ok(broken.filter(|_| owned))),
                Err(refusal) if owned => refuse(refusal, &facts, &caller),
                Err(_) => Look::Settled(Ok(None)),
            }
        })
        .await?;
    Ok(Admitted { broken, ..Admitted::default() })
}

fn decide(
    tables: &Tables,
    caller: &Caller,
    stored: Option<&Vault>,
    new: &Vault,
    circumstances: &Circumstances<'_>,
) -> Look<Result<Option<Broken>, Refusal>> {
    if let Err(refusal) = only_default(tables, stored, new) {
        // The other one may have been unmarked or deleted a moment ago.
        return Look::Unless(Err(refusal));
    }
    let Some(stored) = stored else {
        let operator = Some(circumstances.operator);
        let view = writes::VaultView { vault: new, members: &[], operator, break_glass: None };
        let made = writes::vault(caller, &view, None, Some(new));
        return Look::Settled(made.map(|()| None).map_err(from_policy));
    };
    let facts = Facts::gather(tables, stored, circumstances.now);
    let judged =
        judge(&facts, circumstances, caller, |view| writes::vault(caller, view, Some(stored), Some(new)));
    judged.map_or_else(|refusal| refuse(refusal, &facts, caller), |broken| Look::Settled(Ok(broken)))
}

/// A vault without owners is its creator's. Left out of an update, they are as they were: a manifest that never named
/// any must not take the last one away.
fn fill_owners(draft: &mut Draft, old: &Value, creating: bool, caller: &Caller) -> Result<(), Refusal> {
    let listed =
        draft.get(["spec", "owners"]).and_then(Value::as_array).is_some_and(|owners| !owners.is_empty());
    if listed {
        return Ok(());
    }
    let owners = match old.pointer("/spec/owners") {
        Some(stored) if !creating => stored.clone(),
        None if !creating => return Ok(()),
        Some(_) | None => json!([subject_of(caller)]),
    };
    draft.set(["spec", "owners"], owners)
}

fn subject_of(caller: &Caller) -> Subject {
    match caller.service_account() {
        Some((namespace, name)) => Subject::ServiceAccount(ServiceAccountSubject {
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }),
        None => Subject::User(NamedSubject { name: caller.username.clone() }),
    }
}

/// A mark that is neither would look like one and be none.
fn check_mark(new: Option<&str>, before: Option<&str>) -> Result<(), Refusal> {
    match new {
        Some(text) if text != "true" && text != "false" && new != before => {
            Err(Refusal::field(format!("metadata.annotations[{DEFAULT_VAULT}]"), "must be true or false"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The mark of a default vault.
fn mark(vault: &Value) -> Option<&str> {
    vault.pointer("/metadata/annotations")?.get(DEFAULT_VAULT)?.as_str()
}

/// C2: a namespace has one default vault, and so has the cluster; where two were made at once the oldest counts. What
/// a vault was before, it stays. The cluster's is meant for everybody, so its name is nobody's secret.
fn only_default(tables: &Tables, stored: Option<&Vault>, new: &Vault) -> Result<(), Refusal> {
    let this = Key::of(new);
    let becomes = |what: fn(&Vault) -> bool| what(new) && !stored.is_some_and(what);
    let other = |what: fn(&Vault) -> bool, of_namespace: Option<&str>| {
        let others = tables.vaults().filter(|vault| what(vault)).map(|vault| Key::of(vault.as_ref()));
        let mut others = others.filter(|other| *other != this);
        others.find(|other| of_namespace.is_none_or(|namespace| other.namespace == namespace))
    };
    if becomes(home::is_default)
        && let Some(other) = other(home::is_default, Some(&this.namespace))
    {
        return Err(Refusal::BeUnique(format!(
            "metadata.annotations: Vault '{other}' is this namespace's default already; take its mark away first"
        )));
    }
    if becomes(home::is_cluster_default)
        && let Some(other) = other(home::is_cluster_default, None)
    {
        return Err(Refusal::BeUnique(format!(
            "metadata.annotations: Vault '{other}' is the cluster's default already; take its mark away first, or let \
             this one be its own namespace's alone, with spec.access.namespaces: Same"
        )));
    }
    Ok(())
}

fn check_fields(vault: &Vault) -> Result<(), Refusal> {
    let spec = &vault.spec;
    for (index, owner) in spec.owners.iter().enumerate() {
        check_subject(&format!("spec.owners[{index}]"), owner)?;
    }
    for (index, role) in spec.roles.iter().enumerate() {
        let field = format!("spec.roles[{index}]");
        if roles::BUILT_IN.contains(&role.name.as_str()) {
            let problem = format!("'{}' is built in and cannot be changed: choose another name", role.name);
            return Err(Refusal::field(field + ".name", problem));
        }
        if spec.roles[..index].iter().any(|other| other.name == role.name) {
            return Err(Refusal::field(field + ".name", format!("'{}' is defined twice", role.name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
