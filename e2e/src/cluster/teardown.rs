//! Taking the cluster away, whatever state it is in: nothing here needs it to work.

use super::component::Component;
use super::{GRACE, mounts, network};
use crate::layout::{KUBELET_ROOT, Layout};
use crate::process::{self, Process};
use crate::wait;
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};

/// The cgroup that the kubelet puts pods into.
const POD_CGROUP: &str = "/kubepods";

/// Stop every process and remove every trace.
pub(super) async fn all(layout: &Layout) -> Result<()> {
    let foreign = mounts::refuse_other_kubelet(layout);
    // The kubelet first, or it would start again what is stopped after it.
    stop(layout, &[Component::Kubelet]).await?;
    if foreign.is_ok() {
        kill_every("the pods' processes", in_pod_cgroup).await?;
    }
    let socket = layout.containerd_socket().display().to_string();
    kill_every("the pods' shims", |pid| is_shim_of(pid, &socket)).await?;
    stop(layout, &Component::ALL).await?;

    let shim_sockets = shim_sockets(layout);
    let mut folders = vec![layout.run(), layout.state()];
    if foreign.is_ok() {
        folders.push(Path::new(KUBELET_ROOT));
    }
    mounts::unmount_below(&folders)?;
    if foreign.is_ok() {
        network::remove()?;
        remove_pod_cgroups();
        remove_container_log_links(layout);
        // Only if it is empty, which it is unless it is somebody else's.
        let _ = fs::remove_dir(KUBELET_ROOT);
    }
    remove_runtime_leftovers(&shim_sockets);
    network::restore_settings(&layout.state().join("settings"));
    for folder in [layout.state(), layout.run()] {
        remove_folder(folder)?;
    }
    Ok(())
}

async fn stop(layout: &Layout, components: &[Component]) -> Result<()> {
    let stopping = components.iter().map(|component| async move {
        let supervised = component.supervised(layout);
        if let Some(process) = supervised.running() {
            process.stop(GRACE).await.with_context(|| format!("stop {}", supervised.name))?;
        }
        supervised.forget();
        anyhow::Ok(())
    });
    futures::future::try_join_all(stopping).await.map(drop)
}

async fn kill_every(what: &str, ours: impl Fn(i32) -> bool) -> Result<()> {
    wait::until(&format!("{what} to end"), wait::SOON, async || {
        let found: Vec<Process> = process::every(&ours);
        for process in &found {
            process.signal(Signal::KILL)?;
        }
        Ok(found.is_empty().then_some(()))
    })
    .await
}

/// Whether a process is in a pod: proc_pid_cgroup(5), `hierarchy:controllers:path`.
fn in_pod_cgroup(pid: i32) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| {
        path.strip_prefix(POD_CGROUP).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a process is a shim that containerd started with this socket.
fn is_shim_of(pid: i32, socket: &str) -> bool {
    let arguments = process::arguments(pid);
    arguments.first().is_some_and(|program| program.ends_with("containerd-shim-runc-v2"))
        && arguments.windows(2).any(|pair| pair[0] == "-address" && pair[1] == socket)
}

/// The sockets of shims, which lie outside containerd's own folders.
fn shim_sockets(layout: &Layout) -> Vec<PathBuf> {
    let bundles = layout.containerd_run().join("io.containerd.runtime.v2.task").join("k8s.io");
    let Ok(entries) = fs::read_dir(bundles) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.ok()?.path().join("bootstrap.json")).ok()?;
            let bootstrap: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(PathBuf::from(bootstrap.get("address")?.as_str()?.strip_prefix("unix://")?))
        })
        .collect()
}

/// Pods' cgroups, deepest first; the kernel removes only those without processes.
fn remove_pod_cgroups() {
    let root = Path::new("/sys/fs/cgroup");
    let mut roots = vec![root.to_path_buf()];
    roots.extend(folders(root));
    for hierarchy in roots {
        remove_cgroup(&hierarchy.join(&POD_CGROUP[1..]));
    }
}

fn remove_cgroup(group: &Path) {
    for child in folders(group) {
        remove_cgroup(&child);
    }
    let _ = fs::remove_dir(group);
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.path())
        })
        .collect()
}

/// The kubelet links each container's log here, whatever `podLogsDir` says.
fn remove_container_log_links(layout: &Layout) {
    let folder = Path::new("/var/log/containers");
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(layout.pod_logs())) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// What containerd keeps at a fixed place; emptied folders go too.
fn remove_runtime_leftovers(shim_sockets: &[PathBuf]) {
    for socket in shim_sockets {
        let _ = fs::remove_file(socket);
    }
    for folder in ["/run/containerd/s", "/run/containerd"] {
        let _ = fs::remove_dir(folder);
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", folder.display())),
    }
}
