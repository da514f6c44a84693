//! A team at work while something breaks: it writes Connections, starts pods that read them, and a pod that runs asks
//! the broker again and again. Every failure is written down with the fault during which it happened.

use crate::broker::{Door, Knock, pod_token};
use crate::namespace::Namespace;
use crate::team::{Team, asking};
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use coffer_crds::Connection;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

mod reader;

pub use reader::{read_value, reader, run_reader};

/// The ServiceAccount that may use what is written.
const READER: &str = "reader";
/// How many Connections are written in turn, and how many pods are being started at a time.
const WRITERS: usize = 2;
const STARTERS: usize = 2;
/// How often each writes, and how often the broker is asked.
const PACE: Duration = Duration::from_millis(400);
const ASK: Duration = Duration::from_millis(100);
/// How often whoever asks the broker looks whom to trust, as the node driver does.
const TRUST: Duration = Duration::from_secs(2);
/// How long one request may take before it is counted as failed and sent again.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long a pod may take to run whatever is broken meanwhile.
const POD: Duration = Duration::from_secs(180);

/// The work that goes on in the background until it is ended.
pub struct Load {
    namespace: Namespace,
    going: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    runs: Pod,
}

/// What was done and what failed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    fault: String,
    sent: BTreeMap<String, BTreeSet<String>>,
    accepted: BTreeMap<String, String>,
    /// Writes that were accepted.
    pub writes: usize,
    /// Pods that ran and read a value that had been written.
    pub pods: usize,
    /// Releases that the broker answered.
    pub releases: usize,
    /// Writes that failed at first; each was sent again until it was accepted.
    pub failed_writes: Vec<Failure>,
    /// Pods that were refused at first; each was sent again until it was accepted.
    pub refused_pods: Vec<Failure>,
    /// Releases that failed.
    pub failed_releases: Vec<Failure>,
    /// What must never be: pods that failed for good, or read what nobody had written.
    pub lost: Vec<Failure>,
}

/// One failure.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was being done to the cluster.
    pub during: String,
    /// What was said.
    pub said: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "during '{}': {}", self.during, self.said)
    }
}

impl Load {
    /// Make a vault, its reader and Connections, let the team work during `body`, and see that nothing is lost.
    ///
    /// # Errors
    /// Those of `body`, and if something is lost.
    pub async fn during(namespace: &Namespace, body: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<Seen> {
        let load = Self::begin(namespace).await?;
        let (worked, done) = tokio::join!(load.work(), async {
            let done = body(&load).await;
            load.going.store(false, Ordering::Relaxed);
            let seen = load.seen();
            done.with_context(|| format!("during '{}': {}{}", seen.fault, seen.summary(), seen.noticed()))
        });
        done?;
        worked?;
        load.check().await
    }

    async fn begin(namespace: &Namespace) -> Result<Self> {
        let team = Team::make(namespace).await?;
        team.workload(READER).await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        for number in 0..WRITERS {
            let name = connection(number);
            write(namespace, &name, "first").await?;
            team.ready(&name).await?;
            let mut seen = locked(&seen);
            seen.sent.entry(name.clone()).or_default().insert("first".into());
            seen.accepted.insert(name, "first".into());
        }
        let runs = namespace.shell("runs", asking(READER, &connection(0))).await?;
        Ok(Self { namespace: namespace.clone(), going: Arc::new(AtomicBool::new(true)), seen, runs })
    }

    async fn work(&self) -> Result<()> {
        let writers = (0..WRITERS).map(|number| keep_writing(self.worker(), connection(number)));
        let starters = (0..STARTERS).map(|number| keep_starting(self.worker(), number));
        tokio::try_join!(
            futures::future::try_join_all(writers),
            futures::future::try_join_all(starters),
            keep_asking(self.worker(), self.runs.clone())
        )
        .map(drop)
    }

    fn worker(&self) -> Worker {
        Worker { namespace: self.namespace.clone(), going: self.going.clone(), seen: self.seen.clone() }
    }

    /// Say what is about to be done to the cluster; later failures are of this fault.
    pub fn expect(&self, fault: &str) {
        crate::progress::note(format!("fault: {fault}"));
        fault.clone_into(&mut locked(&self.seen).fault);
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        locked(&self.seen).clone()
    }

    /// Wait until each kind of work has been done once more: begun after this call, or a moment before it.
    ///
    /// # Errors
    /// If the work does not go on.
    pub async fn goes_on(&self) -> Result<()> {
        let before = self.seen();
        let done = |now: &Seen| {
            now.writes > before.writes + WRITERS
                && now.pods > before.pods + STARTERS
                && now.releases > before.releases
        };
        wait::until("the work to go on", POD, async || Ok(done(&self.seen()).then_some(()))).await
    }

    /// Each Connection is ready with the value accepted last, a new pod and the one that ran all the time read it, and
    /// the latter was never started again.
    async fn check(&self) -> Result<Seen> {
        let seen = self.seen();
        ensure!(seen.lost.is_empty(), "lost: {}", told(&seen.lost));
        let team = Team::existing(&self.namespace);
        for (name, value) in &seen.accepted {
            team.ready(name).await?;
            let read = run_reader(&self.namespace, &format!("last-{name}"), name).await?;
            ensure!(read == *value, "'{name}' was last written as '{value}', and a pod reads '{read}'");
        }
        let running = self.namespace.api::<Pod>().get(&self.runs.name_any()).await?;
        ensure!(
            container(&running) == container(&self.runs),
            "the pod that runs was started again: {:?} became {:?}",
            container(&self.runs),
            container(&running)
        );
        let (name, kubectl) = (connection(0), self.namespace.kubectl());
        let (expected, path) = (&seen.accepted[&name], format!("/coffer/{name}/token"));
        wait::until("the running pod to see the last value", POD, async || {
            let read = kubectl.exec("runs", &["cat", &path]).await?;
            ensure!(seen.sent[&name].contains(&read), "the running pod reads '{read}'");
            Ok((read == *expected).then_some(()))
        })
        .await?;
        crate::progress::note(seen.summary());
        Ok(seen)
    }
}

impl Seen {
    /// The counts in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} writes ({} failed at first), {} pods ({} refused at first, {} lost), {} releases ({} failed)",
            self.writes,
            self.failed_writes.len(),
            self.pods,
            self.refused_pods.len(),
            self.lost.len(),
            self.releases,
            self.failed_releases.len()
        )
    }

    /// That nobody noticed anything: no write, pod or release failed even once.
    ///
    /// # Errors
    /// With what failed.
    pub fn unnoticed(&self) -> Result<()> {
        let noticed = self.noticed();
        ensure!(noticed.is_empty(), "somebody noticed:{noticed}");
        Ok(())
    }

    /// What failed, a line each, and of each kind not more than ten.
    fn noticed(&self) -> String {
        let kinds = [&self.failed_writes, &self.refused_pods, &self.failed_releases, &self.lost];
        kinds
            .into_iter()
            .flat_map(|kind| kind.iter().take(10))
            .map(|failure| format!("\n{failure}"))
            .collect()
    }
}

fn told(failures: &[Failure]) -> String {
    failures.iter().take(10).map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn container(pod: &Pod) -> Option<(String, i32)> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some((status.container_id.clone()?, status.restart_count))
}

fn connection(number: usize) -> String {
    format!("credential-{number}")
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Worker {
    namespace: Namespace,
    going: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

impl Worker {
    fn goes(&self) -> bool {
        self.going.load(Ordering::Relaxed)
    }

    fn failed(&self, error: &anyhow::Error, pick: fn(&mut Seen) -> &mut Vec<Failure>) {
        let mut seen = locked(&self.seen);
        let failure = Failure { during: seen.fault.clone(), said: format!("{error:#}") };
        pick(&mut seen).push(failure);
    }

    /// Send one request again until it is accepted, as every controller and deploy job does.
    async fn insist(
        &self,
        pick: fn(&mut Seen) -> &mut Vec<Failure>,
        request: impl AsyncFn() -> Result<()>,
    ) -> Result<()> {
        wait::until("a request to be accepted", POD, async || {
            match timeout(PATIENCE, request()).await.unwrap_or_else(|_| bail!("no answer in time")) {
                Ok(()) => Ok(Some(())),
                Err(error) => {
                    self.failed(&error, pick);
                    Err(error)
                }
            }
        })
        .await
    }
}

async fn write(namespace: &Namespace, name: &str, value: &str) -> Result<()> {
    let fields = Team::existing(namespace).manifest(name, &[READER], &[("token", value)]);
    let apply = PatchParams::apply("deploy").force();
    namespace.api::<Connection>().patch(name, &apply, &Patch::Apply(fields)).await?;
    Ok(())
}

async fn keep_writing(worker: Worker, name: String) -> Result<()> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        pace.tick().await;
        if !worker.goes() {
            break;
        }
        let value = format!("{name}-{number}");
        locked(&worker.seen).sent.entry(name.clone()).or_default().insert(value.clone());
        worker
            .insist(|seen| &mut seen.failed_writes, async || write(&worker.namespace, &name, &value).await)
            .await?;
        let mut seen = locked(&worker.seen);
        seen.accepted.insert(name.clone(), value);
        seen.writes += 1;
    }
    Ok(())
}

async fn keep_starting(worker: Worker, starter: usize) -> Result<()> {
    let pods = worker.namespace.api::<Pod>();
    for number in 0.. {
        if !worker.goes() {
            break;
        }
        let (name, credential) = (format!("starts-{starter}-{number}"), connection(number % WRITERS));
        let pod: Pod = serde_json::from_value(reader(&name, &credential))?;
        worker
            .insist(
                |seen| &mut seen.refused_pods,
                async || {
                    match pods.create(&PostParams::default(), &pod).await {
                        // The answer to an earlier try was lost.
                        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                        other => Ok(other.map(drop)?),
                    }
                },
            )
            .await?;
        match read_value(&worker.namespace, &name).await {
            Ok(value) if locked(&worker.seen).sent[&credential].contains(&value) => {
                locked(&worker.seen).pods += 1;
            }
            Ok(value) => worker
                .failed(&anyhow::anyhow!("pod '{name}' read '{value}', which nobody wrote"), |seen| {
                    &mut seen.lost
                }),
            Err(error) => worker.failed(&error, |seen| &mut seen.lost),
        }
        // One that cannot be deleted now goes with its namespace.
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = timeout(PATIENCE, pods.delete(&name, &at_once)).await;
    }
    Ok(())
}

async fn keep_asking(worker: Worker, pod: Pod) -> Result<()> {
    let token = pod_token(&worker.namespace.api::<ServiceAccount>(), &pod).await?;
    let mut door = Door::find(worker.namespace.cluster()).await?;
    let mut found = Instant::now();
    let mut pace = interval(ASK);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while worker.goes() {
        pace.tick().await;
        if found.elapsed() > TRUST {
            found = Instant::now();
            // Trusts whom the installation names by now. With the API server away, whom it named last.
            if let Ok(Ok(again)) = timeout(TRUST, Door::find(worker.namespace.cluster())).await {
                door = again;
            }
        }
        let knock = Knock::new(&pod, &[&connection(0)])?;
        let asked = async {
            let answer = door.ask_as(&token, &knock).await?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.message());
            Ok(())
        };
        match timeout(PATIENCE, asked).await.unwrap_or_else(|_| bail!("no answer in time")) {
            Ok(()) => locked(&worker.seen).releases += 1,
            Err(error) => worker.failed(&error, |seen| &mut seen.failed_releases),
        }
    }
    Ok(())
}
