//! People at their terminals: a home, a kubeconfig, kubectl, helm and the plugin in the PATH.

use crate::cluster::Cluster;
use crate::users::User;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Somebody at a terminal of their own: a home, a kubeconfig, kubectl and the plugin in the PATH.
pub struct Person {
    home: tempfile::TempDir,
    kubeconfig: PathBuf,
    path: String,
    checkout: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Person {
    /// Somebody whom the API server knows by this name, in these groups.
    ///
    /// # Errors
    /// If no certificate or home can be made.
    pub fn new(cluster: &Cluster, name: &str, groups: &[&str]) -> Result<Self> {
        let kubeconfig = User::new(cluster, name, groups)?.kubeconfig().to_path_buf();
        Self::with(cluster, kubeconfig)
    }

    /// The cluster's administrator.
    ///
    /// # Errors
    /// If no home can be made.
    pub fn admin(cluster: &Cluster) -> Result<Self> {
        Self::with(cluster, cluster.layout().kubeconfig("admin"))
    }

    fn with(cluster: &Cluster, kubeconfig: PathBuf) -> Result<Self> {
        let home = tempfile::tempdir().context("make a home")?;
        let path = format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin",
            home.path().display(),
            cluster.layout().bin().display()
        );
        Ok(Self { home, kubeconfig, path, checkout: cluster.layout().checkout().to_path_buf() })
    }

    /// Their home.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What they type into a shell, from the top of the checkout.
    ///
    /// # Errors
    /// If no shell can be started.
    pub async fn types(&self, script: &str, input: Option<&str>) -> Result<Said> {
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.checkout)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = shell.spawn().context("start a shell")?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.context("wait for the shell")?;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What they type, which works; what it said.
    ///
    /// # Errors
    /// If it does not, with all that was said.
    pub async fn done(&self, script: &str) -> Result<String> {
        let said = self.types(script, None).await?;
        ensure!(said.code == 0, "{script}: {} {} {}", said.code, said.out, said.err);
        Ok(said.out)
    }

    /// What they type, which ends with this exit code and says this on standard error.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub async fn fails(&self, script: &str, code: i32, text: &str) -> Result<()> {
        let said = self.types(script, None).await?;
        ensure!(
            said.code == code,
            "{script}: {code} was expected, not {} {} {}",
            said.code,
            said.out,
            said.err
        );
        ensure!(said.err.contains(text), "{script}: '{text}' is not in: {}", said.err);
        Ok(())
    }
}
