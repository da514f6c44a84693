//! Writes a volume's files so that a reader sees all of the old or all of the new, never some of each.
//!
//! The layout is the kubelet's own for Secrets and ConfigMaps:
//!
//! ```text
//! <volume>/github -> ..data/github
//! <volume>/..data -> ..2026_11_23_20_56_40.123456789
//! <volume>/..2026_11_23_20_56_40.123456789/github/token
//! <volume>/..2026_11_23_20_56_40.123456789/..volume.json     names and versions; for us, after a restart
//! ```
//!
//! A change is one `rename` of `..data`.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink},
    path::{Path, PathBuf},
};

use coffer_broker_api::ItemValue;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    mount::Access,
    payload::{Folder, Payload, is_alias, is_item},
};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
const INDEX: &str = "..volume.json";

/// The files of one volume.
#[derive(Debug)]
pub struct Files<'a> {
    root: &'a Path,
    access: Access,
}

/// What [`Files::replace`] found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The same files were there.
    Unchanged,
    /// The files are new.
    Swapped,
}

#[derive(Serialize, Deserialize)]
struct Index {
    folders: BTreeMap<String, IndexEntry>,
}

#[derive(Serialize, Deserialize)]
struct IndexEntry {
    connection: String,
    version: i64,
}

impl<'a> Files<'a> {
    /// Those below `root`, for those whom `access` lets read.
    pub fn new(root: &'a Path, access: Access) -> Self {
        Self { root, access }
    }

    /// What lies in the volume; `None` if nothing was ever completely written.
    ///
    /// # Errors
    /// When a file cannot be read, or the volume is not as this module left it.
    pub fn read(&self) -> io::Result<Option<Payload>> {
        let data = self.root.join(DATA);
        let index = match fs::read(data.join(INDEX)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let index: Index = serde_json::from_slice(&index)?;
        let mut payload = Payload::default();
        for (alias, IndexEntry { connection, version }) in index.folders {
            let items = read_items(&data.join(&alias))?;
            payload.folders.insert(alias, Folder { connection, version, items });
        }
        Ok(Some(payload))
    }

    /// Makes the volume hold exactly `payload`. Running it again, also after it was interrupted anywhere, ends in the
    /// same state.
    ///
    /// # Errors
    /// When something cannot be written; readers then see what they saw before.
    pub fn replace(&self, payload: &Payload, now: Timestamp) -> io::Result<Replaced> {
        let unchanged = self.read().is_ok_and(|current| current.as_ref() == Some(payload));
        if !unchanged {
            let generation = self.write_generation(payload, now)?;
            self.point_data_at(&generation)?;
        }
        // Also when nothing changed: an interrupted run may have left these undone.
        self.link_folders(payload)?;
        self.remove_leftovers()?;
        Ok(if unchanged { Replaced::Unchanged } else { Replaced::Swapped })
    }

    /// Writes everything under a new name that nobody looks at yet.
    fn write_generation(&self, payload: &Payload, now: Timestamp) -> io::Result<String> {
        let name = self.free_name(now)?;
        let dir = self.root.join(&name);
        self.create_folder(&dir)?;
        let mut index = Index { folders: BTreeMap::new() };
        for (alias, folder) in &payload.folders {
            if !is_alias(alias) || !folder.items.keys().all(|item| is_item(item)) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a name that could leave its folder",
                ));
            }
            self.create_folder(&dir.join(alias))?;
            for (item, value) in &folder.items {
                self.create_file(&dir.join(alias).join(item), value.expose(), self.access.file_mode())?;
            }
            let entry = IndexEntry { connection: folder.connection.clone(), version: folder.version };
            index.folders.insert(alias.clone(), entry);
        }
        // Last: a generation with an index is complete.
        self.create_file(&dir.join(INDEX), &serde_json::to_vec(&index)?, 0o400)?;
        Ok(name)
    }

    fn free_name(&self, now: Timestamp) -> io::Result<String> {
        let now = now.to_zoned(TimeZone::UTC);
        let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
        let mut name = stamp.clone();
        let mut count = 0_u32;
        // A clock that was set back may meet its own traces.
        while fs::exists(self.root.join(&name))? {
            count += 1;
            name = format!("{stamp}.{count}");
        }
        Ok(name)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)?;
        self.hand_over(&fs::File::open(path)?, self.access.folder_mode())
    }

    fn create_file(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
        file.write_all(content)?;
        self.hand_over(&file, mode)
    }

    /// Gives to the group first and opens up second, whatever the umask is.
    fn hand_over(&self, file: &fs::File, mode: u32) -> io::Result<()> {
        if let Some(group) = self.access.group {
            fchown(file, None, Some(group))?;
        }
        file.set_permissions(Permissions::from_mode(mode))
    }

    /// The one step that readers notice.
    fn point_data_at(&self, generation: &str) -> io::Result<()> {
        let temporary = self.root.join(NEW_DATA);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        symlink(generation, &temporary)?;
        fs::rename(temporary, self.root.join(DATA))
    }

    /// One link per folder, and none to a folder that is gone.
    fn link_folders(&self, payload: &Payload) -> io::Result<()> {
        let mut there = BTreeSet::new();
        for entry in fs::read_dir(self.root)? {
            let name = entry?.file_name();
            if !is_ours(&name) {
                there.insert(name);
            }
        }
        for alias in payload.folders.keys() {
            if !there.remove(&OsString::from(alias)) {
                symlink(PathBuf::from(DATA).join(alias), self.root.join(alias))?;
            }
        }
        for gone in there {
            fs::remove_file(self.root.join(gone))?;
        }
        Ok(())
    }

    /// Old generations, and what an interrupted run left.
    fn remove_leftovers(&self) -> io::Result<()> {
        let current = fs::read_link(self.root.join(DATA))?;
        for entry in fs::read_dir(self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if !is_ours(&name) || name == DATA || Path::new(&name) == current {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// No alias begins with a dot.
fn is_ours(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(b"..")
}

fn read_items(folder: &Path) -> io::Result<BTreeMap<String, ItemValue>> {
    let mut items = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut file = fs::File::open(entry.path())?;
        // Room for everything at once: a vector that grows leaves copies of the value behind.
        let size = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut content = Vec::with_capacity(size);
        file.read_to_end(&mut content)?;
        items.insert(name, ItemValue::new(content));
    }
    Ok(items)
}
