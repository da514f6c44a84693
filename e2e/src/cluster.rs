//! One real Kubernetes node on this machine: up, down, and its single processes.
//!
//! Its processes are detached from the program that starts them and known by
//! their pid files, so that every step may be repeated in any state: half up,
//! after a crash, after a restart of the machine.

pub mod component;
pub mod mounts;
pub mod network;
pub mod pki;
mod storage;
mod teardown;

use crate::etcd::Etcd;
use crate::images;
use crate::kubectl::Kubectl;
use crate::layout::{Layout, write_file};
use crate::lock::Lock;
use crate::process::Process;
use crate::programs::Programs;
use crate::progress::{note, step};
use crate::wait;
use anyhow::{Context, Result, bail};
use component::Component;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use std::path::Path;
use std::time::Duration;

/// The deadline for the node to be up.
const UP: Duration = Duration::from_secs(180);
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The cluster of this machine, up.
#[derive(Clone, Debug)]
pub struct Cluster {
    layout: Layout,
    programs: Programs,
}

impl Cluster {
    /// Bring the cluster up, or what is missing of it, and give it.
    ///
    /// # Errors
    /// If this machine cannot hold it, saying why, or it is not ready in three minutes.
    pub async fn up() -> Result<Self> {
        let layout = Layout::new();
        if !rustix::process::geteuid().is_root() {
            bail!("the cluster mounts, makes a bridge and sets firewall rules: run this as root");
        }
        mounts::refuse_other_kubelet(&layout)?;
        let programs = Programs::ensure(&layout).await?;
        let cluster = Self { layout, programs };
        let _alone = cluster.lock().await?;
        cluster.refresh_if_outdated().await?;
        if cluster.stopped().next().is_none() && cluster.settle(UP).await.is_ok() {
            return Ok(cluster);
        }
        step("starting Kubernetes 1.37.2 (one node)", cluster.start_all()).await?;
        Ok(cluster)
    }

    /// The cluster, if all of its processes run.
    ///
    /// # Errors
    /// If one does not, naming it and the command that helps.
    pub fn attach() -> Result<Self> {
        let layout = Layout::new();
        let programs = Programs::locate(&layout)?;
        let cluster = Self { layout, programs };
        let stopped: Vec<_> = cluster.stopped().map(Component::name).collect();
        if !stopped.is_empty() {
            bail!("the cluster is not up ({} not running): make cluster", stopped.join(", "));
        }
        Ok(cluster)
    }

    /// Whether any of its processes runs.
    #[must_use]
    pub fn any_running(layout: &Layout) -> bool {
        Component::ALL.iter().any(|component| component.supervised(layout).running().is_some())
    }

    /// Take the cluster down and remove everything that it left on the machine.
    ///
    /// # Errors
    /// If something of it is still there afterwards.
    pub async fn down() -> Result<()> {
        let layout = Layout::new();
        if !rustix::process::geteuid().is_root() {
            bail!("run this as root, as the cluster was");
        }
        let _alone = Lock::acquire(&lock_file(), "another program that works on the cluster").await?;
        teardown::all(&layout).await
    }

    /// Its folders.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The programs that it runs.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// A client with every right.
    ///
    /// # Errors
    /// If the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        client(&self.layout.kubeconfig("admin")).await
    }

    /// kubectl with every right.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.programs.kube(), self.layout.kubeconfig("admin"))
    }

    /// What etcd holds, in etcd itself.
    #[must_use]
    pub fn etcd(&self) -> Etcd {
        Etcd::new(component::ETCD_URL, self.layout.etcd())
    }

    /// The process of a component, if it runs.
    #[must_use]
    pub fn process(&self, component: Component) -> Option<Process> {
        component.supervised(&self.layout).running()
    }

    /// `kill -9` a component and leave it dead.
    ///
    /// # Errors
    /// If it does not die.
    pub async fn kill(&self, component: Component) -> Result<()> {
        match self.process(component) {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Start a component that does not run.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, component: Component) -> Result<Process> {
        component.ensure(&self.layout, &self.programs)
    }

    /// Stop a component in the orderly way and start it again.
    ///
    /// # Errors
    /// If it does not end, or cannot be started.
    pub async fn restart(&self, component: Component) -> Result<Process> {
        if let Some(process) = self.process(component) {
            process.stop(GRACE).await?;
        }
        self.start(component)
    }

    /// Wait until API server, node, DNS and volumes are as a test expects them.
    ///
    /// # Errors
    /// If that is not so at the deadline.
    pub async fn settle(&self, within: Duration) -> Result<()> {
        self.api_ready(within).await?;
        let client = self.client().await?;
        wait::object(
            &Api::<Node>::all(client.clone()),
            network::NODE_NAME,
            "node ready",
            within,
            |node: Option<&Node>| node.is_some_and(node_ready),
        )
        .await?;
        storage::replenish(&client, &self.layout).await?;
        let deployments: Api<Deployment> = Api::namespaced(client, "kube-system");
        wait::object(&deployments, "coredns", "DNS to answer", within, |deployment: Option<&Deployment>| {
            deployment.and_then(|found| found.status.as_ref()?.available_replicas) == Some(1)
        })
        .await
        .map(drop)
    }

    /// Volumes of earlier claims, made new.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn replenish_volumes(&self) -> Result<()> {
        storage::replenish(&self.client().await?, &self.layout).await
    }

    async fn lock(&self) -> Result<Lock> {
        Lock::acquire(&lock_file(), "another program that works on the cluster").await
    }

    fn stopped(&self) -> impl Iterator<Item = Component> {
        Component::ALL.into_iter().filter(|component| component.supervised(&self.layout).running().is_none())
    }

    /// A cluster of an earlier boot or of other programs is made afresh: it would be half of each.
    async fn refresh_if_outdated(&self) -> Result<()> {
        let file = self.layout.state().join("identity");
        let boot =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot's id")?;
        let identity = format!("{}{}\n", boot, self.programs.fingerprint());
        let found = std::fs::read_to_string(&file).ok();
        if found.as_deref() != Some(&identity) {
            if self.layout.state().exists() {
                note(
                    "what is there is of an earlier boot, other programs or an interrupted start: beginning afresh",
                );
                teardown::all(&self.layout).await?;
            }
            self.layout.create()?;
            network::remember_settings(&self.layout.state().join("settings"))?;
            write_file(&file, identity)?;
        }
        Ok(())
    }

    async fn start_all(&self) -> Result<()> {
        self.layout.create()?;
        pki::ensure(&self.layout)?;
        network::ensure()?;
        mounts::ensure_kubelet_root(&self.layout)?;
        for component in [Component::Etcd, Component::Containerd, Component::ApiServer] {
            self.start(component)?;
        }
        self.containerd_ready().await?;
        images::load(self, &images::of_cluster(self)?).await?;
        self.api_ready(UP).await?;
        for component in Component::ALL {
            self.start(component)?;
        }
        for manifest in ["dns.yaml"] {
            let file = self.layout.checkout().join("e2e").join("manifests").join(manifest);
            self.kubectl().run(["apply", "--server-side", "--force-conflicts", "-f"]).arg(&file).ok().await?;
        }
        self.settle(UP).await
    }

    async fn containerd_ready(&self) -> Result<()> {
        let socket = self.layout.containerd_socket();
        wait::until("containerd to answer", wait::SOON, async || {
            self.still_running(Component::Containerd)?;
            Ok(std::os::unix::net::UnixStream::connect(&socket).ok().map(drop))
        })
        .await
    }

    async fn api_ready(&self, within: Duration) -> Result<()> {
        let client = self.client().await?;
        wait::until("the API server to be ready", within, async || {
            self.still_running(Component::ApiServer)?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(Some(client.request_text(request).await.map(drop)?))
        })
        .await
    }

    fn still_running(&self, component: Component) -> Result<()> {
        let supervised = component.supervised(&self.layout);
        if supervised.running().is_none() {
            bail!("{} has ended; see {}", supervised.name, supervised.log.display());
        }
        Ok(())
    }
}

/// A client with the rights of a kubeconfig.
///
/// # Errors
/// If the kubeconfig cannot be read.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    // A second call finds it installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("read {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", kubeconfig.display()))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).context("make a client")
}

/// The same, which tells every refusal: kube's own way is to send again what was answered with 429, for minutes.
///
/// # Errors
/// If the kubeconfig cannot be read or does not make a client.
pub async fn impatient_client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("read {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", kubeconfig.display()))?;
    config.default_retry = false;
    Client::try_from(config).context("make a client")
}

fn node_ready(node: &Node) -> bool {
    let ready = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let tainted = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .any(|taint| taint.key.starts_with("node.kubernetes.io/"));
    ready && !tainted
}

fn lock_file() -> std::path::PathBuf {
    // Outside the folders that a teardown removes.
    std::path::PathBuf::from("/run/lock/coffer-e2e.lock")
}
