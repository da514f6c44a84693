//! Vaults: one reconcile looks after a Vault, its Keyring, all of its members and their RoleBindings, so that whatever
//! changes in the register goes into one write.

pub mod apply;
pub mod fetch;
pub mod plan;

use std::{sync::Arc, time::Instant};

use coffer_crds::Vault;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, runtime::controller::Action};

use crate::{
    cache::Key,
    context::{Context, ReconcileError, rng},
    installation::guards::Standing,
    meters::{Outcome, Reconciled},
    report::until,
    usage,
};

/// Reconciles one Vault.
///
/// # Errors
/// [`ReconcileError`]; kube's controller asks [`retry`] when to try again.
pub async fn reconcile(vault: Arc<Vault>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let (started, key) = (Instant::now(), Key::of(vault.as_ref()));
    let result = look(vault, &context).await;
    let outcome = result.as_ref().map_or_else(ReconcileError::outcome, |(outcome, _)| *outcome);
    context.meters.reconciled(Reconciled::Vault, outcome, started.elapsed());
    let (_, action) = result?;
    context.failures.clear(Reconciled::Vault, key);
    Ok(action)
}

async fn look(vault: Arc<Vault>, context: &Context) -> Result<(Outcome, Action), ReconcileError> {
    if !context.watched.caches.are_complete() {
        // What a cache has not brought yet looks as if it were gone. Everything is queued once all are complete.
        return Ok((Outcome::Unchanged, Action::await_change()));
    }
    let guards = context.guards.borrow().clone();
    if guards == Standing::Unknown {
        return Ok((Outcome::Unchanged, Action::await_change()));
    }
    let Some(facts) = fetch::fetch(vault, context).await? else {
        return Ok((Outcome::Unchanged, Action::await_change()));
    };
    let now = Timestamp::now();
    let plan = match &guards {
        Standing::Missing(why) => plan::unguarded(&facts, why, now),
        Standing::AsShipped | Standing::Unknown => plan::plan(&facts, now, &mut rng()),
    };
    let outcome = if plan.writes.is_empty() { Outcome::Unchanged } else { Outcome::Changed };
    if plan.refused > 0 && outcome == Outcome::Changed {
        context.meters.not_authorized(Reconciled::Vault);
    }
    apply::apply(&facts, plan.writes, context).await?;
    if let Some(step) = plan.step {
        context.meters.turned(step);
    }
    if let Ok(custodian) = &facts.custodian {
        usage::count(&context.watched.caches, custodian, &context.meters);
    }
    context.announce(facts.vault.object_ref(&()), plan.notices);
    Ok((
        outcome,
        plan.next.map_or_else(Action::await_change, |next| Action::requeue(until(next, Timestamp::now()))),
    ))
}

/// When to try again after an error.
pub fn retry(vault: Arc<Vault>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let key = Key::of(vault.as_ref());
    context.complain(Reconciled::Vault, &key, error);
    context.failures.retry(Reconciled::Vault, key, error)
}
