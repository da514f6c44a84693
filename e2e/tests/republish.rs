//! What a running pod sees of changes: new values, and credentials that it may no longer use.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "figures are told beside the tests' results")]

use anyhow::{Context, Result};
use coffer_crds::annotations::ON_REVOKE;
use e2e::cluster::Cluster;
use e2e::install;
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team};
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a change may take to be read in a pod: the kubelet publishes again after one of its sync periods and up
/// to half of one more, and the rest is ours. On a stock node, with a period of 60 s, that makes 95 s.
async fn allowed(cluster: &Cluster) -> Result<Duration> {
    let config = cluster.kubectl().run(["get", "--raw", "/api/v1/nodes/node/proxy/configz"]).ok().await?;
    let config: Value = serde_json::from_str(&config).context("understand the kubelet's configuration")?;
    let period = config["kubeletconfig"]["syncFrequency"].as_str().context("no syncFrequency")?;
    let period = match period {
        "1m0s" => 60.0,
        seconds => {
            seconds.trim_end_matches('s').parse().with_context(|| format!("understand '{seconds}'"))?
        }
    };
    Ok(Duration::from_secs_f64(1.5 * period + 5.0))
}

fn web(name: &str, on_revoke: Option<&str>) -> Value {
    let annotations = on_revoke.map_or(json!({}), |what| json!({ON_REVOKE: what}));
    shell_pod(name, json!({"metadata": {"annotations": annotations}, "spec": {"serviceAccountName": "web"}}))
}

#[tokio::test]
async fn a_new_value_is_read_in_a_running_pod_within_one_and_a_half_sync_periods_and_5_s() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "change", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "value-0")]).await?;
        ns.shell("web", json!({"spec": {"serviceAccountName": "web"}})).await?;
        let allowed = allowed(&cluster).await?;
        let kubectl = ns.kubectl();
        for round in 1..=2 {
            let value = format!("value-{round}");
            kubectl.apply(&team.manifest("github", &["web"], &[("token", &value)]).to_string()).await?;
            let applied = Instant::now();
            let what = format!("'{value}' in the pod");
            wait::until(&what, allowed + wait::SOON, async || {
                let read = kubectl.exec("web", &["cat", "/coffer/github/token"]).await?;
                Ok((read == value).then_some(()))
            })
            .await?;
            let took = applied.elapsed();
            eprintln!("a changed value was read in the pod after {:.1} s", took.as_secs_f64());
            assert!(took <= allowed, "{took:?} are more than {allowed:?}");
        }
        Ok(())
    })
    .await
}

/// C33: one pod keeps what it may no longer use, the other does not; both are told, and what they may still use stays.
#[tokio::test]
async fn a_credential_that_is_no_longer_allowed_is_kept_or_removed_as_the_pod_says_with_an_event()
-> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "revoke", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("other").await?;
        team.connection("github", &["web", "other"], &[("token", "ghp_value")]).await?;
        team.connection("slack", &["web"], &[("token", "xoxb_value")]).await?;
        for (name, on_revoke) in [("by-default", None), ("keeps", Some("Keep")), ("removes", Some("Remove"))]
        {
            ns.create::<Pod>(web(name, on_revoke)).await?;
        }
        for name in ["by-default", "keeps", "removes"] {
            wait::pod_ready(&ns.api(), name, wait::SOON).await?;
        }
        let kubectl = ns.kubectl();

        // Taken out of the scope of one.
        let patch = json!({"spec": {"members": ["other"]}}).to_string();
        kubectl.run(["patch", "connection", "github", "--type=merge", "-p", &patch]).ok().await?;
        for name in ["by-default", "keeps", "removes"] {
            let note = revoked(ns, name, "github").await?;
            let words = "Credential 'github' is not accessible to member 'web'. Allowed: other";
            assert!(note.contains(words), "{note}");
        }
        assert_eq!(kubectl.exec("by-default", &["ls", "/coffer"]).await?, "github\nslack\n");
        assert_eq!(kubectl.exec("keeps", &["cat", "/coffer/github/token"]).await?, "ghp_value");
        assert_eq!(kubectl.exec("removes", &["ls", "/coffer"]).await?, "slack\n");
        assert_eq!(kubectl.exec("removes", &["cat", "/coffer/slack/token"]).await?, "xoxb_value");

        // No member any more.
        ns.api::<coffer_crds::VaultMember>().delete("web", &DeleteParams::default()).await?;
        for name in ["by-default", "keeps", "removes"] {
            revoked(ns, name, "slack").await?;
        }
        assert_eq!(kubectl.exec("keeps", &["cat", "/coffer/slack/token"]).await?, "xoxb_value");
        assert_eq!(kubectl.exec("removes", &["ls", "/coffer"]).await?, "");
        Ok(())
    })
    .await
}

/// The event that a pod's credential was revoked; its note.
async fn revoked(ns: &Namespace, pod: &str, connection: &str) -> Result<String> {
    let uid = ns.api::<Pod>().get(pod).await?.uid();
    let named = format!("{}/{connection}: ", ns.name());
    wait::until(&format!("pod '{pod}' to be told of '{connection}'"), wait::SOON, async || {
        let events = ns.api::<Event>().list(&ListParams::default()).await?;
        let told = events.into_iter().filter(|event| event.reason.as_deref() == Some("CredentialRevoked"));
        let told = told.filter(|event| event.regarding.as_ref().is_some_and(|it| it.uid == uid));
        Ok(told.filter_map(|event| event.note).find(|note| note.starts_with(&named)))
    })
    .await
}
