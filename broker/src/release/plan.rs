//! From facts to a plan: `policy`'s decision, and what of it needs a second look. Pure.

use super::{Asker, Asking, Takes, size};
use crate::{facts::Facts, limits::MemberUid, refusal::Refusal};
use coffer_crds::{Custody, RateLimit};
use coffer_policy::{
    BreakGlass, Denial, MemberView,
    release::{self, Charge, Request, RetryAfter, Unbroken, alias, by_break_glass, decide, judge, not_found},
};

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
    /// Whether only the member's own key opens it.
    pub(super) has_own_key: bool,
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
pub(super) fn plan(asker: &Asker, asking: Asking<'_>, facts: &Facts) -> Outcome {
    if let Some(glass) = facts.glass() {
        return by_glass(asker, asking, facts, glass);
    }
    let asked = facts.asked();
    let request = Request { caller: Some(&asker.caller), verb: asker.verb, now: facts.now(), asked: &asked };
    let mut charges: Vec<(MemberUid, String, RateLimit)> = Vec::new();
    let decided = decide(&request, |charge: &Charge<'_>| {
        // Only noted here: the windows may be another replica's to charge.
        charges.push((MemberUid(charge.member.uid.clone()), charge.member.name.clone(), charge.limit));
        Ok(())
    });
    let judged = |index: usize| judge(Some(&asker.caller), asker.verb, facts.now(), &asked[index]);
    let (grants, oversized) = match decided {
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
    settled(asker, asking, facts, &grants, charges, oversized)
}

/// Decides for whoever breaks glass: nobody's window is charged.
fn by_glass(asker: &Asker, asking: Asking<'_>, facts: &Facts, glass: &BreakGlass) -> Outcome {
    let asked = facts.asked();
    let opens = |index: usize, member: &MemberView| {
        let opening = facts.opening(index, member);
        opening.is_some_and(|o| o.registered.custody == Custody::Brokered && o.is_wrapped())
    };
    let request = Request { caller: Some(&asker.caller), verb: asker.verb, now: facts.now(), asked: &asked };
    match by_break_glass(&request, glass, opens) {
        Ok(grants) => settled(asker, asking, facts, &grants, Vec::new(), None),
        Err((index, Unbroken::Denied(denial))) => refused(facts, index, denial),
        Err((index, Unbroken::NoGroup)) => refused(facts, index, not_found(asked[index].reference)),
        Err((index, Unbroken::OnlyOwnKeys { alias })) => {
            Outcome::Refused { index, refusal: Refusal::OnlyOwnKeys { alias } }
        }
    }
}

/// What is to be done about an allowed request.
fn settled(
    asker: &Asker,
    asking: Asking<'_>,
    facts: &Facts,
    grants: &[release::Grant<'_>],
    charges: Vec<(MemberUid, String, RateLimit)>,
    mut oversized: Option<(usize, Refusal)>,
) -> Outcome {
    if let Some(outcome) = needs_attention(asker, asking, facts, grants) {
        return outcome;
    }
    let largest = size::largest(asker.takes);
    if oversized.is_none() && size::of_answer(asker.takes, asking, facts, grants) > largest {
        oversized = Some((0, Refusal::TooLarge { bytes: largest }));
    }
    let charges = charges
        .into_iter()
        .map(|(member, name, limit)| {
            let index = grants.iter().position(|grant| grant.member.uid == member.0).unwrap_or(0);
            ToCharge { index, member, limit, name }
        })
        .collect();
    let grants = grants
        .iter()
        .enumerate()
        .map(|(index, grant)| Granted {
            member: grant.member.clone(),
            cross_identity: grant.cross_identity,
            has_own_key: facts
                .opening(index, grant.member)
                .is_some_and(|opening| opening.registered.custody == Custody::Own),
        })
        .collect();
    Outcome::Planned(Plan { grants, charges, oversized })
}

fn refused(facts: &Facts, index: usize, denial: Denial) -> Outcome {
    let lagging = matches!(denial, Denial::NotReady { .. });
    let refusal = Refusal::Denied { denial, hidden: facts.hidden(index) };
    if lagging { Outcome::Lagging { index, refusal } } else { Outcome::Refused { index, refusal } }
}

/// The first granted entry that could not be opened now.
fn needs_attention(
    asker: &Asker,
    asking: Asking<'_>,
    facts: &Facts,
    grants: &[release::Grant<'_>],
) -> Option<Outcome> {
    for (index, grant) in grants.iter().enumerate() {
        let alias = alias(grant.connection).to_owned();
        let Some(opening) = facts.opening(index, grant.member) else {
            return Some(refused(facts, index, Denial::NotReady { alias }));
        };
        if opening.registered.custody == Custody::Own && asker.takes == Takes::Items {
            let refusal = Refusal::SelfCustody { alias, member: grant.member.name.clone() };
            return Some(Outcome::Refused { index, refusal });
        }
        if !opening.is_wrapped() {
            return Some(refused(facts, index, Denial::NotReady { alias }));
        }
        let known = &opening.envelope.spec.items;
        if let Some(item) = asking.items_of(index).iter().find(|item| !known.contains_key(*item)) {
            let refusal = Refusal::NoSuchItem { alias, item: item.clone() };
            return Some(Outcome::Refused { index, refusal });
        }
    }
    None
}
