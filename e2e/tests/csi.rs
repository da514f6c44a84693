//! The node driver against the CSI community's own conformance tests, at the socket that the kubelet uses.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, bail};
use coffer_crds::CSI_DRIVER;
use e2e::install;
use e2e::layout::KUBELET_ROOT;
use serde::Deserialize;
use std::collections::BTreeSet;
use tokio::process::Command;

/// What csi-sanity itself leaves out, because the driver says that it cannot do it: a part of a test's full name, and
/// why that is right.
const LEFT_OUT: [(&str, &str); 10] = [
    (
        "GroupController Service",
        "inline volumes come and go with their pod: nobody makes groups of snapshots of them",
    ),
    ("NodePublishVolume with single node multi writer", "the volume is read-only: it has no writer"),
    ("NodeStageVolume", "a volume is one pod's: there is nothing that pods of a node could share"),
    ("NodeUnstageVolume", "as for NodeStageVolume"),
    (
        "NodeGetVolumeStats",
        "how full it is tells the size of secrets, and the driver makes it as large as it can get",
    ),
    ("NodeExpandVolume", "as for NodeGetVolumeStats"),
    ("NodeGetVolumeHealth", "memory does not fail; a release that fails is an event of the pod"),
    ("NodeGetStorageHealth", "as for NodeGetVolumeHealth"),
    (
        "Node Service should work",
        "begins with CreateVolume of the Controller Service, which the driver has not",
    ),
    ("Node Service should be idempotent", "as for the one before"),
];

/// What we leave out, because it calls the Controller Service without asking whether there is one.
const NEEDS_A_CONTROLLER: [(&str, &str); 2] = [
    (
        "[Controller Server]",
        "nobody provisions, attaches, expands or copies inline volumes: the driver has no such service",
    ),
    (
        "NodeUnpublishVolume should remove target path",
        "begins with CreateVolume. node/src/csi/tests.rs publishes and unpublishes inline volumes, each twice, and \
         looks at the path",
    ),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
}

impl Spec {
    fn name(&self) -> String {
        let mut words: Vec<&str> =
            self.container_hierarchy_texts.iter().flatten().map(String::as_str).collect();
        words.push(&self.leaf_node_text);
        words.join(" ")
    }
}

/// A regular expression for exactly this text.
fn pattern(text: &str) -> String {
    text.replace('[', "\\[").replace(']', "\\]")
}

#[tokio::test]
async fn the_driver_passes_every_test_of_csi_sanity_that_a_driver_of_inline_volumes_can_take() -> Result<()> {
    let cluster = install::installed().await?;
    let folder = tempfile::tempdir()?;
    let report = folder.path().join("report.json");
    let output = Command::new(cluster.programs().csi_sanity())
        .arg(format!("--csi.endpoint=unix://{KUBELET_ROOT}/plugins/{CSI_DRIVER}/csi.sock"))
        .arg(format!("--csi.mountdir={}", folder.path().join("mount").display()))
        .arg(format!("--csi.stagingdir={}", folder.path().join("staging").display()))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .args(NEEDS_A_CONTROLLER.map(|(name, _)| format!("--ginkgo.skip={}", pattern(name))))
        .output()
        .await
        .context("start csi-sanity")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = std::fs::read(&report).with_context(|| format!("csi-sanity made no report: {said}"))?;
    let suites: Vec<Suite> = serde_json::from_slice(&text).context("understand csi-sanity's report")?;
    let specs: Vec<Spec> = suites
        .into_iter()
        .flat_map(|suite| suite.spec_reports)
        .filter(|it| it.leaf_node_type == "It")
        .collect();

    let argued = LEFT_OUT.iter().chain(&NEEDS_A_CONTROLLER);
    let mut unused: BTreeSet<&str> = argued.clone().map(|(name, _)| *name).collect();
    let mut passed = Vec::new();
    for spec in &specs {
        let name = spec.name();
        match spec.state.as_str() {
            "passed" => passed.push(name),
            // Pending: csi-sanity's own authors have not finished it.
            "skipped" | "pending" => {
                let (argued, _) = argued
                    .clone()
                    .find(|(part, _)| name.contains(part))
                    .with_context(|| format!("csi-sanity skipped '{name}', and nothing here says why"))?;
                unused.remove(argued);
            }
            state => bail!("'{name}' {state}:\n{said}"),
        }
    }
    assert!(output.status.success(), "{said}");
    assert!(unused.is_empty(), "argued for, but not skipped: {unused:?}");
    // Of the two services that the driver has: identity and node.
    assert!(passed.len() >= 10, "only these were run: {passed:#?}");
    Ok(())
}
