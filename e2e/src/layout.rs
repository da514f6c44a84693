//! Where everything lies: the one list of paths.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The kubelet's root folder. Not ours to choose: a plain `helm install` of the
/// chart expects the usual place.
pub const KUBELET_ROOT: &str = "/var/lib/kubelet";

/// The folders of the cluster, of the checkout and of what is kept between checkouts.
#[derive(Clone, Debug)]
pub struct Layout {
    state: PathBuf,
    run: PathBuf,
    checkout: PathBuf,
    cache: PathBuf,
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout {
    /// The layout of this checkout and this machine's one cluster.
    #[must_use]
    pub fn new() -> Self {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(default_cache);
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            state: PathBuf::from("/var/lib/coffer-e2e"),
            run: PathBuf::from("/run/coffer-e2e"),
            checkout: here.parent().unwrap_or(here).to_path_buf(),
            cache: cache.join("coffer"),
        }
    }

    /// The root of the checkout that this harness was built from.
    #[must_use]
    pub fn checkout(&self) -> &Path {
        &self.checkout
    }

    /// What is built once and used by every checkout on this machine.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The folder whose content is the cluster: gone when the cluster is.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Sockets and pid files: what a restart of the machine must not leave behind.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Certificates and keys of the cluster.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    /// The components' logs, one file each.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    /// The logs of the pods' containers (the kubelet's `podLogsDir`).
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.state.join("pod-logs")
    }

    /// etcd's data folder.
    #[must_use]
    pub fn etcd(&self) -> PathBuf {
        self.state.join("etcd")
    }

    /// What is mounted at [`KUBELET_ROOT`].
    #[must_use]
    pub fn kubelet(&self) -> PathBuf {
        self.state.join("kubelet")
    }

    /// containerd's images and snapshots.
    #[must_use]
    pub fn containerd_root(&self) -> PathBuf {
        self.state.join("containerd")
    }

    /// containerd's running containers.
    #[must_use]
    pub fn containerd_run(&self) -> PathBuf {
        self.run.join("containerd")
    }

    /// containerd's socket.
    #[must_use]
    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    /// The folder of CNI configurations.
    #[must_use]
    pub fn cni(&self) -> PathBuf {
        self.state.join("cni")
    }

    /// The static volumes of the default StorageClass.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// Image archives, and marks of those that containerd has.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Configuration of one component.
    #[must_use]
    pub fn config(&self, file: &str) -> PathBuf {
        self.state.join("config").join(file)
    }

    /// The kubeconfig of one identity; `admin` is the one that users are given.
    #[must_use]
    pub fn kubeconfig(&self, identity: &str) -> PathBuf {
        self.state.join(format!("{identity}.kubeconfig"))
    }

    /// The pid file of one component.
    #[must_use]
    pub fn pid_file(&self, component: &str) -> PathBuf {
        self.run.join(format!("{component}.pid"))
    }

    /// The folder for a person's `PATH`: kubectl, helm and the plugin.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.checkout.join("target").join("bin")
    }

    /// What failed tests leave to be read.
    #[must_use]
    pub fn dumps(&self) -> PathBuf {
        self.checkout.join("target").join("e2e-dumps")
    }

    /// The Go modules and other sources of the cluster's programs.
    #[must_use]
    pub fn sources(&self) -> PathBuf {
        self.checkout.join("e2e").join("cluster")
    }

    /// Make every folder that the cluster writes to.
    ///
    /// # Errors
    /// If a folder cannot be made, naming it.
    pub fn create(&self) -> Result<()> {
        let config = self.state.join("config");
        for folder in [
            self.pki(),
            self.logs(),
            self.pod_logs(),
            self.etcd(),
            self.kubelet(),
            self.containerd_root(),
            self.containerd_run(),
            self.cni(),
            self.volumes(),
            self.images(),
            config,
        ] {
            create_folder(&folder)?;
        }
        Ok(())
    }
}

/// Where caches lie when `XDG_CACHE_HOME` does not say: root's are the machine's.
fn default_cache() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/cache");
    }
    std::env::home_dir().unwrap_or_default().join(".cache")
}

/// Make a folder and its parents.
///
/// # Errors
/// If it cannot be made, naming it.
pub fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))
}

/// Write a file so that a reader sees the old content or the new one, never a part.
///
/// # Errors
/// If it cannot be written, naming it.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, content)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("write {}", path.display()))
}
