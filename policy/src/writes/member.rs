//! Writes of VaultMembers.

mod grant;

use super::{Refusal, VaultView};
use crate::identity::{Caller, MemberState, MemberView, with_namespace};
use crate::membership::{self, Event};
use crate::roles::{self, role};
use coffer_crds::{Acceptance, CustodyPolicy, RegisteredMember, Subject, VaultMember};
use grant::{known_role, listed_owner, may_grant, may_remove, operator_may, room_for_restricted};

/// Whether the author may create (`old` is `None`), change, or delete (`new` is `None`) a VaultMember.
///
/// Invites, and every change of what a membership grants, take the verb `invite` and a role that holds both the old and
/// the new one. `acceptance`, `declined` and `keyChange` are the subject's. The last owner stays. The operator may make,
/// change and delete members, but an owner only of those that `Vault.spec.owners` lists.
///
/// # Errors
/// [`Refusal`].
pub fn member(
    author: &Caller,
    view: &VaultView<'_>,
    old: Option<&VaultMember>,
    new: Option<&VaultMember>,
) -> Result<(), Refusal> {
    match (old, new) {
        (None, Some(new)) => invite(author, view, new),
        (Some(old), Some(new)) => change(author, view, old, new),
        (Some(old), None) => remove(author, view, old),
        (None, None) => Ok(()),
    }
}

/// Whether what a live VaultMember grants may take effect, given what the register holds of it (the operator's second
/// look). A role that the register does not hold is vouched for by `spec.invitedBy`, an acceptance by `acceptance.by`.
/// For entries of `Vault.spec.owners` the Vault's own author vouches ([`super::vault_recorded`]).
/// A ServiceAccount needs no acceptance here: whether it accepted is a fact that the operator observes.
///
/// # Errors
/// [`Refusal`].
pub fn member_recorded(
    view: &VaultView<'_>,
    recorded: Option<&RegisteredMember>,
    new: &VaultMember,
) -> Result<(), Refusal> {
    let recorded = recorded.filter(|r| Some(&r.uid) == new.metadata.uid.as_ref());
    let wanted = known_role(view, &new.spec.role)?;
    let subject = with_namespace(&new.spec.subject, view.namespace());
    if wanted.is_owner() && listed_owner(view, &subject) {
        return super::vault_recorded(view, view.vault);
    }
    if recorded.is_none_or(|r| r.role != new.spec.role) {
        let by = inviter(new)?;
        if !view.is_operator(&by) || wanted.is_owner() {
            let before = recorded.and_then(|r| held_before(view, &r.role));
            may_grant(&by, view, "spec.role", &wanted, before.as_ref())?;
        }
    }
    match (&new.spec.acceptance, recorded) {
        (Some(acceptance), None) if !matches!(subject, Subject::External(_)) => {
            let by = acceptance.by.as_ref().map(Caller::from).unwrap_or_default();
            if view.is_operator(&by) {
                return Ok(());
            }
            subject_only(&by, view, new, "spec.acceptance", "accept")
        }
        (_, _) => Ok(()),
    }
}

/// Whether a registered member that was Suspended or Expired ([`crate::identity::on_hold`]) may come back into force
/// (the operator's second look): `spec.invitedBy`, stamped anew when `suspended`, `expiresAt` or `ttl` changes, must be
/// somebody who may grant both the role that the register holds and the one that is written.
///
/// # Errors
/// [`Refusal`].
pub fn member_resumed(
    view: &VaultView<'_>,
    recorded: &RegisteredMember,
    new: &VaultMember,
) -> Result<(), Refusal> {
    let wanted = known_role(view, &new.spec.role)?;
    let by = inviter(new)?;
    if view.is_operator(&by) {
        return operator_may(view, &wanted, &with_namespace(&new.spec.subject, view.namespace()));
    }
    let field = if new.spec.expires_at.is_some() { "spec.expiresAt" } else { "spec.suspended" };
    may_grant(&by, view, field, &wanted, held_before(view, &recorded.role).as_ref())
}

/// Whether what `spec.invitedBy` vouches for differs: the webhook stamps it anew then, else keeps it.
pub fn grant_changed(old: &VaultMember, new: &VaultMember) -> bool {
    granted_field(old, new).is_some()
}

/// Whether no other Active member is an owner: this one cannot leave, be demoted, expire or be suspended.
pub fn is_last_owner(members: &[MemberView], name: &str) -> bool {
    let is_owner = |m: &&MemberView| m.role == roles::OWNER && m.is_active();
    members.iter().filter(is_owner).any(|m| m.name == name)
        && !members.iter().filter(is_owner).any(|m| m.name != name)
}

fn inviter(member: &VaultMember) -> Result<Caller, Refusal> {
    member.spec.invited_by.as_ref().map(Caller::from).ok_or_else(|| {
        Refusal::new(
            "spec.invitedBy",
            "nobody vouches for this membership: apply it again through the webhook",
        )
    })
}

fn invite(author: &Caller, view: &VaultView<'_>, new: &VaultMember) -> Result<(), Refusal> {
    let wanted = known_role(view, &new.spec.role)?;
    let subject = with_namespace(&new.spec.subject, view.namespace());
    if view.is_operator(author) {
        return operator_may(view, &wanted, &subject);
    }
    may_grant(author, view, "spec.role", &wanted, None)?;
    has_key_of_its_own(view, &subject, None)?;
    room_for_restricted(view, &wanted, name_of(new))?;
    for (field, set) in [
        ("spec.acceptance", new.spec.acceptance.is_some()),
        ("spec.declined", new.spec.declined),
        ("spec.keyChange", new.spec.key_change.is_some()),
    ] {
        if set {
            return Err(Refusal::new(field, "an invite is accepted after it is made, by its subject"));
        }
    }
    let twin = view
        .members
        .iter()
        .find(|m| m.subject == subject && !m.uid.is_empty() && !matches!(m.subject, Subject::External(_)));
    match twin.filter(|m| Some(&m.name) != new.metadata.name.as_ref()) {
        Some(twin) => {
            let message =
                format!("this subject is member '{}' of vault '{}' already", twin.name, view.name());
            Err(Refusal::new("spec.subject", message))
        }
        None => Ok(()),
    }
}

fn change(
    author: &Caller,
    view: &VaultView<'_>,
    old: &VaultMember,
    new: &VaultMember,
) -> Result<(), Refusal> {
    let (a, b) = (&old.spec, &new.spec);
    let namespace = view.namespace();
    if a.vault != b.vault || with_namespace(&a.subject, namespace) != with_namespace(&b.subject, namespace) {
        let message = "vault and subject never change: delete this member and make another";
        return Err(Refusal::new("spec.subject", message));
    }
    if let Some(field) = granted_field(old, new) {
        let wanted = known_role(view, &b.role)?;
        let before = held_before(view, &a.role);
        if view.is_operator(author) {
            operator_may(view, &wanted, &with_namespace(&b.subject, namespace))?;
        } else {
            may_grant(author, view, field, &wanted, before.as_ref())?;
            room_for_restricted(view, &wanted, name_of(new))?;
        }
        keep_last_owner(view, old, new)?;
    }
    if view.is_operator(author) {
        return Ok(());
    }
    own_fields(author, view, old, new)
}

fn own_fields(
    author: &Caller,
    view: &VaultView<'_>,
    old: &VaultMember,
    new: &VaultMember,
) -> Result<(), Refusal> {
    let (a, b) = (&old.spec, &new.spec);
    let proof = |m: &VaultMember| m.spec.acceptance.as_ref().map(|a| (a.public_key.clone(), a.proof.clone()));
    if proof(old) != proof(new) {
        if a.acceptance.is_some() && !answers_challenge(old, new) {
            let message = "accepted already, once and for all: change the key through spec.keyChange";
            return Err(Refusal::new("spec.acceptance", message));
        }
        still_open(view, old)?;
        has_key_of_its_own(view, &b.subject, b.acceptance.as_ref())?;
        let pinned = matches!(b.subject, Subject::External(_)) && b.key_fingerprint.is_some();
        // The proof of a pinned key speaks for itself; whoever delivers it does not matter.
        if !pinned {
            subject_only(author, view, new, "spec.acceptance", "accept")?;
        }
    }
    if a.declined != b.declined {
        let state = view.member(name_of(old)).map_or(MemberState::Invited, |member| member.state);
        if a.declined || a.acceptance.is_some() || !membership::allows(state, Event::Decline) {
            let message = "forward only: an answered invite is not answered again; ask for a new one";
            return Err(Refusal::new("spec.declined", message));
        }
        subject_only(author, view, new, "spec.declined", "decline")?;
    }
    if a.key_change != b.key_change {
        subject_only(author, view, new, "spec.keyChange", "change its key")?;
        if b.key_change.is_none() {
            let message = "stays: it names the key in force; write the next change in its place";
            return Err(Refusal::new("spec.keyChange", message));
        }
        let known = view.member(name_of(old));
        if !known.is_some_and(|member| membership::allows(member.state, Event::ChangeKey)) {
            return Err(Refusal::new("spec.keyChange", "only an Active member changes its key"));
        }
    }
    Ok(())
}

/// Whether all that changed of an acceptance is the proof that it still lacked, or that was wrong: as long as the operator
/// asks, it may be answered, or anybody's wrong answer would spoil the invite. Which keys may come without a proof at
/// first is the webhook's and the operator's to say: a key that can sign may not.
fn answers_challenge(old: &VaultMember, new: &VaultMember) -> bool {
    let (Some(before), Some(after)) = (&old.spec.acceptance, &new.spec.acceptance) else { return false };
    let asked = old.status.as_ref().is_some_and(|status| status.challenge.is_some());
    before.public_key.is_some()
        && before.public_key == after.public_key
        && (before.proof.is_none() || asked)
        && after.proof.is_some()
}

fn remove(author: &Caller, view: &VaultView<'_>, old: &VaultMember) -> Result<(), Refusal> {
    if view.is_operator(author) {
        return Ok(());
    }
    let name = name_of(old);
    let own = view.member(name).filter(|m| !m.is_group() && m.is_of(author));
    match own {
        // Leaving, or turning an invite down, takes no role.
        Some(own) if !matches!(own.state, MemberState::Suspended | MemberState::Expired) => {}
        Some(_) | None => {
            let before = held_before(view, &old.spec.role);
            may_remove(author, view, before.as_ref(), name)?;
        }
    }
    let subject = with_namespace(&old.spec.subject, view.namespace());
    let active = view.member(name).is_some_and(MemberView::is_active);
    if active && is_last_owner(view.members, name) {
        return Err(Refusal::new("", last_owner(view, name, "leave")));
    }
    if old.spec.role == roles::OWNER && listed_owner(view, &subject) {
        return Err(Refusal::new("", still_listed(view, name)));
    }
    Ok(())
}

fn keep_last_owner(view: &VaultView<'_>, old: &VaultMember, new: &VaultMember) -> Result<(), Refusal> {
    let name = name_of(old);
    let (a, b) = (&old.spec, &new.spec);
    let ends = |m: &VaultMember| (m.spec.expires_at.clone(), m.spec.ttl.clone());
    let (field, what) = if a.role != b.role {
        ("spec.role", "be demoted")
    } else if !a.suspended && b.suspended {
        ("spec.suspended", "be suspended")
    } else if ends(old) != ends(new) && ends(new) != (None, None) {
        ("spec.expiresAt", "expire")
    } else {
        return Ok(());
    };
    if is_last_owner(view.members, name) {
        return Err(Refusal::new(field, last_owner(view, name, what)));
    }
    let subject = with_namespace(&b.subject, view.namespace());
    if a.role == roles::OWNER && b.role != roles::OWNER && listed_owner(view, &subject) {
        return Err(Refusal::new(field, still_listed(view, name)));
    }
    Ok(())
}

fn last_owner(view: &VaultView<'_>, name: &str, what: &str) -> String {
    format!(
        "'{name}' is the last owner of vault '{}' and cannot {what}: make another owner first, or delete the vault",
        view.name()
    )
}

fn still_listed(view: &VaultView<'_>, name: &str) -> String {
    format!("member '{name}' is listed in spec.owners of vault '{}': take it out there first", view.name())
}

/// In a `SelfOnly` vault every member has a key of its own. `acceptance` is `None` while the invite is judged.
fn has_key_of_its_own(
    view: &VaultView<'_>,
    subject: &Subject,
    acceptance: Option<&Acceptance>,
) -> Result<(), Refusal> {
    if view.vault.spec.custody != CustodyPolicy::SelfOnly {
        return Ok(());
    }
    let only = format!("vault '{}' takes only members with a key of their own", view.name());
    match subject {
        Subject::ServiceAccount(_) | Subject::Group(_) => {
            Err(Refusal::new("spec.subject", format!("{only}; ServiceAccounts and groups have none")))
        }
        Subject::User(_) | Subject::External(_) => match acceptance {
            Some(acceptance) if acceptance.public_key.is_none() => {
                Err(Refusal::new("spec.acceptance.publicKey", format!("{only}: accept with a public key")))
            }
            Some(_) | None => Ok(()),
        },
    }
}

fn subject_only(
    author: &Caller,
    view: &VaultView<'_>,
    member: &VaultMember,
    field: &str,
    what: &str,
) -> Result<(), Refusal> {
    let subject = with_namespace(&member.spec.subject, view.namespace());
    let is_subject = match view.member(name_of(member)) {
        Some(known) => known.is_of(author),
        // Not in the view yet: by the object's own subject.
        None => MemberView::declared(view.vault, &subject, name_of(member).to_owned()).is_of(author),
    };
    if is_subject {
        return Ok(());
    }
    let message = format!(
        "only the subject of member '{}' may {what}; '{}' is somebody else",
        name_of(member),
        author.username
    );
    Err(Refusal::new(field, message))
}

fn still_open(view: &VaultView<'_>, old: &VaultMember) -> Result<(), Refusal> {
    let state = view.member(name_of(old)).map_or(MemberState::Invited, |member| member.state);
    if membership::allows(state, Event::Accept) {
        return Ok(());
    }
    let why = match state {
        MemberState::Declined => "was declined",
        MemberState::Expired => "has expired",
        MemberState::Suspended => "is suspended",
        MemberState::Invited | MemberState::Accepted | MemberState::Active => "is open no more",
    };
    Err(Refusal::new("spec.acceptance", format!("the invite {why}. {}", view.ask_an_owner("for a new one"))))
}

/// A role that is gone held something once: only an owner may say what comes after it.
fn held_before(view: &VaultView<'_>, name: &str) -> Option<roles::Role> {
    role(&view.vault.spec, name).or_else(|| role(&view.vault.spec, roles::OWNER))
}

/// The first field that differs of those that only an inviter may change.
fn granted_field(old: &VaultMember, new: &VaultMember) -> Option<&'static str> {
    let (a, b) = (&old.spec, &new.spec);
    [
        ("spec.role", a.role != b.role),
        ("spec.expiresAt", a.expires_at != b.expires_at),
        ("spec.ttl", a.ttl != b.ttl),
        ("spec.inviteTTL", a.invite_ttl != b.invite_ttl),
        ("spec.keyFingerprint", a.key_fingerprint != b.key_fingerprint),
        ("spec.rateLimit", a.rate_limit != b.rate_limit),
        ("spec.suspended", a.suspended != b.suspended),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

fn name_of(member: &VaultMember) -> &str {
    member.metadata.name.as_deref().unwrap_or_default()
}
