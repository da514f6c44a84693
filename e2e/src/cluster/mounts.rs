//! Mounts: the kubelet's shared root, and leaving none behind.

use crate::layout::{KUBELET_ROOT, Layout, create_folder};
use anyhow::{Context, Result, bail};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`, proc(5).
struct Mount {
    /// Where it is mounted.
    point: PathBuf,
}

/// Mount our kubelet folder at [`KUBELET_ROOT`], shared with the mounts that CSI drivers make.
///
/// # Errors
/// If another kubelet uses that folder, or a mount fails.
pub fn ensure_kubelet_root(layout: &Layout) -> Result<()> {
    refuse_other_kubelet(layout)?;
    let root = Path::new(KUBELET_ROOT);
    if mounts()?.iter().any(|mount| mount.point == root) {
        return Ok(());
    }
    create_folder(root)?;
    mount_bind(layout.kubelet(), root).with_context(|| format!("mount {KUBELET_ROOT}"))?;
    // Private first: below a shared `/` each of the pods' mounts would appear in our state folder too.
    mount_change(root, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .and_then(|()| mount_change(root, MountPropagationFlags::SHARED | MountPropagationFlags::REC))
        .with_context(|| format!("make {KUBELET_ROOT} a shared mount"))
}

/// Refuse to touch a kubelet folder that is not ours.
///
/// # Errors
/// If another kubelet's data or mount is there.
pub fn refuse_other_kubelet(layout: &Layout) -> Result<()> {
    let root = Path::new(KUBELET_ROOT);
    if mounts()?.iter().any(|mount| mount.point == root) {
        if same_folder(&layout.kubelet(), root) {
            return Ok(());
        }
        bail!(
            "{KUBELET_ROOT} is a mount of somebody else's: this machine seems to be a Kubernetes node already"
        );
    }
    let mut entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look into {KUBELET_ROOT}")),
    };
    if entries.next().is_some() {
        bail!(
            "{KUBELET_ROOT} is in use by another kubelet. Coffer's own cluster needs a machine that is no \
             Kubernetes node; to use the cluster you have: make demo CLUSTER=existing"
        );
    }
    Ok(())
}

/// Whether these are one folder: its paths say nothing where the state lies on mounts of its own.
fn same_folder(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let (one, other) = (identity(one), identity(other));
    one.is_some() && one == other
}

/// Unmount everything at and below these folders, deepest first.
///
/// # Errors
/// If a mount is still there afterwards, naming it.
pub fn unmount_below(folders: &[&Path]) -> Result<()> {
    // A file system may be mounted over another one at the same point: look again until none is left.
    for _ in 0..16 {
        let mut points: Vec<PathBuf> = below(folders)?;
        if points.is_empty() {
            return Ok(());
        }
        points.sort_by_key(|point| std::cmp::Reverse(point.as_os_str().len()));
        for point in points {
            // Gone already when it lay below a mount that was shared with this one; the next look tells.
            let _ = unmount(&point, UnmountFlags::DETACH);
        }
    }
    let left = below(folders)?;
    match left.first() {
        None => Ok(()),
        Some(point) => bail!("{} mounts cannot be removed, the first is {}", left.len(), point.display()),
    }
}

fn below(folders: &[&Path]) -> Result<Vec<PathBuf>> {
    Ok(mounts()?
        .into_iter()
        .map(|mount| mount.point)
        .filter(|point| folders.iter().any(|folder| point.starts_with(folder)))
        .collect())
}

fn mounts() -> Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read the list of mounts")?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mount> {
    Some(Mount { point: unescape(line.split(' ').nth(4)?) })
}

/// Spaces and the like are octal in mountinfo.
fn unescape(field: &str) -> PathBuf {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_folder_is_the_same_by_every_path_and_an_absent_one_by_none() {
        let folder = tempfile::tempdir().unwrap();
        let (one, link) = (folder.path().join("one"), folder.path().join("link"));
        fs::create_dir(&one).unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        assert!(same_folder(&one, &link));
        assert!(!same_folder(&one, folder.path()));
        let absent = folder.path().join("absent");
        assert!(!same_folder(&absent, &absent));
    }

    #[test]
    fn mountinfo_is_read_with_its_escapes() {
        let line =
            "36 35 98:0 /state/kubelet /var/lib/with\\040space rw,noatime shared:1 - ext4 /dev/root rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/var/lib/with space"));
    }
}
