//! Images without a registry or a builder: an archive that containerd imports.
//!
//! The product's images are described once, by the last stages of the
//! `Dockerfile` at the top of the checkout; [`dockerfile`] reads them.

pub mod archive;
pub mod dockerfile;

use crate::cluster::Cluster;
use crate::layout::write_file;
use crate::progress::step;
use anyhow::{Context, Result, bail};
use archive::{Entry, Image};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// What holds each pod's namespaces.
pub const PAUSE: &str = "localhost/pause:1";
/// The cluster's DNS server.
pub const COREDNS: &str = "localhost/coredns:1.15.0";
/// A small image with a shell (busybox), always there.
pub const SHELL: &str = "coffer.dev/shell:dev";

/// The images that the bare cluster needs, and the one with a shell.
///
/// # Errors
/// If no static busybox is installed.
pub fn of_cluster(cluster: &Cluster) -> Result<Vec<Image>> {
    let programs = cluster.programs();
    let single = |name: &str, file: &str, source: PathBuf| Image {
        name: name.into(),
        entrypoint: vec![file.into()],
        user: None,
        labels: BTreeMap::new(),
        entries: vec![Entry::File { path: file.into(), source }],
    };
    Ok(vec![
        single(PAUSE, "/pause", programs.pause()),
        single(COREDNS, "/coredns", programs.coredns()),
        shell()?,
    ])
}

/// Busybox with a link for each of its programs.
fn shell() -> Result<Image> {
    let source = ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .context("no busybox: install the package busybox-static (e2e/prerequisites.sh)")?;
    let list =
        std::process::Command::new(&source).arg("--list").output().context("ask busybox for its programs")?;
    let mut entries = vec![
        Entry::Folder { path: "/bin".into(), mode: 0o755 },
        Entry::Folder { path: "/tmp".into(), mode: 0o1777 },
        Entry::File { path: "/bin/busybox".into(), source },
    ];
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        entries.push(Entry::Link { path: format!("/bin/{name}"), target: "busybox".into() });
    }
    let entrypoint = vec!["/bin/sh".into()];
    Ok(Image { name: SHELL.into(), entrypoint, user: None, labels: BTreeMap::new(), entries })
}

/// Give these images to the cluster's containerd, but those that it has already.
///
/// Gives one line that changes when any of them does.
///
/// # Errors
/// If an image cannot be written or imported.
pub async fn load(cluster: &Cluster, images: &[Image]) -> Result<String> {
    let folder = cluster.layout().images();
    let mut fingerprint = String::new();
    for image in images {
        let file = folder.join(image.name.replace(['/', ':'], "_"));
        let mark = file.with_extension("loaded");
        let digest = image.digest()?;
        fingerprint.push_str(&digest);
        if std::fs::read_to_string(&mark).is_ok_and(|loaded| loaded == digest) {
            continue;
        }
        let file = file.with_extension("tar");
        step(&format!("loading image {}", image.name), async {
            image.write(&file)?;
            import(cluster, &file).await
        })
        .await?;
        std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        write_file(&mark, digest)?;
    }
    Ok(archive::hex_sha256(fingerprint.as_bytes()))
}

/// Write an image as the cluster's containerd has it into an archive, in the format of `docker save` too.
///
/// # Errors
/// If containerd has no such image.
pub async fn export(cluster: &Cluster, image: &str, file: &Path) -> Result<()> {
    ctr(cluster, &["export".as_ref(), file.as_os_str(), image.as_ref()]).await
}

async fn import(cluster: &Cluster, file: &Path) -> Result<()> {
    ctr(cluster, &["import".as_ref(), "--digests=false".as_ref(), file.as_os_str()]).await
}

async fn ctr(cluster: &Cluster, arguments: &[&OsStr]) -> Result<()> {
    let output = Command::new(cluster.programs().ctr())
        .arg("--address")
        .arg(cluster.layout().containerd_socket())
        .args(["--namespace", "k8s.io", "images"])
        .args(arguments)
        .output()
        .await
        .context("start ctr")?;
    if !output.status.success() {
        bail!("ctr images {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
