//! A vault's keys are turned over while everybody works.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use coffer_crds::{Connection, Envelope, Keyring, Vault, conditions};
use e2e::broker::{Door, Knock, pod_token};
use e2e::install;
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::ListParams;
use serde_json::json;

/// Credentials in the vault.
const CREDENTIALS: usize = 60;

/// Wait until everything is sealed in this epoch.
async fn turned_over(ns: &Namespace, epoch: i64) -> Result<()> {
    let done = |found: Option<&Vault>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.key_epoch == Some(epoch) && status.rotation.is_none())
    };
    wait::object(&ns.api::<Vault>(), "team", "everything to be sealed under new keys", wait::SOON, done)
        .await?;
    let keyring = ns.api::<Keyring>().get("team").await?.spec;
    let held: Vec<i64> = keyring.epochs.iter().map(|held| held.epoch).collect();
    ensure!(held == [epoch], "epochs {held:?} are held");
    for envelope in ns.api::<Envelope>().list(&ListParams::default()).await? {
        ensure!(
            envelope.spec.epoch == epoch,
            "{:?} is sealed in {}",
            envelope.metadata.name,
            envelope.spec.epoch
        );
    }
    Ok(())
}

/// A reader in a tight loop.
struct Reader<'a> {
    door: &'a Door,
    pod: &'a Pod,
    token: &'a str,
    account: &'a ServiceAccount,
    stop: &'a AtomicBool,
    read: &'a AtomicUsize,
}

impl Reader<'_> {
    async fn read(&self, from: usize) -> Result<()> {
        let mut at = from;
        while !self.stop.load(Ordering::Relaxed) {
            let name = format!("c{}", at % CREDENTIALS);
            let knock = Knock::new(self.pod, &[&name])?;
            let answer = self.door.ask_as(self.token, &knock).await?;
            let released = knock.open(&answer, self.account).with_context(|| format!("read {name}"))?;
            let value = released.connections[0].items["token"].expose();
            ensure!(value == format!("value of {name}").as_bytes(), "{name} has another value");
            self.read.fetch_add(1, Ordering::Relaxed);
            at += 1;
        }
        Ok(())
    }
}

/// Issue 6 §1, C6, C40: readers never notice, injected pods keep their files, and nobody's work waits for it.
#[tokio::test]
async fn a_removal_turns_the_keys_over_and_no_reader_notices() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "rotation", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        for name in ["web", "job", "ci"] {
            team.workload(name).await?;
        }
        let everything: Vec<String> = (0..CREDENTIALS)
            .map(|at| {
                // Every third is for a list, the others for everybody.
                let members: &[&str] = if at % 3 == 0 { &["web", "job"] } else { &["*"] };
                let name = format!("c{at}");
                team.manifest(&name, members, &[("token", &format!("value of {name}"))]).to_string()
            })
            .collect();
        ns.kubectl().apply(&everything.join("\n---\n")).await?;
        for at in 0..CREDENTIALS {
            team.ready(&format!("c{at}")).await?;
        }
        let kept = ns.shell("web", asking("web", "c0,c1")).await?;
        let leaver = ns.shell("job", json!({"spec": {"serviceAccountName": "job"}})).await?;
        let (token, its) = (pod_token(&ns.api(), &kept).await?, pod_token(&ns.api(), &leaver).await?);
        let account = ns.api::<ServiceAccount>().get("web").await?;
        let door = Door::find(&cluster).await?;
        let knock = Knock::new(&leaver, &["c1"])?;
        ensure!(door.ask_as(&its, &knock).await?.status == 200, "job may read before");

        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let reader =
            Reader { door: &door, pod: &kept, token: &token, account: &account, stop: &stop, read: &read };
        let removing = async {
            let outcome = async {
                wait::until("the readers to be at it", wait::SOON, async || {
                    Ok((read.load(Ordering::Relaxed) > 50).then_some(()))
                })
                .await?;
                ns.kubectl().run(["delete", "vaultmember", "job"]).ok().await?;
                wait::until("nothing to be released to job", wait::SOON, async || {
                    let knock = Knock::new(&leaver, &["c1"])?;
                    Ok((door.ask_as(&its, &knock).await?.status == 404).then_some(()))
                })
                .await?;
                turned_over(ns, 2).await?;
                // And twice more, while the readers go on: a suspension and a request.
                let suspend = json!({"spec": {"suspended": true}}).to_string();
                ns.kubectl()
                    .run(["patch", "vaultmember", "ci", "--type", "merge", "-p", &suspend])
                    .ok()
                    .await?;
                turned_over(ns, 3).await?;
                let soon = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 1)?;
                let request = json!({"spec": {"rotation": {"requestedAt": soon.to_string()}}}).to_string();
                ns.kubectl().run(["patch", "vault", "team", "--type", "merge", "-p", &request]).ok().await?;
                turned_over(ns, 4).await
            }
            .await;
            stop.store(true, Ordering::Relaxed);
            outcome
        };
        let (removed, one, two) = tokio::join!(removing, reader.read(0), reader.read(CREDENTIALS / 2));
        one.and(two).context("a reader noticed")?;
        removed?;
        let read = read.load(Ordering::Relaxed);
        ensure!(read > 200, "only {read} reads: they cannot have gone on through it");

        // C7: what job could read is named, until there is another value.
        let connection = ns.api::<Connection>().get("c1").await?;
        let advised = |connection: &Connection| {
            let conditions = connection.status.iter().flat_map(|status| &status.conditions);
            let mut advised = conditions.filter(|found| found.type_ == conditions::PROVIDER_ROTATION_ADVISED);
            advised.next().map(|found| (found.status.clone(), found.message.clone()))
        };
        let (status, message) = advised(&connection).context("no advice")?;
        ensure!(status == "True" && message.contains("job") && message.contains("ci"), "{message}");
        team.connection("c1", &["*"], &[("token", "another value")]).await?;
        let connection = ns.api::<Connection>().get("c1").await?;
        ensure!(advised(&connection).is_some_and(|(status, _)| status == "False"), "the advice ends");

        // The pod that ran all along has what it had; one that starts now gets the same.
        ensure!(ns.kubectl().exec("web", &["cat", "/coffer/c0/token"]).await? == "value of c0");
        ns.shell("late", asking("web", "c0")).await?;
        ensure!(ns.kubectl().exec("late", &["cat", "/coffer/c0/token"]).await? == "value of c0");
        Ok(())
    })
    .await
}
