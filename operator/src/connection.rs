//! Connections: one reconcile looks after a Connection and its Envelope.

pub mod apply;
pub mod fetch;
pub mod plan;

use std::{sync::Arc, time::Instant};

use coffer_crds::Connection;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, runtime::controller::Action};

use crate::{
    cache::Key,
    context::{Context, ReconcileError, rng},
    installation::guards::Standing,
    meters::{Outcome, Reconciled},
    report::until,
};

/// Reconciles one Connection.
///
/// # Errors
/// [`ReconcileError`]; kube's controller asks [`retry`] when to try again.
pub async fn reconcile(connection: Arc<Connection>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let (started, key) = (Instant::now(), Key::of(connection.as_ref()));
    let result = look(connection, &context).await;
    let outcome = result.as_ref().map_or_else(ReconcileError::outcome, |(outcome, _)| *outcome);
    context.meters.reconciled(Reconciled::Connection, outcome, started.elapsed());
    let (_, action) = result?;
    context.failures.clear(Reconciled::Connection, key);
    Ok(action)
}

async fn look(connection: Arc<Connection>, context: &Context) -> Result<(Outcome, Action), ReconcileError> {
    let unchanged = (Outcome::Unchanged, Action::await_change());
    if !context.watched.caches.are_complete() {
        // What a cache has not brought yet looks as if it were gone. Everything is queued once all are complete.
        return Ok(unchanged);
    }
    let guards = context.guards.borrow().clone();
    let gate;
    let plan = match &guards {
        Standing::Unknown => return Ok(unchanged),
        Standing::Missing(why) => {
            gate = None;
            plan::unguarded(&connection, why, Timestamp::now())
        }
        Standing::AsShipped => {
            // Held until the last write.
            gate = match context.watched.caches.vault_key_of(&connection) {
                Some(vault) => Some(context.gates.sealing(&vault).await),
                None => None,
            };
            let Some(facts) = fetch::fetch(connection.clone(), context).await? else { return Ok(unchanged) };
            plan::plan(&facts, Timestamp::now(), &mut rng())
        }
    };
    let outcome = if plan.writes.is_empty() { Outcome::Unchanged } else { Outcome::Changed };
    if plan.refused && outcome == Outcome::Changed {
        context.meters.not_authorized(Reconciled::Connection);
    }
    apply::apply(&connection, plan.writes, context).await?;
    drop(gate);
    context.announce(connection.object_ref(&()), plan.notices);
    Ok((
        outcome,
        plan.next.map_or_else(Action::await_change, |next| Action::requeue(until(next, Timestamp::now()))),
    ))
}

/// When to try again after an error.
pub fn retry(connection: Arc<Connection>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let key = Key::of(connection.as_ref());
    context.complain(Reconciled::Connection, &key, error);
    context.failures.retry(Reconciled::Connection, key, error)
}
