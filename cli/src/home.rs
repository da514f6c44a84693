//! What lies on this machine: the local key, and what was seen of vaults before.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use coffer_keys::SecretBytes;

use crate::Failure;

/// No key file and no list of pins is larger.
const LARGEST: u64 = 1024 * 1024;

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// The key that `key new` makes: `$XDG_CONFIG_HOME/coffer/key`.
    pub(crate) key: PathBuf,
    /// The SSH key that is used when there is no other: `~/.ssh/id_ed25519`.
    pub(crate) ssh_key: PathBuf,
    /// What was seen of vaults: `$XDG_STATE_HOME/coffer/vaults.json`.
    pub(crate) pins: PathBuf,
}

impl Home {
    /// By the environment, as the XDG Base Directory Specification has it.
    pub(crate) fn of_environment() -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let folder = |variable: &str, default: &str| {
            let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            set.unwrap_or_else(|| home.join(default)).join("coffer")
        };
        Self {
            key: folder("XDG_CONFIG_HOME", ".config").join("key"),
            ssh_key: home.join(".ssh/id_ed25519"),
            pins: folder("XDG_STATE_HOME", ".local/state").join("vaults.json"),
        }
    }
}

/// A file that nobody else may read; refused otherwise. `None` when there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<SecretBytes>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::Usage(format!("{} cannot be read: {error}", path.display()))),
    };
    let unreadable = |error| Failure::Usage(format!("{} cannot be read: {error}", path.display()));
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(Failure::Usage(format!(
            "{shown} is open to others (mode {mode:04o}), so it is not used. If nobody has read it: chmod 600 {shown}. \
             If somebody may have: make another key"
        )));
    }
    let mut content = Vec::new();
    // One byte more: a file that is cut would be read as another one.
    let length = file.take(LARGEST + 1).read_to_end(&mut content).map_err(unreadable)?;
    let content = SecretBytes::new(content);
    if length as u64 > LARGEST {
        return Err(Failure::Usage(format!("{} has more than {} KiB", path.display(), LARGEST >> 10)));
    }
    Ok(Some(content))
}

/// Waits until no other command changes this file, and keeps the others waiting while the answer lives. The lock lies
/// beside the file, which is replaced and not written.
pub(crate) fn locked(path: &Path) -> Result<File, Failure> {
    make_folder(path)?;
    let lock = path.with_extension("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
    opened.and_then(|file| file.lock().map(|()| file)).map_err(|error| unwritable(&lock, &error))
}

/// Writes a new file that nobody else may read; one that is there stays.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    make_folder(path)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Failure::Conflict(format!("{} is there already", path.display()))
        } else {
            unwritable(path, &error)
        }
    })
}

/// Replaces a file of our own in one step.
pub(crate) fn replace_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    // Left by a run that was killed and had the same number.
    let _ = fs::remove_file(&draft);
    write_private(&draft, content)?;
    fs::rename(&draft, path).map_err(|error| unwritable(path, &error))
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| unwritable(folder, &error))
}

/// A file that was named and cannot be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        Failure::NotFound(format!("there is no file {}", path.display()))
    } else {
        Failure::Usage(format!("{} cannot be read: {error}", path.display()))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a failed expectation is the test's failure")]
    use super::*;

    #[test]
    fn what_is_written_only_its_owner_can_read_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/key");
        write_private(&path, b"secret").expect("a new file");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = write_private(&path, b"other").expect_err("it is there");
        assert_eq!(again.exit_code(), Failure::CONFLICT);
        let read = read_private(&path).expect("readable").expect("there");
        assert_eq!(read.expose(), b"secret");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vaults.json");
        let largest = usize::try_from(LARGEST).expect("small");
        write_private(&path, &vec![b' '; largest]).expect("a new file");
        assert!(read_private(&path).is_ok());
        replace_private(&path, &vec![b' '; largest + 1]).expect("a file");
        let refused = read_private(&path).map(drop).expect_err("too large");
        assert_eq!(refused.exit_code(), Failure::USAGE);
        assert!(refused.to_string().contains("more than 1024 KiB"), "{refused}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_mends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        write_private(&path, b"secret").expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
        let refused = read_private(&path).map(drop).expect_err("open to a group");
        assert_eq!(refused.exit_code(), Failure::USAGE);
        let text = refused.to_string();
        assert!(
            text.contains("mode 0640") && text.contains("chmod 600") && !text.contains("secret"),
            "{text}"
        );
    }
}
