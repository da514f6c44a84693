//! How long a membership, or an invite to one, lasts.

use coffer_crds::{Acceptance, Vault, VaultMember, duration};
use jiff::{SignedDuration, Timestamp};

/// How long an invite waits when it does not say: 48 hours.
pub const DEFAULT_INVITE_TTL: SignedDuration = SignedDuration::from_hours(48);

/// When the membership ends, exact to the second (T21): `expiresAt`, else `ttl`, else the vault's `memberTTL` (not for
/// owners), both counted from acceptance; for an invite also `inviteTTL`, counted from its creation. `None` = never.
/// A duration that cannot be read (written past the schema) has ended already.
pub fn ends_at(
    member: &VaultMember,
    role: &str,
    active_since: Option<Timestamp>,
    vault: &Vault,
) -> Option<Timestamp> {
    let spec = &member.spec;
    let vault_ttl = vault.spec.member_ttl.as_deref().filter(|_| role != crate::roles::OWNER);
    let fixed = spec.expires_at.as_ref().map(|t| t.0);
    match active_since {
        Some(since) => fixed.or_else(|| spec.ttl.as_deref().or(vault_ttl).map(|ttl| after(since, ttl))),
        None if spec.acceptance.as_ref().is_some_and(is_whole) => fixed,
        None => {
            let invite = created_at(member).map(|created| match spec.invite_ttl.as_deref() {
                Some(ttl) => after(created, ttl),
                None => created.saturating_add(DEFAULT_INVITE_TTL).unwrap_or(Timestamp::MAX),
            });
            fixed.into_iter().chain(invite).min()
        }
    }
}

/// Whether an acceptance lacks nothing: a key that still owes its proof has not accepted.
fn is_whole(acceptance: &Acceptance) -> bool {
    acceptance.public_key.is_none() || acceptance.proof.is_some()
}

fn after(start: Timestamp, ttl: &str) -> Timestamp {
    duration::parse(ttl).map_or(Timestamp::MIN, |ttl| start.saturating_add(ttl).unwrap_or(Timestamp::MAX))
}

fn created_at(member: &VaultMember) -> Option<Timestamp> {
    member.metadata.creation_timestamp.as_ref().map(|t| t.0)
}
