//! Coffer on the cluster, from the sources of this checkout.

use crate::cluster::Cluster;
use crate::images::{self, archive::Image, dockerfile};
use crate::layout::{Layout, create_folder};
use crate::lock::Lock;
use crate::programs::Programs;
use crate::progress::step;
use crate::service;
use crate::wait;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Where Coffer runs.
pub const NAMESPACE: &str = "coffer-system";
/// The release's name.
pub const RELEASE: &str = "coffer";
/// A user whom this installation lets write back a backup.
pub const RESTORER: &str = "restorer";
/// A group whose people may break glass in this installation.
pub const BREAKERS: &str = "e2e-break-glass";
/// The images' tag: the chart's `appVersion`.
pub const TAG: &str = env!("CARGO_PKG_VERSION");

/// The cluster with Coffer of this checkout on it: brought up and installed if need be, once for each program.
///
/// With `COFFER_E2E_AS_INSTALLED` set what is installed is taken as it is, so that an edit during a long run of
/// tests does not exchange what they test.
///
/// # Errors
/// If the cluster, a build or the installation fails.
pub async fn installed() -> Result<Cluster> {
    static DONE: OnceCell<Cluster> = OnceCell::const_new();
    let cluster = DONE
        .get_or_try_init(|| async {
            let cluster = Cluster::up().await?;
            if std::env::var_os("COFFER_E2E_AS_INSTALLED").is_none() {
                install(&cluster).await?;
            }
            anyhow::Ok(cluster)
        })
        .await?;
    Ok(cluster.clone())
}

/// Build, load the images and install or upgrade the chart; nothing happens if all that is done.
///
/// # Errors
/// If a build fails, or the installation is not ready in five minutes.
pub async fn install(cluster: &Cluster) -> Result<()> {
    let _alone =
        Lock::acquire(Path::new("/run/lock/coffer-e2e-install.lock"), "another installation").await?;
    let built = build(cluster.layout()).await?;
    link_bin(cluster.layout(), cluster.programs(), Some(&built))?;
    let images = images::load(cluster, &of_product(cluster.layout(), &built)?).await?;
    let chart = cluster.layout().checkout().join("charts").join("coffer");
    let identity = format!("{images} {} {RESTORER} {BREAKERS}", fingerprint(&chart)?);
    let mark = cluster.layout().state().join("installed");
    if fs::read_to_string(&mark).is_ok_and(|done| done == identity) && deployed(cluster).await {
        return Ok(());
    }
    cluster.replenish_volumes().await?;
    step("installing Coffer with Helm", async {
        let annotation = format!("podAnnotations.coffer\\.dev/images={images}");
        // The annotation restarts the pods when the images changed under the same tag.
        helm(cluster, &["upgrade", "--install", RELEASE])
            .arg(&chart)
            .args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"])
            .args(["--set-string", &annotation, "--set", &format!("restoreUsers={{{RESTORER}}}")])
            .args(["--set", &format!("breakGlass.groups={{{BREAKERS}}}")])
            .run()
            .await?;
        reached(cluster).await
    })
    .await?;
    crate::layout::write_file(&mark, identity)
}

/// Helm waits for the pods, not for the node to know them.
async fn reached(cluster: &Cluster) -> Result<()> {
    for component in ["webhook", "broker"] {
        service::reached(cluster, component, wait::SOON).await?;
    }
    Ok(())
}

/// Remove Coffer; its kinds and their objects stay.
///
/// # Errors
/// If Helm fails.
pub async fn uninstall(cluster: &Cluster) -> Result<()> {
    // Absent is as good.
    let _ = fs::remove_file(cluster.layout().state().join("installed"));
    helm(cluster, &["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait"])
        .run()
        .await
}

/// The values that the installed release was given, as JSON.
///
/// # Errors
/// If there is none.
pub async fn values(cluster: &Cluster) -> Result<String> {
    helm(cluster, &["get", "values", RELEASE, "--namespace", NAMESPACE, "--output", "json"]).output().await
}

/// Install or upgrade the release from any chart, with the values of this file and these changes and nothing else, until
/// it is ready.
///
/// # Errors
/// If Helm fails, or it is not ready in five minutes.
pub async fn release(cluster: &Cluster, chart: &Path, values: &Path, changes: &[&str]) -> Result<()> {
    let mut command = released(cluster, chart, values).args(["--wait", "--timeout", "5m"]);
    for change in changes {
        command = command.args(["--set", change]);
    }
    command.run().await?;
    reached(cluster).await
}

/// The same, for a chart whose programs may never be ready.
#[must_use]
pub fn released(cluster: &Cluster, chart: &Path, values: &Path) -> Helm {
    // Under this checkout's programs; nothing is built or loaded.
    let _ = fs::remove_file(cluster.layout().state().join("installed"));
    helm(cluster, &["upgrade", "--install", RELEASE, "--namespace", NAMESPACE, "--create-namespace"])
        .args(["--reset-values", "--values"])
        .arg(values)
        .arg(chart)
}

/// Build the product's programs, linked statically; the folder they are in.
///
/// # Errors
/// If the build fails; the compiler has said why.
pub async fn build(layout: &Layout) -> Result<PathBuf> {
    step("building Coffer's programs", async {
        let host = output(Command::new("rustc").args(["--print", "host-tuple"])).await?.trim().to_owned();
        let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", host.to_uppercase().replace('-', "_"));
        let mut cargo = Command::new("cargo");
        for name in of_outer_cargo() {
            cargo.env_remove(name);
        }
        cargo
            .current_dir(layout.checkout())
            .args(["build", "--release", "--workspace", "--exclude", "e2e", "--exclude", "coffer-reference"])
            .args(["--exclude", "coffer-mutants"])
            .args(["--bins", "--target", &host])
            .args(["--message-format", "json-render-diagnostics"])
            // Named for the target: programs that only build others stay as they are.
            .env(flags, "-C target-feature=+crt-static")
            .stderr(Stdio::inherit());
        let messages = output(&mut cargo).await?;
        let folder = messages.lines().rev().find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(Path::new(message.get("executable")?.as_str()?).parent()?.to_path_buf())
        });
        folder.context("cargo built no program")
    })
    .await
}

/// What `cargo run` and `cargo test` say about the harness itself. Build scripts would take it for a change and
/// build half of the dependencies anew.
fn of_outer_cargo() -> Vec<String> {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    std::env::vars()
        .map(|(name, _)| name)
        .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "OUT_DIR")
        .collect()
}

/// The product's images, as the `Dockerfile` describes them.
///
/// # Errors
/// If the description cannot be read, or a program of it was not built.
pub fn of_product(layout: &Layout, built: &Path) -> Result<Vec<Image>> {
    let file = layout.checkout().join("Dockerfile");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    dockerfile::images(&text, built, TAG)
}

/// Make the folder of programs for a person's `PATH`.
///
/// # Errors
/// If a link cannot be made.
pub fn link_bin(layout: &Layout, programs: &Programs, built: Option<&Path>) -> Result<()> {
    let bin = layout.bin();
    create_folder(&bin)?;
    let mut links = vec![("kubectl", programs.kube()), ("helm", programs.helm())];
    if let Some(built) = built {
        links.push(("kubectl-coffer", built.join("kubectl-coffer")));
    }
    for (name, target) in links {
        let link = bin.join(name);
        if fs::read_link(&link).is_ok_and(|now| now == target) {
            continue;
        }
        let draft = bin.join(format!(".{name}"));
        // A draft left by an interrupted run.
        let _ = fs::remove_file(&draft);
        std::os::unix::fs::symlink(&target, &draft)
            .and_then(|()| fs::rename(&draft, &link))
            .with_context(|| format!("link {}", link.display()))?;
    }
    Ok(())
}

/// Whether Helm says that the release is there and well.
async fn deployed(cluster: &Cluster) -> bool {
    let command = helm(cluster, &["status", RELEASE, "--namespace", NAMESPACE, "--output", "json"]);
    let Ok(text) = command.output().await else { return false };
    serde_json::from_str::<serde_json::Value>(&text)
        .is_ok_and(|status| status["info"]["status"] == "deployed")
}

/// Helm with the cluster's kubeconfig; for tests that upgrade, roll back and uninstall.
#[must_use]
pub fn helm(cluster: &Cluster, arguments: &[&str]) -> Helm {
    let mut command = Command::new(cluster.programs().helm());
    command.arg("--kubeconfig").arg(cluster.layout().kubeconfig("admin")).args(arguments);
    Helm(command)
}

/// One Helm command.
#[derive(Debug)]
pub struct Helm(Command);

impl Helm {
    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    /// Run it.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub async fn run(self) -> Result<()> {
        self.output().await.map(drop)
    }

    /// Run it; its standard output.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub async fn output(mut self) -> Result<String> {
        output(self.0.stderr(Stdio::piped())).await
    }

    /// Run it and expect it to fail; all that it said.
    ///
    /// # Errors
    /// If it succeeds.
    pub async fn refused(mut self) -> Result<String> {
        let output = self.0.stdin(Stdio::null()).kill_on_drop(true).output().await.context("start helm")?;
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        if output.status.success() {
            bail!("helm should have refused, but said: {}", said.trim());
        }
        Ok(said)
    }
}

async fn output(command: &mut Command) -> Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let output = child.wait_with_output().await.with_context(|| format!("wait for {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One line that changes when a file below this folder does.
fn fingerprint(folder: &Path) -> Result<String> {
    let mut text = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("look into {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        text.extend_from_slice(file.as_os_str().as_encoded_bytes());
        text.extend_from_slice(images::archive::hex_sha256(&bytes).as_bytes());
    }
    Ok(images::archive::hex_sha256(&text))
}
