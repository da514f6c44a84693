//! How large an answer becomes, told before anything is opened.

use super::{Asking, Takes};
use crate::facts::{Facts, Opening};
use coffer_broker_api::{MAX_RELEASED_BYTES, item_bound, people::MAX_ANSWER_BYTES};
use coffer_crds::Custody;
use coffer_policy::release::Grant;

/// What an AES-256-GCM ciphertext is longer than its plaintext, in bytes.
const TAG_BYTES: usize = 16;
/// More than one Connection of an answer takes beside its items and its Envelope: names, a wrapped vault key.
const AROUND: usize = 6 * 1024;

/// The largest answer of a door, as [`of_answer`] counts.
pub(super) fn largest(takes: Takes) -> usize {
    match takes {
        Takes::Items => MAX_RELEASED_BYTES,
        Takes::ItemsOrEnvelopes => MAX_ANSWER_BYTES,
    }
}

/// Bytes of an answer. For items alone it is the plaintext; where the answer is stored, what its JSON takes at most.
pub(super) fn of_answer(takes: Takes, asking: Asking<'_>, facts: &Facts, grants: &[Grant<'_>]) -> usize {
    let openings = grants.iter().enumerate().filter_map(|(index, grant)| {
        facts.opening(index, grant.member).map(|opening| (asking.items_of(index), opening))
    });
    let of = |(items, opening): (&[String], Opening<'_>)| match (takes, opening.registered.custody) {
        (Takes::Items, _) => plain(&opening, items).map(|(_, value)| value).sum::<usize>(),
        (Takes::ItemsOrEnvelopes, Custody::Own) => {
            AROUND + serde_json::to_vec(&opening.envelope.spec).map_or(usize::MAX / 2, |json| json.len())
        }
        (Takes::ItemsOrEnvelopes, Custody::Brokered) => {
            AROUND + plain(&opening, items).map(|(name, value)| item_bound(name, value)).sum::<usize>()
        }
    };
    openings.map(of).fold(0, usize::saturating_add)
}

/// The lengths of name and value of each item that is asked for.
fn plain<'a>(opening: &'a Opening<'_>, items: &'a [String]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let asked = |name: &String| items.is_empty() || items.contains(name);
    opening.envelope.spec.items.iter().filter(move |(name, _)| asked(name)).map(|(name, item)| {
        let padding = item.ct.bytes().rev().take_while(|b| *b == b'=').count();
        (name.len(), (item.ct.len() / 4 * 3).saturating_sub(padding + TAG_BYTES))
    })
}
