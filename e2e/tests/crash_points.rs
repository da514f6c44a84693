//! The operator is killed before and after each write of a turn-over, on the real API server, and started again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use coffer_crds::{Envelope, EnvelopeScope, Keyring, Vault, VaultMember};
use e2e::broker::{Door, Knock, pod_token};
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::progress::note;
use e2e::team::Team;
use e2e::{fault, wait};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;
use tokio::process::{Child, Command};

/// What a killed operator ends with.
const KILLED: i32 = 77;

/// More points than a turn-over of this vault has writes.
const MOST: usize = 40;

/// Everything that a turn-over is to leave behind, without what is random.
#[derive(Debug, PartialEq, Eq)]
struct End {
    epochs: Vec<i64>,
    current: i64,
    /// Phase and epochs of the wrapped keys.
    members: BTreeMap<String, (String, Vec<i64>)>,
    /// Epoch, version, scope and slots.
    envelopes: BTreeMap<String, (i64, i64, Vec<String>, Vec<String>)>,
    bound: Vec<String>,
}

impl End {
    /// What is there, with epochs counted from `epoch` and without the members that have had their turn.
    async fn seen(ns: &Namespace, epoch: i64) -> Result<Self> {
        let keyring = ns.api::<Keyring>().get("team").await?.spec;
        let all = ListParams::default();
        let stays = |name: &str| !name.starts_with("leaver-");
        let members = ns.api::<VaultMember>().list(&all).await?.items.into_iter();
        let members = members.filter(|member| stays(&member.name_any())).map(|member| {
            let status = member.status.clone().unwrap_or_default();
            let epochs = status.wrapped_keys.iter().map(|wrapped| wrapped.epoch - epoch).collect();
            (member.name_any(), (format!("{:?}", status.phase), epochs))
        });
        let envelopes = ns.api::<Envelope>().list(&all).await?.items.into_iter().map(|envelope| {
            let spec = envelope.spec.clone();
            let scope = match spec.members {
                EnvelopeScope::All(_) => vec![String::from("*")],
                EnvelopeScope::Listed(members) => members.into_iter().map(|member| member.name).collect(),
            };
            let slots = spec.slots.iter().map(|slot| format!("{:?} {:?}", slot.to, slot.name)).collect();
            let stay = |names: Vec<String>| names.into_iter().filter(|name| stays(name)).collect();
            (envelope.name_any(), (spec.epoch - epoch, spec.version, stay(scope), slots))
        });
        let bindings = ns.api::<RoleBinding>().list(&all.clone().labels("coffer.dev/vault=team")).await?;
        let subjects = bindings.items.into_iter().flat_map(|binding| binding.subjects.unwrap_or_default());
        let mut bound: Vec<String> =
            subjects.map(|subject| subject.name).filter(|name| stays(name)).collect();
        bound.sort();
        Ok(Self {
            epochs: keyring.epochs.iter().map(|held| held.epoch - epoch).collect(),
            current: keyring.current - epoch,
            members: members.collect(),
            envelopes: envelopes.collect(),
            bound,
        })
    }
}

/// Runs the operator as a process of the test.
struct Operators<'a> {
    ns: &'a Namespace,
    token: String,
    kubeconfig: std::path::PathBuf,
}

impl Operators<'_> {
    fn start(&self, fault: &[String]) -> Result<Child> {
        Command::new(env!("CARGO_BIN_EXE_crashing-operator"))
            .args(["--namespace", NAMESPACE, "--pod-name", "crash-points"])
            .args(fault)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("OPERATOR_TOKEN", &self.token)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start the operator")
    }

    /// The Lease is given back by the test, which knows that its holder is dead.
    async fn free(&self) -> Result<()> {
        let free = json!({"spec": {"holderIdentity": ""}}).to_string();
        let kubectl = self.ns.cluster().kubectl().namespaced(NAMESPACE);
        kubectl
            .run(["patch", "lease", "coffer-operator", "--type", "merge", "-p", &free])
            .ok()
            .await
            .map(drop)
    }

    /// Runs one until it is killed at its point or everything is in this epoch; whether it was killed.
    async fn until_killed(&self, fault: &[String], epoch: i64) -> Result<bool> {
        let mut child = self.start(fault)?;
        let outcome = tokio::select! {
            ended = child.wait() => Some(ended?),
            done = turned_over(self.ns, epoch) => {
                done?;
                None
            }
        };
        let killed = match outcome {
            Some(status) => {
                ensure!(was_killed(status), "the operator ended by itself: {status}");
                true
            }
            None => {
                child.kill().await?;
                false
            }
        };
        self.free().await?;
        Ok(killed)
    }
}

fn was_killed(status: ExitStatus) -> bool {
    status.code() == Some(KILLED)
}

async fn turned_over(ns: &Namespace, epoch: i64) -> Result<()> {
    let done = |found: Option<&Vault>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.key_epoch == Some(epoch) && status.rotation.is_none())
    };
    wait::object(&ns.api::<Vault>(), "team", "new keys everywhere", wait::SOON, done).await?;
    // The last writes come after that: members lose the keys of the epoch that is gone.
    wait::until("the older wrapped keys to go", wait::SOON, async || {
        let members = ns.api::<VaultMember>().list(&ListParams::default()).await?;
        let wrapped =
            members.iter().flat_map(|member| member.status.iter().flat_map(|status| &status.wrapped_keys));
        Ok(wrapped.into_iter().all(|wrapped| wrapped.epoch == epoch).then_some(()))
    })
    .await
}

/// What a member who stayed is given.
async fn reads(ns: &Namespace, door: &Door, pod: &Pod, account: &ServiceAccount) -> Result<()> {
    let token = pod_token(&ns.api(), pod).await?;
    for name in ["everybody", "listed"] {
        let knock = Knock::new(pod, &[name])?;
        let released = knock.open(&door.ask_as(&token, &knock).await?, account)?;
        ensure!(
            released.connections[0].items["token"].expose() == name.as_bytes(),
            "{name} has another value"
        );
    }
    Ok(())
}

/// T3: wherever a turn-over is interrupted, it ends as one that is not.
#[tokio::test]
async fn killed_at_any_write_the_operator_ends_a_turn_over_as_if_nothing_had_been() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "crash", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        let leavers: Vec<String> = (0..2 * MOST).map(|at| format!("leaver-{at}")).collect();
        for leaver in &leavers {
            ns.service_account(leaver).await?;
        }
        team.connection("everybody", &["*"], &[("token", "everybody")]).await?;
        let pod = ns.shell("web", json!({"spec": {"serviceAccountName": "web"}})).await?;
        let account = ns.api::<ServiceAccount>().get("web").await?;
        let door = Door::find(&cluster).await?;

        fault::scale(&cluster, "operator", 0).await?;
        let outcome = async {
            let token = cluster.kubectl().namespaced(NAMESPACE);
            let token = token.run(["create", "token", "coffer-operator", "--duration=1h"]).ok().await?;
            let kubeconfig = cluster.layout().kubeconfig("admin");
            let operators = Operators { ns, token: token.trim().to_owned(), kubeconfig };
            operators.free().await?;
            every_point(ns, &team, &operators, &leavers, async || reads(ns, &door, &pod, &account).await)
                .await
        }
        .await;
        fault::scale(&cluster, "operator", 2).await?;
        outcome
    })
    .await
}

async fn every_point(
    ns: &Namespace,
    team: &Team<'_>,
    operators: &Operators<'_>,
    leavers: &[String],
    reads: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let mut leavers = leavers.iter();
    let mut epoch = 1;
    // How it ends when nothing happens.
    let mut undisturbed = None;
    for after in [false, true] {
        for at in 0..MOST {
            let leaver = leavers.next().context("too few members")?;
            let mut child = operators.start(&[])?;
            team.invite(leaver, "member", json!({"serviceAccount": {"name": leaver}})).await?;
            team.active(leaver).await?;
            team.connection("listed", &["web", leaver], &[("token", "listed")]).await?;
            child.kill().await?;
            operators.free().await?;
            let version = team.version("listed").await?;
            ns.kubectl().run(["delete", "vaultmember", leaver]).ok().await?;
            epoch += 1;
            let mut fault = vec![];
            if at > 0 {
                fault = vec![String::from("--die-at"), at.to_string()];
                fault.extend(after.then(|| String::from("--after")));
            }
            let killed = operators.until_killed(&fault, epoch).await.with_context(|| format!("{fault:?}"))?;
            if killed {
                reads().await.with_context(|| format!("between, {fault:?}"))?;
                ensure!(!operators.until_killed(&[], epoch).await?, "nothing kills the next one");
            }
            let mut end = End::seen(ns, epoch).await?;
            // Each round is a later version of nothing; only the epochs were counted from zero.
            ensure!(end.envelopes["listed"].1 == version, "a version came or went");
            end.envelopes.values_mut().for_each(|envelope| envelope.1 = 0);
            match &undisturbed {
                None => undisturbed = Some(end),
                Some(undisturbed) => {
                    ensure!(end == *undisturbed, "{fault:?}: {end:?} and not {undisturbed:?}")
                }
            }
            reads().await.with_context(|| format!("at the end, {fault:?}"))?;
            if at > 0 && !killed {
                note(format!("{} writes, killed {} each", at - 1, if after { "after" } else { "before" }));
                ensure!(at > 6, "a turn-over has more writes than {}", at - 1);
                break;
            }
            if at + 1 == MOST {
                bail!("a turn-over of one vault has no end");
            }
        }
    }
    Ok(())
}
