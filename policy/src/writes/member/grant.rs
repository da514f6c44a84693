//! Granting and taking: nobody more than they hold.

use crate::identity::{Caller, with_namespace};
use crate::roles::{self, role};
use crate::writes::{Refusal, Standing, VaultView};
use coffer_crds::limits::MAX_RESTRICTED_MEMBERS;
use coffer_crds::{Subject, Verb};

pub(super) fn may_grant(
    author: &Caller,
    view: &VaultView<'_>,
    field: &str,
    wanted: &roles::Role,
    before: Option<&roles::Role>,
) -> Result<(), Refusal> {
    view.first_allowed(author, |standing| {
        if !standing.role.allows(Verb::Invite) {
            return Err(view.lacks(standing, Verb::Invite, field));
        }
        holds(view, standing, wanted, field)?;
        before.map_or(Ok(()), |before| holds(view, standing, before, field))
    })?;
    Ok(())
}

pub(super) fn may_remove(
    author: &Caller,
    view: &VaultView<'_>,
    before: Option<&roles::Role>,
    name: &str,
) -> Result<(), Refusal> {
    view.first_allowed(author, |standing| {
        if !standing.role.allows(Verb::Invite) {
            let mut refusal = view.lacks(standing, Verb::Invite, "");
            refusal.message = format!("member '{name}' cannot be removed: {}", refusal.message);
            return Err(refusal);
        }
        before.map_or(Ok(()), |before| holds(view, standing, before, ""))
    })?;
    Ok(())
}

fn holds(
    view: &VaultView<'_>,
    standing: &Standing<'_>,
    other: &roles::Role,
    field: &str,
) -> Result<(), Refusal> {
    if standing.role.holds(other) {
        return Ok(());
    }
    let message = format!(
        "nobody grants or takes more than they hold: role '{}' of member '{}' does not hold role '{}'. {}",
        standing.role.name(),
        standing.member.name,
        other.name(),
        view.ask_an_owner("")
    );
    Err(Refusal::new(field, message))
}

pub(super) fn operator_may(
    view: &VaultView<'_>,
    wanted: &roles::Role,
    subject: &Subject,
) -> Result<(), Refusal> {
    if !wanted.is_owner() || listed_owner(view, subject) {
        return Ok(());
    }
    let message =
        format!("the operator makes owners only of those that spec.owners of vault '{}' lists", view.name());
    Err(Refusal::new("spec.role", message))
}

/// Each member whose role covers only some Connections takes a slot in every Envelope of scope `*`.
pub(super) fn room_for_restricted(
    view: &VaultView<'_>,
    wanted: &roles::Role,
    name: &str,
) -> Result<(), Refusal> {
    let others = view.members.iter().filter(|m| m.name != name);
    let count = others.filter(|m| role(&view.vault.spec, &m.role).is_some_and(|r| r.is_restricted())).count();
    if !wanted.is_restricted() || count < MAX_RESTRICTED_MEMBERS {
        return Ok(());
    }
    let message = format!(
        "vault '{}' has {MAX_RESTRICTED_MEMBERS} members whose role covers only some Connections, the most there may be",
        view.name()
    );
    Err(Refusal::new("spec.role", message))
}

pub(super) fn known_role(view: &VaultView<'_>, name: &str) -> Result<roles::Role, Refusal> {
    role(&view.vault.spec, name).ok_or_else(|| {
        let custom = view.vault.spec.roles.iter().map(|r| r.name.as_str());
        let known: Vec<_> = roles::BUILT_IN.into_iter().chain(custom).collect();
        let message = format!("vault '{}' has no role '{name}'. It has: {}", view.name(), known.join(", "));
        Refusal::new("spec.role", message)
    })
}

pub(super) fn listed_owner(view: &VaultView<'_>, subject: &Subject) -> bool {
    view.vault.spec.owners.iter().any(|o| with_namespace(o, view.namespace()) == *subject)
}
