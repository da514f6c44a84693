//! The root of trust is lost and comes back: nothing replaces it by itself, nothing is lost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use coffer_crds::{Vault, conditions};
use coffer_envelope::Custodian;
use coffer_envelope::custody::{BROKERED_SECRET, CUSTODIAN_SECRET, RootOfTrust, seal_secrets};
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use getrandom::rand_core::UnwrapErr;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

const ROOT: &str = "coffer-root";

async fn restart_operators(pods: &Api<Pod>) -> Result<()> {
    let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
    for pod in pods.list(&operators).await? {
        pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

/// The reason of the Vault's `Ready` when that is what it should be.
async fn told(ns: &Namespace, status: &str, reason: &str) -> Result<()> {
    let vaults = ns.api::<Vault>();
    wait::object(&vaults, "team", reason, wait::SOON, |found: Option<&Vault>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|found| {
            found.conditions.iter().any(|condition| {
                condition.type_ == conditions::READY
                    && condition.status == status
                    && condition.reason == reason
            })
        })
    })
    .await
    .map(drop)
}

/// With the right root everything that was there opens again, and a new value reaches a new pod.
async fn goes_on(ns: &Namespace, team: &Team<'_>) -> Result<()> {
    told(ns, "True", conditions::reason::AVAILABLE).await?;
    team.connection("github", &["web"], &[("token", "next")]).await?;
    // The broker's mounted keys follow within the kubelet's period.
    ns.shell("after", asking("web", "github")).await?;
    assert_eq!(ns.kubectl().exec("after", &["cat", "/coffer/github/token"]).await?, "next");
    Ok(())
}

/// T34 for root `local`; part of C26: no silent fallback.
#[tokio::test]
async fn a_root_that_is_gone_is_missed_aloud_and_never_replaced() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "rootless", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "value")]).await?;
        ns.shell("before", asking("web", "github")).await?;
        let client = cluster.client().await?;
        let secrets = Api::<Secret>::namespaced(client.clone(), NAMESPACE);
        let pods = Api::<Pod>::namespaced(client, NAMESPACE);
        let mut copy = secrets.get(ROOT).await?;
        copy.metadata.resource_version = None;
        copy.metadata.uid = None;

        secrets.delete(ROOT, &DeleteParams::default()).await?;
        let missed = async {
            restart_operators(&pods).await?;
            told(ns, "False", conditions::reason::CUSTODIAN_UNAVAILABLE).await?;
            ensure!(secrets.get_opt(ROOT).await?.is_none(), "the root was replaced");
            // What runs goes on: the broker still holds its branch.
            ns.shell("meanwhile", asking("web", "github")).await.map(drop)
        }
        .await;
        secrets.create(&PostParams::default(), &copy).await.context("put the root back")?;
        missed?;

        goes_on(ns, &team).await
    })
    .await
}

/// The three Secrets of another installation's custody, whole and consistent.
fn another_installation() -> Result<Vec<(&'static str, Secret)>> {
    let mut rng = UnwrapErr(getrandom::SysRng);
    let (trust, custodian) = (RootOfTrust::generate_local(&mut rng), Custodian::generate(&mut rng));
    let sealed = seal_secrets(&custodian, &trust, &mut rng)?;
    let root = trust.local_secret();
    let secret = |name: &str, data: Vec<(String, Vec<u8>)>| -> Result<Secret> {
        let data: serde_json::Map<_, _> =
            data.into_iter().map(|(key, bytes)| (key, json!(BASE64.encode(bytes)))).collect();
        Ok(serde_json::from_value(json!({"metadata": {"name": name}, "immutable": true, "data": data}))?)
    };
    Ok(vec![
        (
            ROOT,
            secret(ROOT, root.iter().map(|(key, it)| ((*key).to_owned(), it.expose().to_vec())).collect())?,
        ),
        (CUSTODIAN_SECRET, secret(CUSTODIAN_SECRET, sealed.custodian.into_iter().collect())?),
        (BROKERED_SECRET, secret(BROKERED_SECRET, sealed.brokered.into_iter().collect())?),
    ])
}

/// Put these in place of the Secrets of the same names.
async fn replace(secrets: &Api<Secret>, with: &[(&str, Secret)]) -> Result<()> {
    for (name, secret) in with {
        if secrets.get_opt(name).await?.is_some() {
            secrets.delete(name, &DeleteParams::default()).await?;
            wait::absent(secrets, name, wait::SOON).await?;
        }
        secrets
            .create(&PostParams::default(), secret)
            .await
            .with_context(|| format!("put {name} in place"))?;
    }
    Ok(())
}

/// T34: neither another root under the same custodian nor another installation's whole custody is taken for ours; both
/// are told, without a restart, and nothing that lies in etcd is lost.
#[tokio::test]
async fn a_custodian_replaced_by_another_is_told_and_the_right_one_finds_everything_again() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "replaced", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "value")]).await?;
        let secrets = Api::<Secret>::namespaced(cluster.client().await?, NAMESPACE);
        let mut ours = Vec::new();
        for name in [ROOT, CUSTODIAN_SECRET, BROKERED_SECRET] {
            let mut copy = secrets.get(name).await?;
            copy.metadata.resource_version = None;
            copy.metadata.uid = None;
            copy.metadata.managed_fields = None;
            ours.push((name, copy));
        }
        let another = another_installation()?;

        let told_both: Result<()> = async {
            replace(&secrets, &another[..1]).await?;
            told(ns, "False", conditions::reason::CUSTODIAN_UNAVAILABLE).await?;
            replace(&secrets, &another[1..]).await?;
            told(ns, "False", conditions::reason::KEYRING_INVALID).await
        }
        .await;
        replace(&secrets, &ours).await?;
        told_both?;

        goes_on(ns, &team).await
    })
    .await
}
