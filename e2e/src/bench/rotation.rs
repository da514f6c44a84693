//! Removal of one member of a hundred from a vault of a thousand Connections.

use super::connections::{apply_one, clear, create, name};
use super::figure::Figure;
use super::statistics::{count, ms, percentile, short};
use super::watch::Ready;
use super::{Sizes, memory, scrape};
use crate::broker::{Door, Knock, pod_token};
use crate::cluster::Cluster;
use crate::fault;
use crate::install::NAMESPACE;
use crate::namespace::Namespace;
use crate::progress::step;
use crate::team::Team;
use crate::wait;
use anyhow::{Context, Result, ensure};
use coffer_crds::{Vault, VaultMember};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::watcher;
use serde_json::json;
use std::time::{Duration, Instant};

/// How many requests to the API server are under way at once.
const AT_ONCE: usize = 16;
/// How long everything may take.
const ALL: Duration = Duration::from_secs(300);
/// Replicas of the broker that deny.
const BROKERS: usize = 3;
/// How often the people of another vault write.
const WRITE: Duration = Duration::from_millis(100);
/// How often an operator's memory is read meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Everything about a removal.
///
/// # Errors
/// If something is refused or takes too long.
pub async fn measure(cluster: &Cluster, sizes: &Sizes) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    Namespace::lend_alone(cluster, "bench-rotation", &[], async |ns| {
        brokers(cluster, BROKERS).await?;
        let result = in_namespace(ns, sizes).await;
        brokers(cluster, 2).await?;
        let cleared = step("removing the Connections", clear(ns)).await;
        figures = result?;
        cleared
    })
    .await?;
    Ok(figures)
}

async fn brokers(cluster: &Cluster, count: usize) -> Result<()> {
    let replicas = format!("--replicas={count}");
    let kubectl = cluster.kubectl().namespaced(NAMESPACE);
    kubectl.run(["scale", "statefulset/coffer-broker", &replicas]).ok().await?;
    fault::ready(cluster, "broker", count).await
}

async fn in_namespace(ns: &Namespace, sizes: &Sizes) -> Result<Vec<Figure>> {
    let (members, connections) = (sizes.members, sizes.connections[0]);
    let team = Team::make(ns).await?;
    let grow = async {
        team.workload("web").await?;
        stream::iter((1..members).map(async |at| join(ns, &team, &format!("member-{at}")).await))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        for at in 1..members {
            team.active(&format!("member-{at}")).await?;
        }
        let mut ready = Ready::watch(ns.api(), watcher::Config::default());
        stream::iter((0..connections).map(|at| apply_one(ns, &team, at, &["*"])))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        ready.all(connections, ALL).await
    };
    step(&format!("a vault of {members} members and {connections} Connections"), grow).await?;
    let mut neighbour = Neighbour::make(ns).await?;
    let idle =
        step("another vault's Connections, while nothing happens", neighbour.idle(sizes.singles)).await?;
    let mut figures = denied(ns, sizes.removals).await?;
    let members = members - sizes.removals - 1;
    figures.extend(resealed(ns, &team, &mut neighbour, idle, members, connections).await?);
    Ok(figures)
}

async fn join(ns: &Namespace, team: &Team<'_>, member: &str) -> Result<()> {
    ns.service_account(member).await?;
    team.invite(member, "member", json!({"serviceAccount": {"name": member}})).await.map(drop)
}

/// From the delete's answer to the last replica of the broker that denies: several members one after the other.
async fn denied(ns: &Namespace, removals: usize) -> Result<Vec<Figure>> {
    let door = Door::find(ns.cluster()).await?;
    let replicas = fault::pods(ns.cluster(), "broker").await?;
    let doors: Vec<Door> =
        replicas.iter().map(|pod| Ok(door.of_pod(&fault::address(pod)?))).collect::<Result<_>>()?;
    ensure!(!doors.is_empty(), "no broker runs in {NAMESPACE}");
    let work = async {
        let mut times = Vec::new();
        for at in 1..=removals {
            let member = format!("member-{at}");
            let pod = ns.shell(&member, json!({"spec": {"serviceAccountName": member}})).await?;
            let token = pod_token(&ns.api(), &pod).await?;
            for door in &doors {
                ensure!(asks(door, &pod, &token).await? == 200, "{member} may read before");
            }
            let left = active(ns).await? - 1;
            ns.api::<VaultMember>().delete(&member, &DeleteParams::default()).await?;
            let started = Instant::now();
            let all = doors.iter().map(async |door| {
                wait::until("a denial", wait::SOON, async || {
                    Ok((asks(door, &pod, &token).await? != 200).then(|| started.elapsed()))
                })
                .await
            });
            times.push(futures::future::try_join_all(all).await?.into_iter().max().unwrap_or_default());
            ns.api::<Pod>().delete(&member, &DeleteParams::default().grace_period(0)).await?;
            settled(ns, left).await?;
        }
        anyhow::Ok(times)
    };
    let mut times = step("removing members one by one", work).await?;
    times.sort_unstable();
    let what = format!("removal: denied by all of {} brokers, p99", doors.len());
    Ok(vec![Figure::new(what, ms(percentile(&times, 99)), "ms").at_most(1_000.0).note(format!(
        "{removals} removals, p50 {:.0} ms; looked at every 50 ms, from the delete's answer",
        ms(percentile(&times, 50))
    ))])
}

async fn asks(door: &Door, pod: &Pod, token: &str) -> Result<u16> {
    let knock = Knock::new(pod, &[&name(0)])?;
    Ok(door.ask_as(token, &knock).await?.status)
}

/// From the delete to everything being sealed in the next epoch.
async fn resealed(
    ns: &Namespace,
    team: &Team<'_>,
    neighbour: &mut Neighbour<'_>,
    idle: Vec<Duration>,
    members: usize,
    connections: usize,
) -> Result<Vec<Figure>> {
    let (leaver, left) = ("leaver", active(ns).await?);
    join(ns, team, leaver).await?;
    team.active(leaver).await?;
    settled(ns, left + 1).await?;
    let before = scrape::writes(&ns.client()).await?;
    ns.api::<VaultMember>().delete(leaver, &DeleteParams::default()).await?;
    let started = Instant::now();
    let mut most = memory::most("operator")?;
    let done = async {
        settled(ns, left).await?;
        anyhow::Ok(started.elapsed())
    };
    let watching = async {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            if let Ok(now) = memory::most("operator")
                && now.whole > most.whole
            {
                most = now;
            }
        }
    };
    let mut busy = Vec::new();
    let writing = async {
        let mut ticks = tokio::time::interval(WRITE);
        loop {
            ticks.tick().await;
            match neighbour.write().await {
                Ok(took) => busy.push(took),
                Err(error) => return error,
            }
        }
    };
    let work = async {
        tokio::select! {
            took = done => took,
            error = writing => Err(error),
            () = watching => unreachable!("it watches for ever"),
        }
    };
    let took = step("removing one more, and watching", work).await?;
    let writes = scrape::writes(&ns.client()).await? - before;
    busy.sort_unstable();
    let least = 2 * members + connections;
    let [[idle_p50, idle_p99], [busy_p50, busy_p99]] =
        [&idle, &busy].map(|times| [50, 99].map(|part| ms(percentile(times, part))));
    Ok(vec![
        Figure::new(
            format!(
                "removal of one of {members}, {} Connections → all sealed anew",
                short(count(connections))
            ),
            took.as_secs_f64(),
            "s",
        )
        .at_most(60.0),
        Figure::new("removal: API writes, by anybody", writes, "writes").note(format!(
            "lower bound {least}: 2 × members + Connections; a Connection's status follows its Envelope"
        )),
        most.figure("memory: operator during it").at_most(80.0),
        Figure::new("removal: another vault's value → Ready meanwhile, p99", busy_p99 / idle_p99, "× idle")
            .at_most(2.0)
            .note(format!(
                "{busy_p99:.0} ms of {} creates, p50 {busy_p50:.0} ms; before {idle_p99:.0} ms of {}, p50 {idle_p50:.0} ms",
                busy.len(),
                idle.len()
            )),
    ])
}

/// How many members are in force.
async fn active(ns: &Namespace) -> Result<i64> {
    let vault = ns.api::<Vault>().get("team").await?;
    vault
        .status
        .and_then(|status| status.members)
        .map(|members| members.active)
        .context("no count of members")
}

/// Wait until so many members are in force, by which the operator has seen who is gone, and no key is turned over.
async fn settled(ns: &Namespace, members: i64) -> Result<()> {
    let settled = |vault: Option<&Vault>| {
        vault.and_then(|vault| vault.status.as_ref()).is_some_and(|status| {
            status.rotation.is_none()
                && status.members.as_ref().is_some_and(|counts| counts.active == members)
        })
    };
    let what = "everything to be sealed under new keys";
    wait::object(&ns.api(), "team", what, ALL, settled).await.map(drop)
}

/// Another vault, whose people work meanwhile.
struct Neighbour<'a> {
    ns: &'a Namespace,
    team: Team<'a>,
    ready: Ready,
    written: usize,
}

impl<'a> Neighbour<'a> {
    async fn make(ns: &'a Namespace) -> Result<Self> {
        let team = Team::with_spec(ns, "neighbour", json!({})).await?;
        let ready = Ready::watch(ns.api(), watcher::Config::default().labels("bench=neighbour"));
        Ok(Self { ns, team, ready, written: 0 })
    }

    /// How long a new credential takes from its create to Ready.
    async fn write(&mut self) -> Result<Duration> {
        self.written += 1;
        let name = format!("neighbours-{}", self.written);
        let mut manifest = self.team.manifest(&name, &["*"], &[("token", "of-the-neighbours")]);
        manifest["metadata"]["labels"] = json!({"bench": "neighbour"});
        let started = Instant::now();
        create(self.ns, manifest).await?;
        Ok(self.ready.one(&name, ALL).await? - started)
    }

    /// The same so many times, sorted.
    async fn idle(&mut self, number: usize) -> Result<Vec<Duration>> {
        let (mut times, mut ticks) = (Vec::with_capacity(number), tokio::time::interval(WRITE));
        for _ in 0..number {
            ticks.tick().await;
            times.push(self.write().await?);
        }
        times.sort_unstable();
        Ok(times)
    }
}
