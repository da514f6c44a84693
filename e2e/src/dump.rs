//! What a failed test leaves to be read: objects, events and logs. Never a Secret's value.

use crate::cluster::Cluster;
use crate::cluster::component::Component;
use crate::install::NAMESPACE;
use crate::kubectl::Kubectl;
use crate::layout::create_folder;
use crate::namespace::Namespace;
use std::path::{Path, PathBuf};

/// How much of a log is kept.
const TAIL: &str = "--tail=2000";

/// Write everything about a test's namespace to a folder; a summary that fits into an error.
pub async fn namespace(namespace: &Namespace, test: &str) -> String {
    let folder = namespace.cluster().layout().dumps().join(format!("{test}-{}", namespace.name()));
    if let Err(error) = create_folder(&folder) {
        return format!("nothing dumped: {error:#}");
    }
    let kubectl = namespace.kubectl();
    of_namespace(&kubectl, &folder, "").await;
    of_namespace(&namespace.cluster().kubectl().namespaced(NAMESPACE), &folder, "coffer-system-").await;
    of_node(namespace.cluster(), &folder).await;
    let pods = said(&kubectl, &["get", "pods", "-o", "wide"]).await;
    let events = said(&kubectl, &["get", "events", "--sort-by=.lastTimestamp"]).await;
    let newest: Vec<&str> = events.lines().rev().take(12).collect();
    let newest: Vec<&str> = newest.into_iter().rev().collect();
    format!("dumped to {}\n{pods}{}", folder.display(), newest.join("\n"))
}

/// Write everything about the whole cluster to a folder of this name; its path.
pub async fn whole(cluster: &Cluster, name: &str) -> PathBuf {
    let folder = cluster.layout().dumps().join(name);
    if create_folder(&folder).is_err() {
        return folder;
    }
    let kubectl = cluster.kubectl();
    for (file, arguments) in [
        ("pods.txt", &["get", "pods", "-A", "-o", "wide"][..]),
        ("events.txt", &["get", "events", "-A", "--sort-by=.lastTimestamp"]),
        ("nodes.yaml", &["get", "nodes,csinodes,csidrivers,pv,pvc", "-A", "-o", "yaml"]),
        ("coffer.yaml", &["get", "coffer", "-A", "-o", "yaml"]),
    ] {
        keep(&folder, file, &said(&kubectl, arguments).await);
    }
    of_namespace(&kubectl.namespaced(NAMESPACE), &folder, "coffer-system-").await;
    of_node(cluster, &folder).await;
    folder
}

async fn of_namespace(kubectl: &Kubectl, folder: &Path, prefix: &str) {
    for (file, arguments) in [
        ("pods.txt", &["describe", "pods"][..]),
        ("events.txt", &["get", "events", "--sort-by=.lastTimestamp"]),
        ("workloads.yaml", &["get", "all,pvc,serviceaccounts,roles,rolebindings", "-o", "yaml"]),
        ("coffer.yaml", &["get", "coffer", "-o", "yaml", "--show-managed-fields"]),
        // Names and sizes only.
        ("secrets.txt", &["get", "secrets"]),
    ] {
        keep(folder, &format!("{prefix}{file}"), &said(kubectl, arguments).await);
    }
    let pods = said(kubectl, &["get", "pods", "-o", "name"]).await;
    for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
        let file = format!("{prefix}{}.log", pod.replace('/', "-"));
        let now = said(kubectl, &["logs", pod, "--all-containers", "--prefix", "--timestamps", TAIL]).await;
        keep(folder, &file, &now);
        let before =
            kubectl.run(["logs", pod, "--all-containers", "--prefix", "--previous", TAIL]).said().await;
        if let Ok(before) = before
            && before.ok
        {
            keep(folder, &format!("{prefix}{}.previous.log", pod.replace('/', "-")), &before.out);
        }
    }
}

/// The end of each component's log.
async fn of_node(cluster: &Cluster, folder: &Path) {
    for component in Component::ALL {
        let supervised = component.supervised(cluster.layout());
        let Ok(text) = tokio::fs::read(&supervised.log).await else { continue };
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(2000)..].join("\n");
        keep(folder, &format!("node-{}.txt", supervised.name), &tail);
    }
}

/// What kubectl said, or why it did not.
async fn said(kubectl: &Kubectl, arguments: &[&str]) -> String {
    match kubectl.run(arguments).said().await {
        Ok(said) if said.ok => said.out,
        Ok(said) => said.err,
        Err(error) => format!("{error:#}\n"),
    }
}

fn keep(folder: &Path, file: &str, text: &str) {
    // A dump that cannot be written must not hide the failure that it is about.
    let _ = std::fs::write(folder.join(file), text);
}
