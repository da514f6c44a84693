//! Break glass: people of a named group who may have, without a membership, what the broker can open.

use super::{Asker, Asking};
use crate::{
    facts::{Facts, Place, Stores, Whose},
    refusal::Refusal,
};
use coffer_policy::{BreakGlass, Denial};
use coffer_runtime::{Events, Notice};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use std::sync::Arc;

/// Who may break glass, and who is told of it.
pub struct Glass {
    /// Who may.
    pub groups: Arc<BreakGlass>,
    /// Who is told.
    pub witness: Box<dyn Witness>,
}

/// Somebody who is told that glass was broken.
pub trait Witness: Send + Sync {
    /// About an object. It returns at once.
    fn tell(&self, about: ObjectReference, notice: Notice);
}

impl Witness for Events {
    fn tell(&self, about: ObjectReference, notice: Notice) {
        self.announce(about, vec![notice]);
    }
}

impl Glass {
    /// The facts for whoever breaks glass because no membership allows a request; `None` where that is not so.
    pub(super) fn broken(
        &self,
        stores: &Stores,
        asker: &Asker,
        asking: Asking<'_>,
        refusal: &Refusal,
        now: Timestamp,
    ) -> Option<Facts> {
        if !asker.may_break_glass || !is_of_membership(refusal) {
            return None;
        }
        self.groups.group_of(&asker.caller)?;
        let place = Place { namespace: &asker.namespace, vault: asker.vault.as_ref() };
        stores.gather(Whose::Everybodys(&self.groups), place, asking.references, now).ok()
    }

    /// Puts an event on each Connection that is opened by it.
    pub(super) fn tell(&self, asker: &Asker, group: &str, facts: &Facts, granted: usize) {
        for connection in (0..granted).filter_map(|index| facts.connection(index)) {
            let note = format!("user '{}' of group '{group}' reads it by break glass", asker.caller.username);
            self.witness.tell(connection.object_ref(&()), Notice::alarm("BreakGlass", note));
        }
    }
}

/// Whether it is for want of a membership, or of a right of it, that a request is refused.
fn is_of_membership(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Denied { denial, .. } => match denial {
            Denial::NotFound { .. }
            | Denial::Verb { .. }
            | Denial::NotCovered { .. }
            | Denial::OutOfScope { .. } => true,
            Denial::Unauthenticated
            | Denial::NotReady { .. }
            | Denial::Expired { .. }
            | Denial::RateLimited { .. }
            | Denial::TooMany { .. } => false,
        },
        Refusal::Unresolved(_)
        | Refusal::NotAuditor(_)
        | Refusal::Malformed { .. }
        | Refusal::SelfCustody { .. }
        | Refusal::OnlyOwnKeys { .. }
        | Refusal::NoSuchItem { .. }
        | Refusal::TooLarge { .. }
        | Refusal::AskedTooOften { .. }
        | Refusal::Unguarded
        | Refusal::KeyUnavailable
        | Refusal::AuditUnavailable
        | Refusal::DoesNotOpen { .. } => false,
    }
}
