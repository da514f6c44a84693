//! The tmpfs in which a pod's files lie: memory, never swapped where the kernel knows how, nothing executable.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    fs::{CWD, statfs},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
    },
};

/// `f_type` of a tmpfs: TMPFS_MAGIC in `linux/magic.h`.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// What pods of every SELinux category may read. The kubelet labels no inline CSI volumes, so the driver must.
const CONTAINER_FILES: &str = "system_u:object_r:container_file_t:s0";

/// Twice what one volume can hold, since old and new files lie side by side during a swap: the most that the broker
/// releases (4 MiB), and a started page for each of [`crate::payload::MAX_ITEMS`] files.
const SIZE: u64 = 2 * ((coffer_broker_api::MAX_RELEASED_BYTES + crate::payload::MAX_ITEMS * 4096) as u64);
/// Files, folders and links of both, with room to spare.
const INODES: u64 = 4 * crate::payload::MAX_ITEMS as u64;

/// Who may read a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The pod's `fsGroup`. Without one, any user in the pod may read: the container's user is not known here, and
    /// from the rest of the node the kubelet's own folders (0750) keep everybody out.
    pub group: Option<u32>,
}

impl Access {
    /// Mode of files: nobody writes.
    pub fn file_mode(self) -> u32 {
        if self.group.is_some() { 0o440 } else { 0o444 }
    }

    /// Mode of folders.
    pub fn folder_mode(self) -> u32 {
        if self.group.is_some() { 0o750 } else { 0o755 }
    }
}

/// The kernel's part in a publish: a seam, so that everything else is tested without rights.
pub trait Mounts: Send + Sync + 'static {
    /// Whether a tmpfs is mounted exactly here. A path that does not exist has none.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn is_mounted(&self, target: &Path) -> io::Result<bool>;

    /// Mounts a fresh tmpfs over the folder `target`.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn mount(&self, target: &Path, access: Access) -> io::Result<()>;

    /// Takes one mount off `target`, also while somebody still has a file of it open.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn unmount(&self, target: &Path) -> io::Result<()>;
}

/// [`Mounts`] by system calls.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    selinux: bool,
}

impl Kernel {
    /// Looks whether this kernel has SELinux on. It lists `selinuxfs` only then, and `/proc` is there in every
    /// container, which `/sys/fs/selinux` is not.
    pub fn detect() -> Self {
        let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        Self { selinux: lists_selinux(&filesystems) }
    }
}

fn lists_selinux(filesystems: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().last() == Some("selinuxfs"))
}

/// The mount options, in the words of tmpfs(5).
fn options(access: Access, selinux: bool) -> Vec<(&'static str, String)> {
    let mut options = vec![
        ("size", SIZE.to_string()),
        ("nr_inodes", INODES.to_string()),
        ("mode", format!("{:o}", access.folder_mode())),
        ("uid", "0".to_owned()),
        ("gid", access.group.unwrap_or(0).to_string()),
    ];
    if selinux {
        options.push(("context", CONTAINER_FILES.to_owned()));
    }
    options
}

impl Mounts for Kernel {
    fn is_mounted(&self, target: &Path) -> io::Result<bool> {
        let here = match std::fs::symlink_metadata(target) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(parent) = target.parent() else { return Ok(false) };
        // Each tmpfs is a device of its own, so a folder on its parent's device has no tmpfs of its own.
        if !here.is_dir() || here.dev() == std::fs::symlink_metadata(parent)?.dev() {
            return Ok(false);
        }
        Ok(u64::try_from(statfs(target)?.f_type) == Ok(TMPFS_MAGIC))
    }

    fn mount(&self, target: &Path, access: Access) -> io::Result<()> {
        let filesystem = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&filesystem, "source", "coffer")?;
        for (key, value) in options(access, self.selinux) {
            fsconfig_set_string(&filesystem, key, &value)?;
        }
        // Since Linux 6.4; before, a node with swap may swap the files out. The guide says to have none.
        match fsconfig_set_flag(&filesystem, "noswap") {
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        fsconfig_create(&filesystem)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        let mount = fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(())
    }

    fn unmount(&self, target: &Path) -> io::Result<()> {
        match unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => Ok(unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pod_s_group_alone_reads_and_without_one_every_user_of_the_pod_does() {
        let group = Access { group: Some(2000) };
        assert_eq!((group.file_mode(), group.folder_mode()), (0o440, 0o750));
        let nobody = Access { group: None };
        assert_eq!((nobody.file_mode(), nobody.folder_mode()), (0o444, 0o755));
    }

    #[test]
    fn selinux_gets_the_containers_label_and_a_kernel_without_it_no_such_option() {
        assert!(lists_selinux("nodev\tsysfs\nnodev\tselinuxfs\n\text4\n"));
        assert!(!lists_selinux("nodev\tsysfs\n\text4\n"));
        let text = |selinux| {
            let options = options(Access { group: Some(2000) }, selinux);
            options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
        };
        let plain = "size=41943040,nr_inodes=16384,mode=750,uid=0,gid=2000";
        assert_eq!(text(false), plain);
        assert_eq!(text(true), format!("{plain},context=system_u:object_r:container_file_t:s0"));
    }

    /// Takes the mount off again when an assertion fails.
    struct Unmounted<'a>(&'a Path);

    impl Drop for Unmounted<'_> {
        fn drop(&mut self) {
            let _ = unmount(self.0, UnmountFlags::DETACH);
        }
    }

    /// The real kernel's part. Needs root, as `make test` has it.
    #[test]
    fn the_kernel_mounts_a_private_tmpfs_and_takes_it_away_even_while_a_file_is_open() {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a tmpfs: run it as root, as `make test` does"
        );
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("mount");
        let kernel = Kernel::detect();
        assert!(!kernel.is_mounted(&target).unwrap(), "there is no such folder");
        std::fs::create_dir(&target).unwrap();
        assert!(!kernel.is_mounted(&target).unwrap());

        kernel.mount(&target, Access { group: Some(4242) }).unwrap();
        let guard = Unmounted(&target);
        assert!(kernel.is_mounted(&target).unwrap());
        let root = std::fs::metadata(&target).unwrap();
        assert_eq!((root.permissions().mode() & 0o7777, root.uid(), root.gid()), (0o750, 0, 4242));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap();
        for option in ["nosuid", "nodev", "noexec", "size=40960k", "gid=4242"] {
            assert!(line.contains(option), "{option} is not in {line}");
        }
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let since_6_4 = (numbers.next(), numbers.next()) >= (Some(6), Some(4));
        assert_eq!(line.contains("noswap"), since_6_4, "{line}");

        std::fs::write(target.join("file"), "value").unwrap();
        let open = std::fs::File::open(target.join("file")).unwrap();
        kernel.unmount(&target).unwrap();
        assert!(!kernel.is_mounted(&target).unwrap());
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
        drop((open, guard));
    }
}
