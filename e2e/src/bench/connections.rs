//! The operator: many Connections at once, one more among many, a restart.

use super::figure::Figure;
use super::statistics::{count, ms, percentile, short};
use super::watch::Ready;
use super::{Sizes, memory, restart};
use crate::cluster::Cluster;
use crate::namespace::Namespace;
use crate::progress::step;
use crate::team::{INJECTED, Team};
use crate::wait;
use anyhow::{Context, Result};
use coffer_crds::{Connection, Envelope, Keyring, VaultMember};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use std::ops::Range;
use std::time::{Duration, Instant};

/// How many requests to the API server are under way at once.
const AT_ONCE: usize = 16;
/// How long any number of Connections may take.
const ALL: Duration = Duration::from_secs(300);
/// How long it may take to turn over the keys of the largest vault.
const TURN_OVER: Duration = Duration::from_secs(1200);
/// The size of an unrelated Secret.
const SECRET: usize = 100_000;

/// Everything about the operator.
///
/// # Errors
/// If something is refused or takes too long.
pub async fn measure(cluster: &Cluster, sizes: &Sizes) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    Namespace::lend_alone(cluster, "bench-connections", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        let result = in_namespace(ns, &team, sizes).await;
        // Also after a failure: the namespace's own deletion is slow with so much in it.
        let cleared = step("removing the Connections", clear(ns)).await;
        figures = result?;
        cleared
    })
    .await?;
    step("compacting etcd", cluster.etcd().shrink()).await?;
    Ok(figures)
}

async fn in_namespace(ns: &Namespace, team: &Team<'_>, sizes: &Sizes) -> Result<Vec<Figure>> {
    let mut ready = Ready::watch(ns.api(), watcher::Config::default());
    let [few, many] = sizes.connections;
    let mut figures = vec![all_ready(ns, team, few, &mut ready).await?];
    figures.extend(with_secrets(ns, few, sizes.secrets).await?);
    let growing = async {
        apply(ns, team, few..many).await?;
        ready.all(many, ALL).await
    };
    step(&format!("applying Connections up to {many}"), growing).await?;
    figures.push(one_more(ns, team, many, sizes.singles, &mut ready).await?);
    figures.extend(restarted(ns, many + sizes.singles, 15.0, None).await?);
    figures.push(step("removing a member", turned_over(ns, team, many + sizes.singles)).await?);
    Ok(figures)
}

/// How a removal grows with the vault: from the delete to everything being sealed in the next epoch.
async fn turned_over(ns: &Namespace, team: &Team<'_>, connections: usize) -> Result<Figure> {
    team.workload("leaver").await?;
    let keyrings = ns.api::<Keyring>();
    let before = keyrings.get("team").await?.spec.current;
    ns.api::<VaultMember>().delete("leaver", &DeleteParams::default()).await?;
    let started = Instant::now();
    wait::until("everything to be sealed under new keys", TURN_OVER, async || {
        let keyring = keyrings.get("team").await?.spec;
        Ok((keyring.current > before && keyring.epochs.len() == 1).then_some(()))
    })
    .await?;
    let what = format!("removal of one of 3, {} Connections → all sealed anew", short(count(connections)));
    Ok(Figure::new(what, started.elapsed().as_secs_f64(), "s"))
}

async fn all_ready(ns: &Namespace, team: &Team<'_>, number: usize, ready: &mut Ready) -> Result<Figure> {
    let started = Instant::now();
    let work = async {
        apply(ns, team, 0..number).await?;
        let applied = started.elapsed();
        anyhow::Ok((applied, ready.all(number, ALL).await?))
    };
    let (applied, last) = step(&format!("applying {number} Connections"), work).await?;
    let what = format!("operator: {} Connections applied → all Ready", short(count(number)));
    Ok(Figure::new(what, (last - started).as_secs_f64(), "s")
        .at_most(8.0)
        .others("External Secrets 102 s by default, 22 s tuned")
        .note(format!("{AT_ONCE} at a time; the last was applied after {:.1} s", applied.as_secs_f64())))
}

/// Memory and a restart among large Secrets that are none of Coffer's business.
async fn with_secrets(ns: &Namespace, connections: usize, secrets: usize) -> Result<Vec<Figure>> {
    step("making unrelated Secrets", unrelated(&ns.api(), secrets)).await?;
    let what = format!(
        "memory: operator, {} Connections, {} unrelated Secrets of 100 KB",
        short(count(connections)),
        short(count(secrets))
    );
    let mut figures =
        vec![memory::most("operator")?.figure(what).at_most(35.0).others("External Secrets 101 MiB")];
    figures.extend(restarted(ns, connections, 2.0, Some("External Secrets, tuned, 8.7 s")).await?);
    let made = Names { api: ns.api::<Secret>(), selector: "bench=unrelated" };
    step("removing them", made.remove()).await?;
    Ok(figures)
}

async fn restarted(
    ns: &Namespace,
    connections: usize,
    goal: f64,
    others: Option<&'static str>,
) -> Result<Vec<Figure>> {
    let what = format!("operator: restart with {} Connections", short(count(connections)));
    let restarted = step(&what, restart::operator(ns.cluster(), count(connections))).await?;
    let mut observed = Figure::new(format!("{what} → all observed"), restarted.observed.as_secs_f64(), "s")
        .at_most(goal)
        .note(format!("{} reconciles, from the start of its process", restarted.reconciles));
    observed.others = others;
    Ok(vec![
        observed,
        Figure::new(format!("{what}: writes"), restarted.writes, "writes").at_most(0.0).note(format!(
            "as the API server counts them, by anybody, of Coffer's kinds and of rights; \
                 the operator itself counts {} of all kinds",
            restarted.own_writes
        )),
        restarted.memory.figure(format!("memory: operator, restarted with {}", short(count(connections)))),
    ])
}

/// One Connection after the other, each from its create to Ready.
async fn one_more(
    ns: &Namespace,
    team: &Team<'_>,
    among: usize,
    number: usize,
    ready: &mut Ready,
) -> Result<Figure> {
    let mut times = Vec::with_capacity(number);
    for number in among..among + number {
        let started = Instant::now();
        apply_one(ns, team, number, &["web"]).await?;
        times.push(ready.one(&name(number), ALL).await? - started);
    }
    times.sort_unstable();
    let what = format!("operator: one more among {} → Ready, p99", short(count(among)));
    Ok(Figure::new(what, ms(percentile(&times, 99)), "ms")
        .at_most(1_000.0)
        .note(format!("{number} of them, p50 {:.0} ms", ms(percentile(&times, 50)))))
}

/// The name of a Connection.
pub(super) fn name(number: usize) -> String {
    format!("credential-{number}")
}

async fn apply(ns: &Namespace, team: &Team<'_>, numbers: Range<usize>) -> Result<()> {
    stream::iter(numbers.map(|number| apply_one(ns, team, number, &["web"])))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

/// Applies one Connection for these members.
pub(super) async fn apply_one(
    ns: &Namespace,
    team: &Team<'_>,
    number: usize,
    members: &[&str],
) -> Result<()> {
    let token = format!("ghp_value_of_{number}");
    create(ns, team.manifest(&name(number), members, &[("username", "bot"), ("token", &token)])).await
}

/// Makes a Connection of this manifest.
pub(super) async fn create(ns: &Namespace, manifest: Value) -> Result<()> {
    // As any object: the type has no field for what is never stored.
    let object: DynamicObject = serde_json::from_value(manifest).context("describe a Connection")?;
    let kind = ApiResource::erase::<Connection>(&());
    let connections: Api<DynamicObject> = Api::namespaced_with(ns.client(), ns.name(), &kind);
    connections.create(&PostParams::default(), &object).await.context("apply a Connection").map(drop)
}

async fn unrelated(secrets: &Api<Secret>, number: usize) -> Result<()> {
    let value = "x".repeat(SECRET);
    let create = async |number: usize| {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": format!("unrelated-{number}"), "labels": {"bench": "unrelated"}},
            "stringData": {"value": value},
        }))?;
        secrets.create(&PostParams::default(), &secret).await.context("make a Secret").map(drop)
    };
    stream::iter((0..number).map(create)).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// Until nothing is left for the namespace's own deletion to wait for. The garbage collector would take the Envelopes
/// too, at the 20 requests a second that the controller manager is allowed by default.
pub(super) async fn clear(ns: &Namespace) -> Result<()> {
    Names { api: ns.api::<Connection>(), selector: "" }.remove().await?;
    Names { api: ns.api::<Envelope>(), selector: "" }.remove().await?;
    Names { api: ns.api::<Event>(), selector: "" }.remove().await
}

/// Objects that go one by one: the API server deletes a collection of thousands too slowly for one request.
struct Names<K> {
    api: Api<K>,
    selector: &'static str,
}

impl<K> Names<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    async fn remove(&self) -> Result<()> {
        let all = self.api.list_metadata(&ListParams::default().labels(self.selector)).await?;
        let names = all.items.into_iter().filter_map(|object| object.metadata.name);
        let remove = async |name: String| {
            match self.api.delete(&name, &DeleteParams::background()).await {
                // An event ends by itself.
                Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
                removed => removed.map(drop).with_context(|| format!("remove {name}")),
            }
        };
        stream::iter(names.map(remove)).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }
}
