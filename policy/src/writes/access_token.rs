//! Writes of AccessTokens.

use super::{Refusal, VaultView};
use crate::identity::{Caller, MemberView};
use crate::roles::role;
use coffer_crds::{AccessToken, Verb};

/// Whether the author may create (`old` is `None`), change, or delete (`new` is `None`) an AccessToken of this vault.
///
/// A member makes and revokes its own; for an external member, which cannot, whoever may invite it does. Anybody who
/// may remove the member may revoke its tokens. A token is never changed.
///
/// # Errors
/// [`Refusal`].
pub fn access_token(
    author: &Caller,
    view: &VaultView<'_>,
    old: Option<&AccessToken>,
    new: Option<&AccessToken>,
) -> Result<(), Refusal> {
    if view.is_operator(author) {
        return Ok(());
    }
    let (token, revoking) = match (old, new) {
        (None, Some(token)) => (token, false),
        (Some(token), None) => (token, true),
        (Some(old), Some(new)) if old.spec == new.spec => return Ok(()),
        (Some(_), Some(_)) => {
            return Err(Refusal::new("spec", "a token never changes: delete it and make another"));
        }
        (None, None) => return Ok(()),
    };
    let name = token.spec.member.as_str();
    let Some(member) = view.member(name) else {
        if revoking {
            return by_inviter(author, view, None);
        }
        let message = format!("'{name}' is no member of vault '{}'", view.name());
        return Err(Refusal::new("spec.member", message));
    };
    if member.is_active() && !member.is_group() && member.is_of(author) {
        return Ok(());
    }
    let external = matches!(member.subject, coffer_crds::Subject::External(_));
    if revoking || external {
        return by_inviter(author, view, Some(member));
    }
    let message = format!("only member '{name}' itself may make tokens for it");
    Err(Refusal::new("spec.member", message))
}

fn by_inviter(author: &Caller, view: &VaultView<'_>, member: Option<&MemberView>) -> Result<(), Refusal> {
    view.first_allowed(author, |standing| {
        let target = member.and_then(|m| role(&view.vault.spec, &m.role));
        let holds = target.is_none_or(|target| standing.role.holds(&target));
        (standing.role.allows(Verb::Invite) && holds)
            .then_some(())
            .ok_or_else(|| view.lacks(standing, Verb::Invite, "spec.member"))
    })?;
    Ok(())
}
