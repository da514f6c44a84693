//! Writes of Vaults.

use super::{Refusal, VaultView};
use crate::identity::{Caller, with_namespace};
use crate::roles;
use coffer_crds::{Subject, Vault, Verb, annotations, limits::MAX_RESTRICTED_MEMBERS};

/// Whether the author may create (`old` is `None`), change, or delete (`new` is `None`) a Vault.
///
/// Whoever RBAC lets may create one. Afterwards `rotation` takes the verb `rotate`, everything else an owner. An
/// unchanged spec passes for everybody, so that metadata tools work; the default-vault annotation counts as spec.
/// `view` is the vault before the write; for a create, the new one with no members.
///
/// # Errors
/// [`Refusal`].
pub fn vault(
    author: &Caller,
    view: &VaultView<'_>,
    old: Option<&Vault>,
    new: Option<&Vault>,
) -> Result<(), Refusal> {
    match (old, new) {
        (None, Some(new)) => well_formed(new),
        (Some(_), None) => owner_only(author, view, "", "delete the vault"),
        (Some(old), Some(new)) => {
            change(author, view, old, new)?;
            well_formed(new)
        }
        (None, None) => Ok(()),
    }
}

/// Whether the recorded author of a live Vault (`spec.lastWriter`) may have made owners of the subjects that the
/// register does not hold as owners. The operator asks before it makes a VaultMember for one.
///
/// # Errors
/// [`Refusal`]: the author is no owner by the register, or nobody vouches for the change.
pub fn vault_recorded(view: &VaultView<'_>, new: &Vault) -> Result<(), Refusal> {
    // A VaultMember that merely claims to be an owner vouches for nothing.
    let mut owners = view.members.iter().filter(|m| m.role == roles::OWNER && m.is_registered()).peekable();
    let first = owners.peek().is_none();
    let subjects: Vec<&Subject> = owners.map(|m| &m.subject).collect();
    let added =
        new.spec.owners.iter().any(|owner| !subjects.contains(&&with_namespace(owner, view.namespace())));
    if first || !added {
        return Ok(());
    }
    let author = new.spec.last_writer.as_ref().map(Caller::from).ok_or_else(|| {
        Refusal::new("spec.lastWriter", "nobody vouches for this change: apply it again through the webhook")
    })?;
    owner_only(&author, view, "spec.owners", "change owners")
}

fn change(author: &Caller, view: &VaultView<'_>, old: &Vault, new: &Vault) -> Result<(), Refusal> {
    let (a, b) = (&old.spec, &new.spec);
    let is_default = |v: &Vault| {
        v.metadata.annotations.as_ref().and_then(|all| all.get(annotations::DEFAULT_VAULT)).cloned()
    };
    let settings = [
        ("spec.owners", a.owners != b.owners),
        ("spec.sharing", a.sharing != b.sharing),
        ("spec.custody", a.custody != b.custody),
        ("spec.access", a.access != b.access),
        ("spec.roles", a.roles != b.roles),
        ("spec.memberTTL", a.member_ttl != b.member_ttl),
        ("spec.allowSync", a.allow_sync != b.allow_sync),
        ("metadata.annotations", is_default(old) != is_default(new)),
    ];
    for (field, changed) in settings {
        if changed {
            owner_only(author, view, field, &format!("change {field}"))?;
        }
    }
    if a.rotation != b.rotation {
        view.first_allowed(author, |standing| {
            let may = standing.role.allows(Verb::Rotate) && standing.role.covers_all();
            may.then_some(()).ok_or_else(|| view.lacks(standing, Verb::Rotate, "spec.rotation"))
        })?;
    }
    roles_in_use(view, new)?;
    room_for_narrowed(view, new)?;
    an_owner_stays(view, old, new)
}

fn owner_only(author: &Caller, view: &VaultView<'_>, field: &str, what: &str) -> Result<(), Refusal> {
    view.first_allowed(author, |standing| {
        standing.role.is_owner().then_some(()).ok_or_else(|| {
            let message = format!(
                "only an owner of vault '{}' may {what}; member '{}' is '{}'. {}",
                view.name(),
                standing.member.name,
                standing.role.name(),
                view.ask_an_owner("")
            );
            Refusal::new(field, message)
        })
    })?;
    Ok(())
}

fn roles_in_use(view: &VaultView<'_>, new: &Vault) -> Result<(), Refusal> {
    for role in &view.vault.spec.roles {
        if new.spec.roles.iter().any(|r| r.name == role.name) {
            continue;
        }
        let holders: Vec<_> =
            view.members.iter().filter(|m| m.role == role.name).map(|m| m.name.as_str()).collect();
        if !holders.is_empty() {
            let message = format!(
                "role '{}' is in use by {}: give them another role first",
                role.name,
                holders.join(", ")
            );
            return Err(Refusal::new("spec.roles", message));
        }
    }
    Ok(())
}

/// A role that is narrowed restricts all of its holders at once; with more than there may be the keys could never be turned
/// over.
fn room_for_narrowed(view: &VaultView<'_>, new: &Vault) -> Result<(), Refusal> {
    let restricted = |vault: &Vault| {
        let holds = |m: &&crate::MemberView| {
            roles::role(&vault.spec, &m.role).is_some_and(|role| role.is_restricted())
        };
        view.members.iter().filter(holds).count()
    };
    let count = restricted(new);
    if count <= MAX_RESTRICTED_MEMBERS || count <= restricted(view.vault) {
        return Ok(());
    }
    let message = format!(
        "{count} members would have a role that covers only some Connections; at most {MAX_RESTRICTED_MEMBERS}: give \
         some of them another role first"
    );
    Err(Refusal::new("spec.roles", message))
}

fn an_owner_stays(view: &VaultView<'_>, old: &Vault, new: &Vault) -> Result<(), Refusal> {
    let namespace = view.namespace();
    let listed = |vault: &Vault, subject: &Subject| {
        vault.spec.owners.iter().any(|o| with_namespace(o, namespace) == *subject)
    };
    let taken_out = |subject: &Subject| listed(old, subject) && !listed(new, subject);
    let stays =
        view.members.iter().any(|m| m.is_active() && m.role == roles::OWNER && !taken_out(&m.subject));
    if stays || !new.spec.owners.is_empty() || old.spec.owners.is_empty() {
        return Ok(());
    }
    let message =
        format!("vault '{}' must keep an owner: list another before taking out the last", view.name());
    Err(Refusal::new("spec.owners", message))
}

fn well_formed(new: &Vault) -> Result<(), Refusal> {
    if let coffer_crds::NamespaceAccess::Unknown(_) = new.spec.access.namespaces {
        let message = format!("not understood: {}", coffer_crds::NamespaceAccess::ACCEPTED);
        return Err(Refusal::new("spec.access.namespaces", message));
    }
    Ok(())
}
