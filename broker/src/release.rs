//! One release: facts, decision, durable record, and only then the opening.

mod glass;
mod open;
mod plan;
mod registers;
mod seen;
mod size;
mod trail;

pub use glass::{Glass, Witness};
pub use registers::Registers;
pub use seen::Seen;

use crate::{
    audit::{Actor, AuditLog, DenialBudget},
    branch::Keys,
    facts::{Facts, Key, Place, Reread, Stores, Versions, Whose},
    last_used::{LastUsed, Used},
    limits::RateLimiter,
    metrics::BrokerMetrics,
    refusal::Refusal,
};
use coffer_broker_api::{Released, people::Delivered};
use coffer_crds::Verb;
use coffer_envelope::Looks;
use coffer_keys::signature::CheckedSignatures;
use coffer_policy::Caller;
use jiff::Timestamp;
use plan::Plan;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// The looks past the watches that were taken for a request, by its entries.
type AllLooks = BTreeMap<usize, Looks<Versions>>;

/// Everything that a release needs. Shared by the doors.
pub struct Releaser {
    /// The watched facts.
    pub stores: Stores,
    /// The looks past the watches.
    pub reread: Box<dyn Reread>,
    /// The brokered branch.
    pub keys: Keys,
    /// Which registers were found to be the operator's.
    pub registers: Registers,
    /// How new the Envelopes were that were released from.
    pub seen: Seen,
    /// Which signatures of Envelopes and wrapped vault keys held.
    pub signatures: CheckedSignatures,
    /// The log that every release is in first.
    pub audit: AuditLog,
    /// Who may break glass, and who is told of it.
    pub glass: Glass,
    /// The members' windows.
    pub limits: Box<dyn RateLimiter>,
    /// How fast one identity's denials may fill the log.
    pub denials: DenialBudget<String>,
    /// `lastUsedAt`.
    pub last_used: LastUsed,
    /// What is counted.
    pub metrics: BrokerMetrics,
    /// The present time.
    pub clock: fn() -> Timestamp,
}

/// Who asks, as a door authenticated it.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The identity that memberships are looked up for.
    pub caller: Caller,
    /// The same for the audit log, with pod and node.
    pub actor: Actor,
    /// Where the credentials go to: bare words are looked up from there, and the vault must admit it.
    pub namespace: String,
    /// The one vault that is asked, where the request names one: words are looked up in it alone.
    pub vault: Option<Key>,
    /// [`Verb::Use`] for workloads.
    pub verb: Verb,
    /// The door's name.
    pub door: &'static str,
    /// What the door can hand on.
    pub takes: Takes,
    /// Where the request came from.
    pub source_ip: Option<IpAddr>,
    /// Whether somebody else may have sent it in the caller's name.
    pub impersonation_possible: bool,
    /// Whether people come to this door, who may break glass.
    pub may_break_glass: bool,
}

/// What a door can hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Items: nobody there has a key.
    Items,
    /// Items, or to members with a key of their own what that key opens.
    ItemsOrEnvelopes,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The request's id, for the audit log.
    pub request_id: &'a str,
    /// `namespace/name`, aliases or names, in the caller's order.
    pub references: &'a [String],
    /// Which items of each; of those that are not in here, or have an empty list, all.
    pub items: &'a [Vec<String>],
    /// Why, in the caller's words.
    pub purpose: Option<&'a str>,
}

impl Asking<'_> {
    /// The items that entry `index` is narrowed to; empty: all.
    fn items_of(&self, index: usize) -> &[String] {
        self.items.get(index).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Releaser {
    /// Decides a request, puts it on record and opens what was wrapped for the member that serves it. All or
    /// nothing; the first denial in the request's order answers.
    ///
    /// # Errors
    /// Why nothing is released. The denial is on record too.
    pub async fn release(&self, asker: &Asker, asking: Asking<'_>) -> Result<Vec<Delivered>, Refusal> {
        let now = (self.clock)();
        let trail = trail::Trail { asker, asking, now };
        let place = Place { namespace: &asker.namespace, vault: asker.vault.as_ref() };
        let gathered = self.stores.gather(Whose::Callers(&asker.caller), place, asking.references, now);
        let mut facts = match gathered {
            Ok(facts) => facts,
            Err(unresolved) => {
                let word = asking.references.get(unresolved.index).map(String::as_str);
                let entry = trail.unresolved(word, &unresolved.error);
                return Err(self.refuse(entry, Refusal::Unresolved(unresolved.error)).await);
            }
        };
        let mut looks = AllLooks::new();
        let plan = match self.settle(asker, asking, &mut facts, &mut looks).await {
            Ok(plan) => plan,
            Err((index, refusal)) => {
                let Some(broken) = self.glass.broken(&self.stores, asker, asking, &refusal, now) else {
                    let entry = trail.denied(&facts, index, &refusal);
                    return Err(self.refuse(entry, refusal).await);
                };
                facts = broken;
                looks.clear();
                match self.settle(asker, asking, &mut facts, &mut looks).await {
                    Ok(plan) => plan,
                    Err((index, refusal)) => {
                        let entry = trail.denied(&facts, index, &refusal);
                        return Err(self.refuse(entry, refusal).await);
                    }
                }
            }
        };
        // From here on it is decided. First the record, then the release.
        let entries =
            plan.grants.iter().enumerate().map(|(index, grant)| trail.allowed(&facts, index, grant));
        self.audit.record(entries.collect()).await.map_err(|_| Refusal::AuditUnavailable)?;
        if let Some(group) = facts.glass().and_then(|glass| glass.group_of(&asker.caller)) {
            self.metrics.broke_glass();
            self.glass.tell(asker, group, &facts, plan.grants.len());
        }
        match self.open(asker, asking, &mut facts, &plan, &mut looks).await {
            Ok(released) => {
                self.note_use(&facts, &plan, now);
                Ok(released)
            }
            Err((index, refusal)) => {
                let entry = trail.failed(&facts, index, &plan.grants[index], &refusal);
                // The release is refused whether or not this second record can be written.
                let _ = self.audit.record(vec![entry]).await;
                Err(refusal)
            }
        }
    }

    /// [`Releaser::release`] for a door that takes items only.
    ///
    /// # Errors
    /// As there.
    pub async fn release_items(&self, asker: &Asker, asking: Asking<'_>) -> Result<Released, Refusal> {
        let items = |delivered| match delivered {
            Delivered::Items(connection) => Ok(connection),
            Delivered::Wrapped(own) => {
                Err(Refusal::SelfCustody { alias: own.alias.clone(), member: own.member.name.clone() })
            }
        };
        let delivered = self.release(asker, asking).await?;
        Ok(Released { connections: delivered.into_iter().map(items).collect::<Result<_, _>>()? })
    }

    /// Puts on record that a door refused a request before anything was decided.
    pub async fn turn_away(&self, asker: &Asker, asking: Asking<'_>, refusal: Refusal) -> Refusal {
        let entry = trail::Trail { asker, asking, now: (self.clock)() }.turned_away(&refusal);
        self.refuse(entry, refusal).await
    }

    /// Decides; where Envelope and member do not fit together, looks past the watches and decides again. Then what only the broker knows: keys and sizes. The members' windows are charged when nothing else refuses but
    /// the size (T15).
    async fn settle(
        &self,
        asker: &Asker,
        asking: Asking<'_>,
        facts: &mut Facts,
        looks: &mut AllLooks,
    ) -> Result<Plan, (usize, Refusal)> {
        let plan = loop {
            match plan::plan(asker, asking, facts) {
                plan::Outcome::Planned(plan) => break plan,
                plan::Outcome::Refused { index, refusal } => return Err((index, refusal)),
                plan::Outcome::Lagging { index, refusal } => {
                    if !self.look_again(facts, index, looks).await {
                        return Err((index, refusal));
                    }
                }
            }
        };
        if plan.grants.iter().any(|grant| !grant.has_own_key) && self.keys.current().is_none() {
            return Err((0, Refusal::KeyUnavailable));
        }
        for charge in &plan.charges {
            if let Err(wait) = self.limits.charge(&charge.member, charge.limit).await {
                return Err((charge.index, charge.refused(wait).into()));
            }
        }
        match &plan.oversized {
            Some((index, refusal)) => Err((*index, refusal.clone())),
            None => Ok(plan),
        }
    }

    /// Reads Envelope, Keyring and memberships of one entry again; whether there is anything new to look at.
    async fn look_again(&self, facts: &mut Facts, index: usize, looks: &mut AllLooks) -> bool {
        let looks = looks.entry(index).or_insert_with(|| Looks::after(facts.versions(index)));
        let Some(wanted) = facts.wanted(index).filter(|_| looks.is_worth_another()) else { return false };
        let fresh = self.reread.read(&wanted).await;
        self.metrics.reread(fresh.is_ok());
        match fresh {
            Ok(fresh) => {
                facts.refresh(index, fresh);
                looks.saw(facts.versions(index))
            }
            Err(_) => false,
        }
    }

    fn note_use(&self, facts: &Facts, plan: &Plan, now: Timestamp) {
        for (index, grant) in plan.grants.iter().enumerate() {
            // Who breaks glass is not the member in whose place it is opened.
            let member = facts.member(index, &grant.member).filter(|_| facts.glass().is_none());
            if let Some((member, used_at)) = member {
                self.last_used.note(Used::Member(member), used_at, now);
            }
            if let Some(connection) = facts.connection(index) {
                let used_at = connection.status.as_ref().and_then(|s| s.last_used_at.as_ref()).map(|at| at.0);
                self.last_used.note(Used::Connection(Key::of(connection.as_ref())), used_at, now);
            }
        }
    }
}

/// The releaser as the doors hold it.
pub type SharedReleaser = Arc<Releaser>;
