//! Whether the installation may go. The kubelet needs the node driver to tear its volumes down: a pod that has one
//! would stay `Terminating` for ever once the driver is gone.

use std::time::Duration;

use coffer_crds::CSI_DRIVER;
use coffer_runtime::{CallError, within};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, api::ListParams};

/// Exit code of the refusal. An error is 1, wrong arguments are 2: neither says that a pod is in the way.
pub const REFUSED: u8 = 3;
/// What an error is told with, so that it is not taken for the refusal.
pub const UNKNOWN: &str =
    "nothing was removed: it could not be found out whether pods still need the node driver; try again";
/// Pods of one answer of the API server.
const PAGE: u32 = 500;
/// For how long one page is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pods that are named; the others are counted.
const NAMED: usize = 50;

/// A pod that has a volume of the node driver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Injected {
    namespace: String,
    name: String,
    node: String,
}

/// All pods of the cluster that have a volume of the node driver mounted, by namespace and name.
///
/// # Errors
/// When the API server does not list them.
pub async fn injected(client: Client) -> Result<Vec<Injected>, CallError> {
    let pods = Api::<Pod>::all(client);
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = within(PATIENCE, pods.list(&page)).await?;
        found.extend(list.items.iter().filter_map(mounted));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    found.sort();
    Ok(found)
}

/// A pod counts from the moment that a node has it until its containers have ended: before, nothing is mounted, and
/// afterwards the kubelet has taken the volumes away, or does so in the next seconds.
fn mounted(pod: &Pod) -> Option<Injected> {
    let spec = pod.spec.as_ref()?;
    let node = spec.node_name.as_ref().filter(|node| !node.is_empty())?;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let ours =
        spec.volumes.iter().flatten().any(|it| it.csi.as_ref().is_some_and(|csi| csi.driver == CSI_DRIVER));
    (ours && !matches!(phase, "Succeeded" | "Failed")).then(|| Injected {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        node: node.clone(),
    })
}

/// Why it may not go, for people; `None` if it may. `to_keep` is the command by which the installation stays.
pub fn refusal(injected: &[Injected], to_keep: &str) -> Option<String> {
    if injected.is_empty() {
        return None;
    }
    let pod = |it: &Injected| format!("{}/{} on node {}", it.namespace, it.name, it.node);
    let mut pods: Vec<String> = injected.iter().take(NAMED).map(pod).collect();
    if let Some(more @ 1..) = injected.len().checked_sub(NAMED) {
        pods.push(format!("and {more} more"));
    }
    // One line: Helm shows a hook's output as one message of its log, with line breaks escaped.
    let text = format!(
        "Coffer is in use and nothing was removed. Without the node driver these pods ({}) could never end: {}. Delete \
         them and uninstall again, or keep Coffer: {to_keep} (until one of the two, Helm refuses upgrades)\n",
        injected.len(),
        pods.join(", ")
    );
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn pod(driver: &str, node: Value, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "team-a", "name": "web"},
            "spec": {
                "nodeName": node, "containers": [],
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "any", "csi": {"driver": driver}}],
            },
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_in_the_way_from_its_binding_to_a_node_until_its_containers_have_ended() {
        for (driver, node, phase, expected) in [
            ("csi.coffer.dev", json!("n"), "Running", true),
            ("csi.coffer.dev", json!("n"), "Pending", true),
            ("csi.coffer.dev", json!("n"), "", true),
            ("csi.coffer.dev", json!("n"), "Unknown", true),
            ("csi.coffer.dev", json!("n"), "Succeeded", false),
            ("csi.coffer.dev", json!("n"), "Failed", false),
            ("csi.coffer.dev", json!(null), "Pending", false),
            ("csi.coffer.dev", json!(""), "Pending", false),
            ("csi.example.com", json!("n"), "Running", false),
        ] {
            let found = mounted(&pod(driver, node.clone(), phase));
            assert_eq!(found.is_some(), expected, "{driver} {node} {phase}");
        }
        assert_eq!(mounted(&Pod::default()), None);
    }

    #[test]
    fn the_refusal_names_every_pod_up_to_a_limit_and_counts_the_rest() {
        let pods = |count: usize| -> Vec<Injected> {
            let one = |n| Injected { namespace: "team-a".into(), name: format!("web-{n}"), node: "n".into() };
            (0..count).map(one).collect()
        };
        assert_eq!(refusal(&[], "keep"), None);
        let one = refusal(&pods(1), "keep").unwrap();
        assert!(one.contains("these pods (1) could never end: team-a/web-0 on node n. Delete"), "{one}");
        assert!(one.contains("or keep Coffer: keep (until"), "{one}");
        let many = refusal(&pods(NAMED + 7), "keep").unwrap();
        assert!(
            many.contains("these pods (57)") && many.contains("web-49") && !many.contains("web-50"),
            "{many}"
        );
        assert!(many.contains(", and 7 more."), "{many}");
        assert!(!refusal(&pods(NAMED), "keep").unwrap().contains("more."));
    }
}
