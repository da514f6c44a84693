//! Connections: one reconcile looks after a Connection and its Envelope.

pub mod apply;
pub mod fetch;
pub mod plan;

use std::{sync::Arc, time::Instant};

use coffer_crds::Connection;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, runtime::controller::Action};
use tokio::sync::OwnedRwLockReadGuard;

use crate::{
    cache::Key,
    context::{Context, ReconcileError, rng},
    installation::guards::Standing,
    meters::{Outcome, Reconciled},
    reads::{
        Reads,
        ask::{Means, Unknown, oldest},
    },
    report::until,
};
use plan::Plan;

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
    let Some((connection, plan, gate)) = (match &guards {
        Standing::Unknown => None,
        Standing::Missing(why) => {
            let plan = plan::unguarded(&connection, why, Timestamp::now());
            Some((connection, plan, None))
        }
        Standing::AsShipped => decide(connection, context).await?,
    }) else {
        return Ok(unchanged);
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

/// How often a look asks who read what before it goes on with what it knows: whoever is lost while it asks is asked about
/// too, but not for ever.
const QUESTIONS: usize = 3;

/// The vault's gate, held until the last write.
type Gate = OwnedRwLockReadGuard<()>;

/// Plans, and asks the audit logs first where the plan is to say who read the value. Nobody waits at the gate for that.
async fn decide(
    mut connection: Arc<Connection>,
    context: &Context,
) -> Result<Option<(Arc<Connection>, Plan, Option<Gate>)>, ReconcileError> {
    let (began, caches) = (Timestamp::now(), &context.watched.caches);
    for asked in 0..=QUESTIONS {
        let vault = caches.vault_key_of(&connection);
        let gate = match &vault {
            Some(vault) => Some(context.gates.sealing(vault).await),
            None => None,
        };
        let told = vault.as_ref().map(|vault| context.asking.told(vault)).unwrap_or_default();
        let reads = if asked < QUESTIONS { Reads::asking(told, began) } else { Reads::settled(told) };
        let Some(facts) = fetch::fetch(connection.clone(), reads, context).await? else { return Ok(None) };
        let plan = plan::plan(&facts, Timestamp::now(), &mut rng());
        let Some(vault) = vault.filter(|_| !plan.unasked.is_empty()) else {
            return Ok(Some((connection, plan, gate)));
        };
        drop(gate);
        let unknown = Unknown { connection: Key::of(connection.as_ref()), losses: plan.unasked };
        let since = facts.envelope.as_ref().map(|envelope| caches.envelopes.having(&envelope.spec.vault_id));
        let since = oldest(since.iter().flatten().map(AsRef::as_ref));
        drop(facts);
        let means = Means { client: &context.client, writer: &context.writer, since };
        context.asking.ask(&vault, &unknown, began, &means).await;
        if *context.guards.borrow() != Standing::AsShipped {
            // Everything is queued again when they are.
            return Ok(None);
        }
        // It may have changed meanwhile, or be gone.
        let Some(now) = caches.connections.get(&unknown.connection) else { return Ok(None) };
        connection = now;
    }
    // The last time round nobody is asked, and there is a plan.
    Ok(None)
}

/// When to try again after an error.
pub fn retry(connection: Arc<Connection>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let key = Key::of(connection.as_ref());
    context.complain(Reconciled::Connection, &key, error);
    context.failures.retry(Reconciled::Connection, key, error)
}
