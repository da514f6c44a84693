//! Writes of Connections.

use super::{Refusal, Standing, VaultView};
use crate::identity::{Caller, MemberView};
use crate::release::{Absence, Denial, alias};
use crate::scope::Scope;
use coffer_crds::{Connection, EnvelopeSpec, Sharing, Verb};

/// Whether the author may create (`old` is `None`), change, or delete (`new` is `None`) a Connection.
///
/// Values and settings take `write` on a Connection whose scope one is in; `members` takes `share` there; `owner` is
/// changed by the owner alone, or by a vault owner when the owner is gone; deletion is for owners and admins of the
/// vault and for the Connection's owner. A creator is always the owner: [`owner_for`] names it.
///
/// # Errors
/// [`Refusal`].
pub fn connection(
    author: &Caller,
    view: &VaultView<'_>,
    old: Option<&Connection>,
    new: Option<&Connection>,
) -> Result<(), Refusal> {
    match (old, new) {
        (None, Some(new)) => create(author, view, new),
        (Some(old), Some(new)) => {
            let recorded =
                Recorded { owner: owner_of(old), scope: Scope::of_connection(old, view.vault.spec.sharing) };
            let fields = settings(old, new);
            change(author, view, &recorded, new, fields)
        }
        (Some(old), None) => delete(author, view, old),
        (None, None) => Ok(()),
    }
}

/// Whether a live Connection may take effect, given what its Envelope records (the operator's second look);
/// `values_changed` says whether its sealed bytes differ from those recorded. The author is `spec.lastWriter`.
///
/// # Errors
/// [`Refusal`].
pub fn connection_recorded(
    view: &VaultView<'_>,
    recorded: Option<&EnvelopeSpec>,
    new: &Connection,
    values_changed: bool,
) -> Result<(), Refusal> {
    let author = || {
        new.spec.last_writer.as_ref().map(Caller::from).ok_or_else(|| {
            Refusal::new(
                "spec.lastWriter",
                "nobody vouches for this change: apply it again through the webhook",
            )
        })
    };
    let Some(recorded) = recorded else {
        return create(&author()?, view, new);
    };
    let scope = Scope::of_envelope(recorded);
    let wanted = Scope::of_connection(new, view.vault.spec.sharing);
    let same = recorded.owner.name == owner_of(new) && scope.same_as(&wanted, owner_of(new));
    if same && !values_changed {
        return Ok(());
    }
    let recorded = Recorded { owner: &recorded.owner.name, scope };
    let author = author()?;
    // With `members` absent the scope follows the vault's `sharing`, whose change the Connection's author never saw.
    // Narrowing harms nobody; widening to the vault's default is the Connection's owner's, as creating it was.
    if new.spec.members.is_none()
        && recorded.owner == owner_of(new)
        && !values_changed
        && let Ok(standings) = view.standings(&author)
    {
        let narrowed = wanted.is_owner_only(recorded.owner);
        let by_owner = standings.iter().any(|s| s.member.name == recorded.owner);
        if narrowed || by_owner {
            return Ok(());
        }
    }
    change(&author, view, &recorded, new, values_changed.then_some("spec.sealedData"))
}

/// The membership that owns what this author creates: the first that may write a Connection of that name.
///
/// # Errors
/// [`Refusal`]: no membership, or none with `write`.
pub fn owner_for<'a>(
    author: &Caller,
    view: &VaultView<'a>,
    connection_name: &str,
) -> Result<&'a MemberView, Refusal> {
    let standing = view.first_member(author, |standing| may_create(view, standing, connection_name))?;
    Ok(standing.member)
}

/// What is in effect before a change.
struct Recorded<'a> {
    owner: &'a str,
    scope: Scope,
}

fn create(author: &Caller, view: &VaultView<'_>, new: &Connection) -> Result<(), Refusal> {
    let owner = owner_of(new);
    let sharing = view.vault.spec.sharing;
    view.first_member(author, |standing| {
        may_create(view, standing, name_of(new))?;
        if standing.member.name != owner {
            let message = format!(
                "whoever creates a Connection owns it: leave spec.owner out, or write '{}'",
                standing.member.name
            );
            return Err(Refusal::new("spec.owner", message));
        }
        let default = Scope::of(None, sharing);
        let wanted = Scope::of_connection(new, sharing);
        let widened = !wanted.same_as(&default, owner) && !wanted.is_owner_only(owner);
        if widened && !standing.role.allows_own(Verb::Share) {
            return Err(view.lacks(standing, Verb::Share, "spec.members"));
        }
        Ok(())
    })?;
    Ok(())
}

fn change(
    author: &Caller,
    view: &VaultView<'_>,
    recorded: &Recorded<'_>,
    new: &Connection,
    setting: Option<&'static str>,
) -> Result<(), Refusal> {
    let owner_changed = recorded.owner != owner_of(new);
    let wanted = Scope::of_connection(new, view.vault.spec.sharing);
    let scope_changed = !recorded.scope.same_as(&wanted, recorded.owner);
    if view.is_operator(author) {
        return operators(view, recorded, new, setting, scope_changed);
    }
    if owner_changed {
        transfer(author, view, recorded, new)?;
    }
    if scope_changed {
        touch(author, view, recorded, new, Verb::Share, "spec.members")?;
    }
    if let Some(field) = setting {
        touch(author, view, recorded, new, Verb::Write, field)?;
    }
    Ok(())
}

/// The operator writes one thing here: it passes what a removed member owned to an owner of the vault.
fn operators(
    view: &VaultView<'_>,
    recorded: &Recorded<'_>,
    new: &Connection,
    setting: Option<&'static str>,
    scope_changed: bool,
) -> Result<(), Refusal> {
    if let Some(field) = setting {
        return Err(Refusal::new(field, "the operator writes no values or settings"));
    }
    if scope_changed {
        return Err(Refusal::new("spec.members", "the operator changes no scope"));
    }
    if recorded.owner != owner_of(new) && view.member(recorded.owner).is_some_and(MemberView::is_active) {
        return Err(Refusal::new("spec.owner", "the operator passes on only what an owner left behind"));
    }
    Ok(())
}

fn transfer(
    author: &Caller,
    view: &VaultView<'_>,
    recorded: &Recorded<'_>,
    new: &Connection,
) -> Result<(), Refusal> {
    let heir = owner_of(new);
    if !view.member(heir).is_some_and(MemberView::is_active) {
        let message = format!("'{heir}' is no Active member of vault '{}': name one that is", view.name());
        return Err(Refusal::new("spec.owner", message));
    }
    let gone = !view.member(recorded.owner).is_some_and(MemberView::is_active);
    view.first_allowed(author, |standing| {
        if standing.member.name == recorded.owner || (gone && standing.role.is_owner()) {
            return Ok(());
        }
        if let Some(hidden) = hidden(view, recorded, standing, new) {
            return Err(hidden);
        }
        let who = match (recorded.owner, gone) {
            ("", _) | (_, true) => "an owner of the vault, as its owner is gone".to_owned(),
            (owner, false) => format!("its owner '{owner}'"),
        };
        Err(Refusal::new("spec.owner", format!("only {who} may transfer '{}'", name_of(new))))
    })?;
    Ok(())
}

/// `write` or `share` on a Connection whose scope one is in. A value is a member's: nobody gives one by break glass.
fn touch(
    author: &Caller,
    view: &VaultView<'_>,
    recorded: &Recorded<'_>,
    new: &Connection,
    verb: Verb,
    field: &str,
) -> Result<(), Refusal> {
    let gone = !view.member(recorded.owner).is_some_and(MemberView::is_active);
    let may = |standing: &Standing<'_>| {
        let name = &standing.member.name;
        let owns = name == recorded.owner;
        if let Some(hidden) = hidden(view, recorded, standing, new) {
            return Err(hidden);
        }
        let allowed = if owns { standing.role.allows_own(verb) } else { standing.role.allows(verb) };
        if !allowed {
            return Err(view.lacks(standing, verb, field));
        }
        if !standing.role.covers(name_of(new)) {
            return Err(not_covered(standing, new, field));
        }
        // Somebody must be able to look after what a member left behind.
        let heir = gone && standing.role.is_owner();
        if recorded.scope.holds(name, recorded.owner) || heir {
            return Ok(());
        }
        let denial = Denial::OutOfScope {
            alias: alias(new).to_owned(),
            member: name.clone(),
            allowed: match &recorded.scope {
                Scope::Listed(names) if !names.is_empty() => names.clone(),
                Scope::Listed(_) | Scope::All => vec![recorded.owner.to_owned()],
            },
        };
        Err(Refusal::new(field, denial.to_string()))
    };
    let standing =
        if verb == Verb::Write { view.first_member(author, may) } else { view.first_allowed(author, may) };
    standing.map(drop)
}

fn delete(author: &Caller, view: &VaultView<'_>, old: &Connection) -> Result<(), Refusal> {
    let recorded =
        Recorded { owner: owner_of(old), scope: Scope::of_connection(old, view.vault.spec.sharing) };
    view.first_allowed(author, |standing| {
        if standing.role.is_admin() || standing.member.name == recorded.owner {
            return Ok(());
        }
        if let Some(hidden) = hidden(view, &recorded, standing, old) {
            return Err(hidden);
        }
        let message = format!(
            "'{}' may be deleted by its owner '{}' and by owners and admins of vault '{}'",
            name_of(old),
            recorded.owner,
            view.name()
        );
        Err(Refusal::new("", message))
    })?;
    Ok(())
}

fn may_create(view: &VaultView<'_>, standing: &Standing<'_>, connection_name: &str) -> Result<(), Refusal> {
    if !standing.role.allows_own(Verb::Write) {
        return Err(view.lacks(standing, Verb::Write, ""));
    }
    if !standing.role.covers(connection_name) {
        let message = format!(
            "role '{}' of member '{}' does not cover a Connection named '{connection_name}'",
            standing.role.name(),
            standing.member.name
        );
        return Err(Refusal::new("metadata.name", message));
    }
    Ok(())
}

/// In a vault of `sharing: Owner`, what was never shared looks absent to everybody but its owner; owners of the vault
/// see what its owner left behind.
fn hidden(
    view: &VaultView<'_>,
    recorded: &Recorded<'_>,
    standing: &Standing<'_>,
    connection: &Connection,
) -> Option<Refusal> {
    let gone = !view.member(recorded.owner).is_some_and(MemberView::is_active);
    let heir = gone && standing.role.is_owner();
    let unshared = view.vault.spec.sharing == Sharing::Owner && recorded.scope.is_owner_only(recorded.owner);
    (unshared && standing.member.name != recorded.owner && !heir).then(|| {
        let denial =
            Denial::NotFound { reference: name_of(connection).to_owned(), because: Absence::NeverShared };
        Refusal::new("", denial.to_string())
    })
}

fn not_covered(standing: &Standing<'_>, connection: &Connection, field: &str) -> Refusal {
    let denial = Denial::NotCovered {
        alias: alias(connection).to_owned(),
        role: standing.role.name().to_owned(),
        member: standing.member.name.clone(),
    };
    Refusal::new(field, denial.to_string())
}

/// The first setting that differs, of those that take `write`.
fn settings(old: &Connection, new: &Connection) -> Option<&'static str> {
    let (a, b) = (&old.spec, &new.spec);
    [
        ("spec.sealedData", a.sealed_data != b.sealed_data),
        ("spec.vault", a.vault != b.vault),
        ("spec.provider", a.provider != b.provider),
        ("spec.connectionName", a.connection_name != b.connection_name),
        ("spec.alias", a.alias != b.alias),
        ("spec.type", a.type_ != b.type_),
        ("spec.expiresAt", a.expires_at != b.expires_at),
        ("spec.ttl", a.ttl != b.ttl),
        ("spec.inject", a.inject != b.inject),
        ("spec.onChange", a.on_change != b.on_change),
        ("spec.sync", a.sync != b.sync),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

fn owner_of(connection: &Connection) -> &str {
    connection.spec.owner.as_deref().unwrap_or_default()
}

fn name_of(connection: &Connection) -> &str {
    connection.metadata.name.as_deref().unwrap_or_default()
}
