//! kubectl as a person uses it.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// kubectl with one kubeconfig and, often, one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    namespace: Option<String>,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Kubectl {
    /// From the binary that is every part of Kubernetes (its name decides), or a plain kubectl.
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig: Some(kubeconfig), namespace: None }
    }

    /// With the kubeconfig that the environment names.
    #[must_use]
    pub fn of_environment(program: PathBuf) -> Self {
        Self { program, kubeconfig: None, namespace: None }
    }

    /// The same in another namespace.
    #[must_use]
    pub fn namespaced(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// The same as somebody else.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: Some(kubeconfig.to_path_buf()), ..self.clone() }
    }

    /// A command to be completed and run.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        let mut command = Command::new(&self.program);
        if self.program.file_name() == Some(OsStr::new("kube")) {
            command.arg("kubectl");
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        if let Some(namespace) = &self.namespace {
            command.args(["--namespace", namespace]);
        }
        command.args(arguments);
        Run { command, input: None }
    }

    /// `kubectl apply` of manifests, client-side as most people do.
    ///
    /// # Errors
    /// If it is refused, with kubectl's words.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        self.run(["apply", "-f", "-"]).input(manifests).ok().await
    }

    /// `kubectl apply` that must be refused; what it said.
    ///
    /// # Errors
    /// If it is not refused.
    pub async fn apply_refused(&self, manifests: &str) -> Result<String> {
        self.run(["apply", "-f", "-"]).input(manifests).refused().await
    }

    /// Run a command in a pod; its standard output.
    ///
    /// # Errors
    /// If the command fails, with what it said.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        self.run(["exec", pod, "--"]).args(command).ok().await
    }
}

/// One command.
#[derive(Debug)]
pub struct Run {
    command: Command,
    input: Option<String>,
}

impl Run {
    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Its standard input.
    #[must_use]
    pub fn input(mut self, input: &str) -> Self {
        self.input = Some(input.to_owned());
        self
    }

    /// Run it, whatever comes of it.
    ///
    /// # Errors
    /// Only if it cannot be started.
    pub async fn said(mut self) -> Result<Said> {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start kubectl")?;
        if let (Some(input), Some(mut stdin)) = (self.input, child.stdin.take()) {
            // It may end before it has read everything: what it says then tells more than this error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.context("wait for kubectl")?;
        Ok(Said {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Run it; its standard output.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub async fn ok(self) -> Result<String> {
        let what = self.title();
        let said = self.said().await?;
        if !said.ok {
            bail!("{what}: {}", said.err.trim());
        }
        Ok(said.out)
    }

    /// Run it and expect it to fail; its standard error.
    ///
    /// # Errors
    /// If it succeeds.
    pub async fn refused(self) -> Result<String> {
        let what = self.title();
        let said = self.said().await?;
        if said.ok {
            bail!("{what} should have been refused, but said: {}", said.out.trim());
        }
        Ok(said.err)
    }

    /// The command without the paths, for messages.
    fn title(&self) -> String {
        let mut words = self.command.as_std().get_args().map(|word| word.to_string_lossy().into_owned());
        let mut shown = vec!["kubectl".to_owned()];
        while let Some(word) = words.next() {
            match word.as_str() {
                "--kubeconfig" => drop(words.next()),
                "kubectl" => {}
                _ => shown.push(word),
            }
        }
        shown.join(" ")
    }
}
