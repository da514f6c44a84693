//! Statuses of members: phases, conditions and the vault keys that are wrapped for them.

use coffer_crds::{
    EnvelopeMember, EpochCause, MemberPhase, RegisteredMember, VaultMember, VaultMemberStatus,
    WrappedVaultKey, conditions, conditions::reason,
};
use coffer_envelope::OpenKeyring;
use coffer_policy::roles::role;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use rand_core::CryptoRng;

use super::{
    super::fetch::Facts,
    keys::challenge as challenge_for,
    register::{Register, Verdict},
    status::Counts,
};
use crate::{report, report::Wanted, standing::Out};

/// Statuses to write.
#[derive(Default)]
pub(super) struct Statuses {
    /// Those that lose wrapped keys.
    pub(super) taken: Vec<(VaultMember, VaultMemberStatus)>,
    /// All others that change.
    pub(super) given: Vec<(VaultMember, VaultMemberStatus)>,
    /// For the Vault's status.
    pub(super) counts: Counts,
}

/// Everybody who has the newest vault key wrapped, or had when their VaultMember went, and is not to have the next.
///
/// The wrapped keys in a member's status are the evidence for those who still exist: they are taken away only after
/// the Keyring holds the new epoch, so that no crash in between can make the operator forget it.
pub(super) fn causes(facts: &Facts, keys: &OpenKeyring, register: &Register) -> Vec<EpochCause> {
    let cause = |name: &str, uid: &str, reason: &str| EpochCause {
        reason: String::from(reason),
        member: Some(EnvelopeMember { name: String::from(name), uid: String::from(uid) }),
    };
    let mut causes: Vec<EpochCause> = register
        .removed
        .iter()
        .filter(|entry| role(&facts.vault.spec, &entry.role).is_none_or(|role| role.holds_vault_key()))
        .map(|entry| cause(&entry.name, &entry.uid, reason::MEMBER_REMOVED))
        .collect();
    for member in facts.members() {
        let name = member.name_any();
        let Some(verdict) = register.verdicts.get(&name) else { continue };
        let status = member.status.iter().flat_map(|status| &status.wrapped_keys);
        let Some(newest) = status.into_iter().find(|wrapped| wrapped.epoch == keys.newest()) else {
            continue;
        };
        if let Some(reason) = loses(keys, &name, verdict, newest) {
            causes.push(cause(&name, &member.uid().unwrap_or_default(), reason));
        }
    }
    causes
}

/// Whether every member that is to have the vault key holds that of every epoch. One whose key is not at hand can be
/// given none, and keeps nobody waiting.
pub(super) fn all_wrapped(facts: &Facts, keys: &OpenKeyring, register: &Register) -> bool {
    facts.members().all(|member| {
        let Some(verdict) = register.verdicts.get(&member.name_any()) else { return true };
        let (Some(entry), Ok(role)) = (&verdict.entry, &verdict.standing) else { return true };
        if !role.holds_vault_key() || !keys.can_wrap(entry, verdict.key.as_ref()) {
            return true;
        }
        let held = member.status.iter().flat_map(|status| &status.wrapped_keys);
        let held: Vec<&WrappedVaultKey> = held.collect();
        keys.epochs().all(|epoch| {
            held.iter().any(|wrapped| wrapped.epoch == epoch.epoch && keys.is_wrapped(entry, wrapped))
        })
    })
}

/// Why a member that has the newest vault key wrapped is not to have the next. A wrap that is not this Keyring's, for
/// the member as the Keyring has it, says nothing: a vault of that name before this one may have left it.
fn loses(
    keys: &OpenKeyring,
    name: &str,
    verdict: &Verdict,
    wrapped: &WrappedVaultKey,
) -> Option<&'static str> {
    keys.member(name).filter(|recorded| keys.is_wrapped(recorded, wrapped))?;
    let Some(entry) = &verdict.entry else { return Some(reason::MEMBER_REMOVED) };
    match &verdict.standing {
        Ok(role) if !role.holds_vault_key() => Some(reason::ROLE_NARROWED),
        Ok(_) if keys.is_wrapped(entry, wrapped) => None,
        Ok(_) => Some(reason::KEY_CHANGED),
        Err(out) => Some(match out.reason {
            reason::SUSPENDED => reason::MEMBER_SUSPENDED,
            reason::EXPIRED => reason::MEMBER_EXPIRED,
            reason::SUBJECT_MISSING | reason::SUBJECT_CHANGED => reason::SUBJECT_GONE,
            reason::CUSTODY_REFUSED => reason::KEY_CHANGED,
            reason::UNKNOWN_ROLE => reason::ROLE_NARROWED,
            _ => reason::MEMBER_REMOVED,
        }),
    }
}

/// The status of every member, as far as it differs from what is there.
pub(super) fn statuses(
    facts: &Facts,
    keys: &OpenKeyring,
    register: &Register,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Statuses {
    let mut statuses = Statuses::default();
    for member in facts.members() {
        let Some(verdict) = register.verdicts.get(&member.name_any()) else { continue };
        let before = member.status.clone().unwrap_or_default();
        let after = status(keys, member, &before, verdict, now, rng);
        statuses.counts.active += i64::from(after.phase == Some(MemberPhase::Active));
        statuses.counts.invited += i64::from(after.phase == Some(MemberPhase::Invited));
        let newest = after.wrapped_keys.iter().any(|wrapped| wrapped.epoch == keys.newest());
        statuses.counts.wrapped += i64::from(newest);
        if (VaultMemberStatus { last_used_at: None, ..before.clone() }) == after {
            continue;
        }
        let loses = before.wrapped_keys.iter().any(|wrapped| !after.wrapped_keys.contains(wrapped));
        let list = if loses { &mut statuses.taken } else { &mut statuses.given };
        list.push((member.clone(), after));
    }
    statuses
}

/// The operator's part of a member's status; `lastUsedAt` is the broker's.
fn status(
    keys: &OpenKeyring,
    member: &VaultMember,
    before: &VaultMemberStatus,
    verdict: &Verdict,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> VaultMemberStatus {
    let wrapped = match (&verdict.entry, &verdict.standing) {
        (Some(entry), Ok(role)) if role.holds_vault_key() => {
            wrap(keys, entry, verdict, &before.wrapped_keys, rng)
        }
        (Some(entry), Ok(role)) if role.opens() => Ok(kept_for_now(keys, entry, &before.wrapped_keys)),
        (Some(_) | None, Ok(_) | Err(_)) => Ok(Vec::new()),
    };
    let (wrapped_keys, failed) = match wrapped {
        Ok(wrapped) => (wrapped, None),
        Err(out) => (Vec::new(), Some(out)),
    };
    let (phase, ready) = match (&verdict.standing, failed.as_ref().or(verdict.refused.as_ref())) {
        (Ok(role), None) => {
            let message = format!("member with role '{}'", role.name());
            (MemberPhase::Active, Wanted::yes(conditions::READY, reason::ACTIVE, message))
        }
        (Ok(_), Some(out)) => (MemberPhase::Active, Wanted::not_ready(out.reason, out.message.clone())),
        (Err(out), _) => (out.phase, Wanted::not_ready(out.reason, out.message.clone())),
    };
    let mut out = verdict.standing.as_ref().err().into_iter().chain(&verdict.refused);
    let challenge = out.find_map(|out| challenge_for(keys, member, out, before.challenge.as_deref(), rng));
    VaultMemberStatus {
        phase: Some(phase),
        custody: verdict.entry.as_ref().map(|entry| entry.custody),
        key_fingerprint: verdict.key.as_ref().map(|key| key.fingerprint().to_string()),
        challenge,
        wrapped_keys,
        last_used_at: None,
        observed_generation: member.metadata.generation,
        conditions: report::conditions(&[ready], &before.conditions, member.metadata.generation, now),
    }
}

/// What a member keeps whose role covers only some Connections now: keys that nothing new is sealed under, until every
/// Connection that it still may open has a slot for it.
fn kept_for_now(
    keys: &OpenKeyring,
    entry: &RegisteredMember,
    before: &[WrappedVaultKey],
) -> Vec<WrappedVaultKey> {
    let kept =
        before.iter().filter(|wrapped| wrapped.epoch < keys.newest() && keys.is_wrapped(entry, wrapped));
    kept.cloned().collect()
}

/// The vault key of every epoch, wrapped for a member. Wraps that are good are kept as they are.
fn wrap(
    keys: &OpenKeyring,
    entry: &RegisteredMember,
    verdict: &Verdict,
    before: &[WrappedVaultKey],
    rng: &mut impl CryptoRng,
) -> Result<Vec<WrappedVaultKey>, Out> {
    let wrapped = keys.epochs().map(|epoch| epoch.epoch).map(|epoch| {
        let kept = before.iter().find(|wrapped| wrapped.epoch == epoch && keys.is_wrapped(entry, wrapped));
        match kept {
            Some(kept) => Ok(kept.clone()),
            None => keys.wrap_vault_key(entry, verdict.key.as_ref(), epoch, rng),
        }
    });
    wrapped
        .collect::<Result<_, _>>()
        .map_err(|error| Out::new(MemberPhase::Accepted, reason::KEY_REFUSED, error.to_string()))
}
