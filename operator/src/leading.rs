//! What runs while this replica leads, and how it comes to lead and stops.
//!
//! A standby watches and keeps its caches warm, and sends nothing. Whoever becomes leader looks at every object once.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use coffer_policy::BreakGlass;
use coffer_runtime::{Check, Election, Events, LeaseConfig, Readiness, Shutdown, lease};
use futures::StreamExt as _;
use kube::{
    Client, Resource,
    runtime::{
        Config,
        controller::{self, Action, applier},
        reflector::{ObjectRef, Store},
    },
};
use tokio::sync::{mpsc::UnboundedReceiver, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Args, Certificates,
    apply::{MANAGER, Writer},
    cache::Key,
    connection,
    context::{Context, Failures, Keyrings, ReconcileError},
    gates::Gates,
    installation::{
        bundles::Configurations,
        custody::{Custody, Keeper},
        guards::{Standing, watch::Guards},
        serving::Serving,
    },
    meters::Meters,
    queue::Receivers,
    reads::Asking,
    releases, vault,
    watches::Watched,
};

/// Reconciles at the same time, of each kind.
const CONCURRENCY: u16 = 16;

/// How long a leader that is asked to end waits for what it has sent.
const DRAIN: Duration = Duration::from_secs(5);

/// This installation, led or not.
pub struct Installation {
    args: Args,
    client: Client,
    watched: Watched,
    meters: Meters,
    readiness: Readiness,
    custody_check: Check,
    lease_config: LeaseConfig,
}

impl Installation {
    /// Not leading yet.
    pub fn new(args: &Args, client: Client, watched: Watched, meters: Meters, readiness: &Readiness) -> Self {
        let custody_check = readiness.check("custodian");
        // A standby has no custodian root to look after.
        custody_check.ready();
        let lease_config = LeaseConfig::new(&args.namespace, "coffer-operator", &args.pod_name);
        Self {
            args: args.clone(),
            client,
            watched,
            meters,
            readiness: readiness.clone(),
            custody_check,
            lease_config,
        }
    }

    /// Stands for election, leads whenever elected, and gives the Lease back at the end.
    pub async fn run(&self, shutdown: &Shutdown) {
        let election = lease::run(self.client.clone(), self.lease_config.clone());
        let configurations = Configurations::watch(&self.client, &self.readiness, shutdown);
        let guards = Guards::watch(
            &self.client,
            &self.args.namespace,
            &configurations,
            &self.meters,
            &self.readiness,
            shutdown,
        );
        let requests = releases::watch(&self.client, &self.readiness, shutdown);
        while !shutdown.is_requested() {
            if shutdown.or_requested(election.elected()).await.is_none() {
                break;
            }
            self.meters.leading(true);
            self.lead(&election, &configurations, &guards, &requests, shutdown).await;
            self.meters.leading(false);
            self.custody_check.ready();
        }
        election.release().await;
    }

    /// Leads until the Lease is lost or the end is asked for.
    async fn lead(
        &self,
        election: &Election,
        configurations: &Arc<Configurations>,
        guards: &watch::Receiver<Standing>,
        requests: &releases::Requests,
        shutdown: &Shutdown,
    ) {
        let leadership = election.leadership();
        let writer = Writer::new(
            self.client.clone(),
            leadership,
            self.lease_config.request_timeout,
            self.meters.clone(),
        );
        let (publish, custody) = watch::channel(Custody::Unknown);
        let namespace = &self.args.namespace;
        let keeper = Keeper::new(
            namespace,
            self.args.root_generation,
            self.client.clone(),
            writer.clone(),
            publish,
            self.custody_check.clone(),
            self.meters.clone(),
        );
        let serving = Serving::new(
            namespace,
            self.client.clone(),
            writer.clone(),
            configurations.clone(),
            self.meters.clone(),
        );
        let certificates = async {
            match self.args.certificates {
                Certificates::Own => serving.run().await,
                Certificates::External => {}
            }
        };
        let requests = releases::keep(requests.clone(), writer.clone());
        let context = Arc::new(self.context(writer, custody, guards.clone()));
        let receivers = self.watched.queues.open();
        let keeping =
            async { tokio::join!(keeper.run(), certificates, requests, look_at_all(context.clone())) };
        let mut reconciling = Box::pin(reconcile(context.clone(), receivers));
        tokio::select! {
            _ = keeping => {}
            () = &mut reconciling => {}
            () = election.lost() => tracing::warn!("the Lease is lost: stopping at once"),
            () = shutdown.requested() => {
                // Without new work the controllers end when what they have sent is answered.
                self.watched.queues.close();
                let _ = tokio::time::timeout(DRAIN, &mut reconciling).await;
            }
        }
        self.watched.queues.close();
    }

    fn context(
        &self,
        writer: Writer,
        custody: watch::Receiver<Custody>,
        guards: watch::Receiver<Standing>,
    ) -> Context {
        let operator = self.args.user.clone();
        Context {
            events: Events::new(self.client.clone(), MANAGER, &self.args.pod_name, "Reconcile"),
            client: self.client.clone(),
            writer,
            watched: self.watched.clone(),
            custody,
            guards,
            meters: self.meters.clone(),
            operator: operator
                .unwrap_or_else(|| format!("system:serviceaccount:{}:coffer-operator", self.args.namespace)),
            break_glass: Arc::new(BreakGlass::new(self.args.break_glass_groups.clone())),
            keyrings: Keyrings::default(),
            gates: Gates::default(),
            asking: Asking::default(),
            failures: Failures::default(),
        }
    }
}

/// Queues every object: once all caches are complete, and again whenever the custodian root becomes another or is
/// gone, or the guards stand otherwise.
async fn look_at_all(context: Arc<Context>) {
    let (mut custody, mut guards) = (context.custody.clone(), context.guards.clone());
    let watched = &context.watched;
    while !watched.caches.are_complete() {
        watched.queues.list_complete().await;
    }
    loop {
        watched.queues.add(&watched.caches.everything());
        let changed = tokio::select! {
            changed = custody.changed() => {
                context.keyrings.forget();
                changed
            }
            changed = guards.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn reconcile(context: Arc<Context>, receivers: Receivers) {
    let caches = context.watched.caches.clone();
    let vaults = control(
        caches.vaults.store(),
        receivers.vaults,
        context.clone(),
        vault::reconcile,
        vault::retry,
        forget_vault,
    );
    let connections = control(
        caches.connections.store(),
        receivers.connections,
        context,
        connection::reconcile,
        connection::retry,
        |context, key, _| context.watched.queues.looked_at(key),
    );
    tokio::join!(vaults, connections);
}

/// Drops what is kept for a vault that is gone.
fn forget_vault(context: &Context, vault: &Key, gone: bool) {
    if gone {
        context.keyrings.forget_one(vault);
        context.gates.forget_one(vault);
    }
}

/// kube's controller loop over our own queue: each name once at a time, several names at once, a panic stops only itself.
/// `after` is told of each look that ended, however it did, and whether the object was gone.
async fn control<K, F>(
    store: Store<K>,
    mut queue: UnboundedReceiver<ObjectRef<K>>,
    context: Arc<Context>,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
    retry: fn(Arc<K>, &ReconcileError, Arc<Context>) -> Action,
    after: fn(&Context, &Key, bool),
) where
    K: Clone + Resource<DynamicType = ()> + Send + Sync + 'static,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let queue = futures::stream::poll_fn(move |task| queue.poll_recv(task)).map(Ok::<_, Infallible>);
    let run = move |object: Arc<K>, context: Arc<Context>| {
        let task = AbortOnDropHandle::new(tokio::spawn(reconcile(object, context)));
        Box::pin(async move { task.await.unwrap_or(Err(ReconcileError::Panicked)) })
    };
    let config = Config::default().concurrency(CONCURRENCY);
    let mut done = std::pin::pin!(applier(run, retry, context.clone(), store, queue, config));
    while let Some(outcome) = done.next().await {
        let (object, gone) = match outcome {
            Ok((object, _)) => (object.erase(), false),
            Err(controller::Error::ReconcilerFailed(_, object)) => (*object, false),
            Err(controller::Error::ObjectNotFound(object)) => (*object, true),
            Err(controller::Error::QueueError(_) | controller::Error::RunnerError(_)) => continue,
        };
        after(&context, &Key::new(object.namespace.clone().unwrap_or_default(), &object.name), gone);
    }
}
