//! Values as files for one command: in memory, for this user alone, gone when the command has ended.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use coffer_broker_api::ReleasedConnection;
use coffer_crds::limits::is_item_key;

use crate::{Failure, random_name};

/// The variable that says where they are.
pub(super) const VARIABLE: &str = "COFFER_FILES";

/// `statfs(2)`: TMPFS_MAGIC.
const TMPFS: u64 = 0x0102_1994;

/// `<folder>/<alias>/<item>`, as pods have it under `/coffer`.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Writes all values into a new folder.
    pub(super) fn of(connections: &[ReleasedConnection]) -> Result<Self, Failure> {
        Self::below(&memory()?, connections)
    }

    fn below(place: &Path, connections: &[ReleasedConnection]) -> Result<Self, Failure> {
        let folder = Self(place.join(format!("coffer-{}", random_name())));
        make(&folder.0).map_err(|error| unwritable(&folder.0, &error))?;
        connections.iter().try_for_each(|connection| folder.write(connection))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, connection: &ReleasedConnection) -> Result<(), Failure> {
        // Whoever answers does not choose where files are written.
        let odd =
            [&connection.alias].into_iter().chain(connection.items.keys()).find(|name| !is_item_key(name));
        if let Some(odd) = odd {
            return Err(Failure::Conflict(format!(
                "'{}' has a part '{odd}' that can be no file's",
                connection.name
            )));
        }
        let folder = self.0.join(&connection.alias);
        make(&folder).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Failure::Usage(format!(
                    "two of what was asked for are called '{}' and would have the same files: ask for one of them",
                    connection.alias
                ));
            }
            unwritable(&folder, &error)
        })?;
        for (item, value) in &connection.items {
            let path = folder.join(item);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(value.expose()))
                .map_err(|error| unwritable(&path, &error))?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What the command wrote there goes, too: it is its scratch room no longer than it lives.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

/// A place whose files never reach a disk, unless the machine swaps.
fn memory() -> Result<PathBuf, Failure> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    let places = [runtime, Some(OsString::from("/dev/shm"))];
    in_memory(places.into_iter().flatten().map(PathBuf::from).filter(|place| place.is_absolute()))
}

fn in_memory(places: impl IntoIterator<Item = PathBuf>) -> Result<PathBuf, Failure> {
    let places: Vec<_> = places.into_iter().collect();
    let found = places.iter().find(|place| is_tmpfs(place)).cloned();
    found.ok_or_else(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        Failure::Usage(format!(
            "--files needs a folder in memory (tmpfs), and none is here (looked at {}): set XDG_RUNTIME_DIR to one, or \
             leave --files out",
            looked.join(", ")
        ))
    })
}

#[cfg(target_os = "linux")]
fn is_tmpfs(place: &Path) -> bool {
    // The field's width differs from one machine to another.
    let kind = rustix::fs::statfs(place).map(|found| found.f_type as u64);
    kind.is_ok_and(|kind| kind == TMPFS)
        && rustix::fs::access(place, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_tmpfs(_: &Path) -> bool {
    false
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a failed expectation is the test's failure")]
    use super::*;
    use coffer_broker_api::ItemValue;
    use std::os::unix::fs::PermissionsExt as _;

    fn released(alias: &str, items: &[(&str, &[u8])]) -> ReleasedConnection {
        ReleasedConnection {
            namespace: "team".into(),
            name: alias.into(),
            alias: alias.into(),
            type_: "opaque".into(),
            version: 1,
            items: items
                .iter()
                .map(|(item, value)| ((*item).to_owned(), ItemValue::new(value.to_vec())))
                .collect(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
    }

    /// C32: for the command's user alone, and no longer than the command.
    #[test]
    fn files_are_private_and_go_with_the_command() {
        let place = tempfile::tempdir().expect("a folder");
        let folder =
            Folder::below(place.path(), &[released("tls", &[("tls.key", b"k\0ey"), ("tls.crt", b"c")])]);
        let folder = folder.unwrap_or_else(|failure| panic!("{failure}"));
        let file = folder.path().join("tls/tls.key");
        assert_eq!(fs::read(&file).expect("a file"), b"k\0ey");
        assert_eq!(
            (mode(folder.path()), mode(&folder.path().join("tls")), mode(&file)),
            (0o700, 0o700, 0o600)
        );
        fs::write(folder.path().join("tls/more"), "the command's own").expect("a file");
        drop(folder);
        assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn whoever_answers_does_not_choose_where_files_are_written() {
        let place = tempfile::tempdir().expect("a folder");
        for (alias, item) in [("..", "token"), ("../../x", "token"), ("github", "../token"), ("github", "..")]
        {
            let written = Folder::below(place.path(), &[released(alias, &[(item, b"v")])]);
            assert_eq!(
                written.map(drop).map_err(|f| f.exit_code()),
                Err(Failure::CONFLICT),
                "{alias}/{item}"
            );
        }
        let twice = [released("a", &[("x", b"v")]), released("a", &[("y", b"v")])];
        let written = Folder::below(place.path(), &twice);
        assert_eq!(written.map(drop).map_err(|f| f.exit_code()), Err(Failure::USAGE));
        assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0, "nothing stays behind");
    }

    #[test]
    fn a_folder_on_a_disk_is_no_place() {
        let refused = in_memory([PathBuf::from("/proc"), PathBuf::from("/nowhere")]).expect_err("no tmpfs");
        assert_eq!(refused.exit_code(), Failure::USAGE);
        assert!(refused.to_string().contains("/proc, /nowhere"), "{refused}");
    }
}
