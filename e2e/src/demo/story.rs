//! The story. Each step does what it says and fails if that is not what happened.

use super::stage::Stage;
use crate::etcd;
use crate::install::NAMESPACE;
use crate::kubectl::Kubectl;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::Path;

/// The namespace that the quickstart makes.
const DEMO: &str = "coffer-demo";
/// The exact words of a denial (C34).
const INTERN_DENIED: &str = "Credential 'github' is not accessible to member 'intern'. Allowed: web";

pub(super) async fn tell(stage: &Stage) -> Result<()> {
    let demo = stage.kubectl.namespaced(DEMO);
    let values = stage.values()?;
    begin_anew(&demo).await?;

    apply_quickstart(stage, &demo).await?;
    let pod = first_pod(stage, &demo, &values).await?;
    look_for_values(stage, &values).await?;
    intern_is_refused(stage, &demo).await?;
    stranger_is_refused(stage, &demo).await?;
    audit_record(stage, &pod).await
}

fn chapter(title: &str) {
    println!("\n── {title}");
}

fn command(line: &str) {
    println!("   $ {line}");
}

fn told(text: &str) {
    for line in text.trim_end().lines() {
        println!("     {line}");
    }
}

/// Pods of an earlier telling; the rest may stay, applying it again changes nothing.
async fn begin_anew(demo: &Kubectl) -> Result<()> {
    let pods =
        ["delete", "pod", "web", "intern", "stranger", "--ignore-not-found", "--grace-period=1", "--wait"];
    demo.run(pods).said().await.map(drop)
}

async fn apply_quickstart(stage: &Stage, demo: &Kubectl) -> Result<()> {
    chapter("A team applies its vault, its members and a credential: one command, one folder");
    command("kubectl apply -f docs/examples/quickstart/");
    told(&apply_folder(&stage.kubectl, &stage.quickstart()).await?);
    demo.run(["wait", "--for=condition=Ready", "connection/github", "--timeout=60s"]).ok().await?;
    command("kubectl -n coffer-demo get vaults,vaultmembers,connections");
    told(&demo.run(["get", "vaults,vaultmembers,connections"]).ok().await?);
    println!("   The manifest has the value as plain stringData. What was stored has not:");
    command("kubectl -n coffer-demo get connection github -o jsonpath='{.spec}'");
    let spec = demo.run(["get", "connection", "github", "-o", "jsonpath={.spec}"]).ok().await?;
    let spec: Value = serde_json::from_str(&spec).context("read the Connection")?;
    ensure!(spec.get("stringData").is_none(), "the stored Connection has stringData");
    let sealed = spec["sealedData"].as_object().context("the stored Connection has no sealedData")?;
    for (item, bytes) in sealed {
        let bytes = bytes.as_str().unwrap_or_default();
        println!(
            "     sealedData.{item}: {}… ({} characters)",
            bytes.get(..24).unwrap_or(bytes),
            bytes.len()
        );
    }
    Ok(())
}

/// The namespace of an earlier telling may still be on its way out.
async fn apply_folder(kubectl: &Kubectl, folder: &Path) -> Result<String> {
    let namespace = kubectl.run(["get", "namespace", DEMO, "-o", "jsonpath={.status.phase}"]).said().await?;
    if namespace.out == "Terminating" {
        kubectl.run(["wait", "--for=delete", &format!("namespace/{DEMO}"), "--timeout=120s"]).ok().await?;
    }
    kubectl.run(["apply", "-f"]).arg(folder).ok().await
}

async fn first_pod(stage: &Stage, demo: &Kubectl, values: &[(String, String)]) -> Result<Value> {
    chapter("A pod under ServiceAccount web: its manifest names no Secret and no volume");
    command("kubectl apply -f docs/examples/quickstart/pods/web.yaml");
    told(&demo.apply(&stage.pod("web")?).await?);
    demo.run(["wait", "--for=condition=Ready", "pod/web", "--timeout=120s"]).ok().await?;
    command("kubectl -n coffer-demo exec web -- ls -l /coffer/github/");
    told(&demo.exec("web", &["ls", "-l", "/coffer/github/"]).await?);
    for (item, value) in values {
        let path = format!("/coffer/github/{item}");
        let found = demo.exec("web", &["cat", &path]).await?;
        ensure!(&found == value, "{path} does not hold what was applied");
        command(&format!("kubectl -n coffer-demo exec web -- cat {path}"));
        println!("     {}   (as applied, masked here)", masked(value));
    }
    let pod = demo.run(["get", "pod", "web", "-o", "json"]).ok().await?;
    serde_json::from_str(&pod).context("read the pod")
}

/// The first characters, so that one sees which value it is.
fn masked(value: &str) -> String {
    let shown: String = value.chars().take(4).collect();
    format!("{shown}{}", "•".repeat(value.chars().count().saturating_sub(4)))
}

async fn look_for_values(stage: &Stage, values: &[(String, String)]) -> Result<()> {
    chapter("Where is the value now? In the pod's memory, and nowhere else");
    match &stage.etcd {
        Some(etcd) => {
            for (item, value) in values {
                let search = etcd.search(value.as_bytes()).await?;
                ensure!(
                    search.found.is_empty(),
                    "the value of '{item}' is in etcd: {}",
                    search.found.join(", ")
                );
                println!(
                    "   {item}: in none of etcd's {} keys, in none of its data files ({} MiB, deleted revisions and \
                     write-ahead log included), plain or encoded",
                    search.keys,
                    search.bytes >> 20
                );
            }
            // A search that finds nothing proves something only if it can find.
            let control = etcd.search(b"coffer.dev/connections").await?;
            ensure!(!control.found.is_empty(), "the search does not find what is certainly there");
            println!("   (the same search finds the pod's annotation in {} places)", control.found.len());
        }
        None => println!("   etcd itself is not ours to read on this cluster; through the API:"),
    }
    for (what, arguments) in [
        ("Secret", &["get", "secrets", "--all-namespaces", "-o", "json"][..]),
        (
            "annotation or managed field of vaults, members, connections, envelopes, keyrings and pods",
            &[
                "get",
                "vaults,vaultmembers,connections,envelopes,keyrings,pods",
                "--all-namespaces",
                "--show-managed-fields",
                "-o",
                "json",
            ],
        ),
    ] {
        let text = stage.kubectl.run(arguments).ok().await?;
        for (item, value) in values {
            ensure!(
                !etcd::holds(text.as_bytes(), &etcd::forms(value.as_bytes())),
                "the value of '{item}' is in a {what}"
            );
        }
        println!("   in no {what}");
    }
    Ok(())
}

async fn intern_is_refused(stage: &Stage, demo: &Kubectl) -> Result<()> {
    chapter("A pod under ServiceAccount intern: a member, but the Connection does not list it");
    command("kubectl apply -f docs/examples/quickstart/pods/intern.yaml");
    let answer = demo.apply_refused(&stage.pod("intern")?).await?;
    told(&answer);
    ensure!(reason(&answer) == INTERN_DENIED, "intern should be told: {INTERN_DENIED}");
    Ok(())
}

async fn stranger_is_refused(stage: &Stage, demo: &Kubectl) -> Result<()> {
    chapter("A pod under ServiceAccount stranger: no member, and told what an absent credential is told");
    command("kubectl apply -f docs/examples/quickstart/pods/stranger.yaml");
    let manifest = stage.pod("stranger")?;
    let answer = demo.apply_refused(&manifest).await?;
    told(&answer);
    println!("   The same pod asking for a credential that does not exist:");
    let asked = "coffer.dev/connections: github";
    ensure!(manifest.contains(asked), "the stranger's pod should ask for github");
    let absent =
        demo.apply_refused(&manifest.replace(asked, "coffer.dev/connections: no-such-thing")).await?;
    told(&absent);
    ensure!(
        reason(&answer) == reason(&absent).replace("no-such-thing", "github"),
        "a stranger can tell a credential that exists from one that does not"
    );
    Ok(())
}

/// What the webhook said, without kubectl's words before it.
fn reason(answer: &str) -> &str {
    answer.trim().rsplit_once("denied the request: ").map_or(answer, |(_, reason)| reason)
}

async fn audit_record(stage: &Stage, pod: &Value) -> Result<()> {
    chapter("Who has read it? The record was durable before the value left the broker");
    let coffer = stage.kubectl.namespaced(NAMESPACE);
    let selector = ["get", "pods", "-l", "app.kubernetes.io/component=broker", "-o", "name"];
    let brokers = coffer.run(selector).ok().await?;
    for broker in brokers.lines() {
        let records = coffer.exec(broker, &["/coffer-broker", "audit", "--last", "200"]).await?;
        let found = records.lines().rev().find(|line| is_release_to(line, pod));
        if let Some(record) = found {
            command(&format!(
                "kubectl -n {NAMESPACE} exec {broker} -- /coffer-broker audit --last 200 | grep web"
            ));
            let record: Value = serde_json::from_str(record)?;
            told(&serde_json::to_string_pretty(&record)?);
            return Ok(());
        }
    }
    bail!("no broker has a record of the release to pod web")
}

/// Whether an audit record is that of the release to this pod, made after the pod was.
fn is_release_to(line: &str, pod: &Value) -> bool {
    let Ok(record) = serde_json::from_str::<Value>(line) else { return false };
    let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    record["event"] == "release"
        && record["decision"] == "allowed"
        && record["connection"] == format!("{DEMO}/github")
        && record["actor"]["pod"] == format!("{DEMO}/web")
        // Both RFC 3339 in UTC, and the pod's time is cut to the second.
        && record["time"].as_str().unwrap_or_default() >= created.trim_end_matches('Z')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_webhooks_words_are_found_behind_kubectls() {
        let said = "Error from server (Forbidden): error when creating \"STDIN\": admission webhook \
                    \"pods.coffer.dev\" denied the request: Credential 'github' not found\n";
        assert_eq!(reason(said), "Credential 'github' not found");
    }

    #[test]
    fn a_record_of_an_earlier_pod_of_the_same_name_is_not_taken_for_this_ones() {
        let pod = json!({"metadata": {"creationTimestamp": "2026-11-23T10:00:05Z"}});
        let record = |time: &str| {
            json!({
                "event": "release", "decision": "allowed", "connection": "coffer-demo/github", "time": time,
                "actor": {"pod": "coffer-demo/web"},
            })
            .to_string()
        };
        assert!(is_release_to(&record("2026-11-23T10:00:05.120Z"), &pod));
        assert!(!is_release_to(&record("2026-11-23T09:59:59.000Z"), &pod));
    }

    #[test]
    fn masking_shows_four_characters_and_the_length() {
        assert_eq!(masked("ghp_abc"), "ghp_•••");
    }
}
