//! Where the story is told: our own cluster, or one that is there already.

use crate::etcd::Etcd;
use crate::images::SHELL;
use crate::install::{self, NAMESPACE};
use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::programs::Programs;
use crate::progress::step;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tokio::process::Command;

/// A cluster with Coffer on it.
pub(super) struct Stage {
    /// kubectl with the rights of whoever tells the story.
    pub(super) kubectl: Kubectl,
    /// The cluster's etcd, where it is ours to read.
    pub(super) etcd: Option<Etcd>,
    layout: Layout,
    shell_image: Option<String>,
}

impl Stage {
    /// Our own cluster, brought up and with Coffer installed.
    pub(super) async fn own() -> Result<Self> {
        let cluster = install::installed().await?;
        Ok(Self {
            kubectl: cluster.kubectl(),
            etcd: Some(cluster.etcd()),
            layout: cluster.layout().clone(),
            shell_image: None,
        })
    }

    /// The cluster that the environment's kubeconfig names; Coffer is installed if it is not there.
    pub(super) async fn existing(shell_image: Option<&str>, helm_args: &str) -> Result<Self> {
        let layout = Layout::new();
        let (kubectl, helm) = match (in_path("kubectl"), in_path("helm")) {
            (Some(kubectl), Some(helm)) => (kubectl, helm),
            _ => {
                let programs = Programs::ensure(&layout).await?;
                (programs.kube(), programs.helm())
            }
        };
        let kubectl = Kubectl::of_environment(kubectl);
        kubectl.run(["version"]).ok().await.context("reach the cluster of the current KUBECONFIG")?;
        let there =
            kubectl.namespaced(NAMESPACE).run(["get", "deployment", "coffer-operator"]).said().await?;
        if !there.ok {
            step("installing Coffer with Helm", install_with(&layout, helm, helm_args)).await?;
        }
        Ok(Self { kubectl, etcd: None, layout, shell_image: shell_image.map(str::to_owned) })
    }

    /// The folder that a newcomer applies.
    pub(super) fn quickstart(&self) -> PathBuf {
        self.layout.checkout().join("docs").join("examples").join("quickstart")
    }

    /// The description of one of the story's pods.
    pub(super) fn pod(&self, name: &str) -> Result<String> {
        let file = self.quickstart().join("pods").join(format!("{name}.yaml"));
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(match &self.shell_image {
            Some(image) => text.replace(SHELL, image),
            None => text,
        })
    }

    /// The items that the manifests write, as (key, value).
    pub(super) fn values(&self) -> Result<Vec<(String, String)>> {
        let file = self.quickstart().join("05-connection.yaml");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let manifest: Value =
            serde_saphyr::from_str(&text).with_context(|| format!("parse {}", file.display()))?;
        let items = manifest["spec"]["stringData"].as_object().context("the Connection has stringData")?;
        let values: Vec<_> =
            items.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        if values.len() < 2 {
            bail!("the Connection in {} should have two items", file.display());
        }
        Ok(values)
    }

    /// What a newcomer may do next.
    pub(super) fn how_to_go_on(&self) -> String {
        let by_hand = "  kubectl -n coffer-demo get vaults,vaultmembers,connections\n  \
                       kubectl -n coffer-demo exec web -- ls -l /coffer/github\n";
        if self.etcd.is_none() {
            return format!(
                "Coffer stays installed. To go on (docs/getting-started.md):\n{by_hand}To stop:\n  \
                 kubectl delete namespace coffer-demo\n  helm uninstall coffer -n {NAMESPACE}"
            );
        }
        format!(
            "The cluster keeps running. To go on (docs/getting-started.md):\n  \
             export KUBECONFIG=$(make -s kubeconfig)\n  export PATH=$(make -s bin):$PATH\n{by_hand}To stop:\n  \
             make cluster-down"
        )
    }
}

async fn install_with(layout: &Layout, helm: PathBuf, more: &str) -> Result<()> {
    let output = Command::new(helm)
        .args(["upgrade", "--install", "coffer"])
        .arg(layout.checkout().join("charts").join("coffer"))
        .args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"])
        .args(more.split_whitespace())
        .output()
        .await
        .context("start helm")?;
    if !output.status.success() {
        bail!(
            "{}\nThe nodes of this cluster must be able to pull Coffer's images: build them with the Dockerfile, push \
             them, and say where they are: HELM_ARGS='--set image.registry=…' SHELL_IMAGE=busybox make demo \
             CLUSTER=existing",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
