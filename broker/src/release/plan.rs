//! From facts to a plan: `policy`'s decision, and what of it needs a second look. Pure.

use super::Asker;
use crate::{facts::Facts, limits::MemberUid, refusal::Refusal};
use coffer_broker_api::MAX_RELEASED_BYTES;
use coffer_crds::{Custody, EnvelopeSpec, RateLimit};
use coffer_policy::{
    Denial, MemberView,
    release::{self, Charge, Request, RetryAfter, alias, decide, judge},
};

/// What an AES-256-GCM ciphertext is longer than its plaintext, in bytes.
const TAG_BYTES: usize = 16;

/// An allowed request.
pub(super) struct Plan {
    /// One for each entry of the request, in its order.
    pub(super) grants: Vec<Granted>,
    /// The windows to charge.
    pub(super) charges: Vec<ToCharge>,
    /// The size limit's denial, which comes after the rate limit's, and the entry that it is told of.
    pub(super) oversized: Option<(usize, Refusal)>,
}

/// One Connection that may be released.
pub(super) struct Granted {
    /// The membership that serves.
    pub(super) member: MemberView,
    /// Whether another member owns the credential.
    pub(super) cross_identity: bool,
}

/// One member's window.
pub(super) struct ToCharge {
    /// The first entry that this member serves.
    pub(super) index: usize,
    /// Whose window.
    pub(super) member: MemberUid,
    /// The limit.
    pub(super) limit: RateLimit,
    name: String,
}

impl ToCharge {
    /// The denial when the window is full.
    pub(super) fn refused(&self, RetryAfter(wait): RetryAfter) -> Denial {
        let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
        Denial::RateLimited {
            member: self.name.clone(),
            limit: self.limit,
            retry_after_seconds: u64::try_from(seconds).unwrap_or(0).max(1),
        }
    }
}

/// What becomes of a request.
pub(super) enum Outcome {
    /// Allowed, if the windows have room.
    Planned(Plan),
    /// Refused.
    Refused {
        /// The first entry that is.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// Envelope and member do not fit together: to be looked at again, and refused if that does not help.
    Lagging {
        /// Which entry.
        index: usize,
        /// Why it would be refused.
        refusal: Refusal,
    },
}

/// Decides on the facts as they are.
pub(super) fn plan(asker: &Asker, facts: &Facts) -> Outcome {
    let asked = facts.asked();
    let request = Request { caller: Some(&asker.caller), verb: asker.verb, now: facts.now(), asked: &asked };
    let mut charges: Vec<(MemberUid, String, RateLimit)> = Vec::new();
    let decided = decide(&request, |charge: &Charge<'_>| {
        // Only noted here: the windows may be another replica's to charge.
        charges.push((MemberUid(charge.member.uid.clone()), charge.member.name.clone(), charge.limit));
        Ok(())
    });
    let judged = |index: usize| judge(Some(&asker.caller), asker.verb, facts.now(), &asked[index]);
    let (grants, mut oversized) = match decided {
        Ok(grants) => (grants, None),
        Err(denial @ Denial::TooMany { .. }) => {
            let grants: Vec<_> = (0..asked.len()).filter_map(|index| judged(index).ok()).collect();
            (grants, Some((0, Refusal::from(denial))))
        }
        Err(denial) => {
            let index = (0..asked.len()).find(|index| judged(*index).is_err()).unwrap_or(0);
            return refused(facts, index, denial);
        }
    };
    if let Some(outcome) = needs_attention(facts, &grants) {
        return outcome;
    }
    if oversized.is_none() && plaintext_bytes(facts, &grants) > MAX_RELEASED_BYTES {
        oversized = Some((0, Refusal::TooLarge));
    }
    let charges = charges
        .into_iter()
        .map(|(member, name, limit)| {
            let index = grants.iter().position(|grant| grant.member.uid == member.0).unwrap_or(0);
            ToCharge { index, member, limit, name }
        })
        .collect();
    let grants = grants
        .into_iter()
        .map(|grant| Granted { member: grant.member.clone(), cross_identity: grant.cross_identity })
        .collect();
    Outcome::Planned(Plan { grants, charges, oversized })
}

fn refused(facts: &Facts, index: usize, denial: Denial) -> Outcome {
    let lagging = matches!(denial, Denial::NotReady { .. });
    let refusal = Refusal::Denied { denial, hidden: facts.hidden(index) };
    if lagging { Outcome::Lagging { index, refusal } } else { Outcome::Refused { index, refusal } }
}

/// The first granted entry that could not be opened now.
fn needs_attention(facts: &Facts, grants: &[release::Grant<'_>]) -> Option<Outcome> {
    for (index, grant) in grants.iter().enumerate() {
        let alias = alias(grant.connection).to_owned();
        let Some(opening) = facts.opening(index, grant.member) else {
            return Some(refused(facts, index, Denial::NotReady { alias }));
        };
        if opening.registered.custody == Custody::Own {
            let refusal = Refusal::SelfCustody { alias, member: grant.member.name.clone() };
            return Some(Outcome::Refused { index, refusal });
        }
        if !opening.is_wrapped() {
            return Some(refused(facts, index, Denial::NotReady { alias }));
        }
    }
    None
}

fn plaintext_bytes(facts: &Facts, grants: &[release::Grant<'_>]) -> usize {
    let of = |spec: &EnvelopeSpec| {
        let plain = |ct: &str| {
            let padding = ct.bytes().rev().take_while(|b| *b == b'=').count();
            (ct.len() / 4 * 3).saturating_sub(padding + TAG_BYTES)
        };
        spec.items.values().map(|item| plain(&item.ct)).sum::<usize>()
    };
    grants
        .iter()
        .enumerate()
        .filter_map(|(index, grant)| facts.opening(index, grant.member))
        .map(|opening| of(&opening.envelope.spec))
        .sum()
}
