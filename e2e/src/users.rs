//! People: users and groups that the API server authenticates by client certificate.

use crate::cluster::{Cluster, client, pki};
use anyhow::Result;
use kube::Client;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A user of the cluster with a kubeconfig of their own.
#[derive(Clone, Debug)]
pub struct User {
    kubeconfig: PathBuf,
}

impl User {
    /// A user of this name who is in these groups, with no right until RBAC gives one.
    ///
    /// # Errors
    /// If the cluster's authority cannot be read or the kubeconfig not be written.
    pub fn new(cluster: &Cluster, name: &str, groups: &[&str]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // The same name may be used with other groups by another test at the same time.
        let file = format!("user-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let kubeconfig = cluster.layout().kubeconfig(&file);
        let pair = pki::client(cluster.layout(), name, groups)?;
        pki::write_kubeconfig(cluster.layout(), &kubeconfig, &pair, None)?;
        Ok(Self { kubeconfig })
    }

    /// The path of the kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client with this user's rights.
    ///
    /// # Errors
    /// If the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig).await
    }
}
