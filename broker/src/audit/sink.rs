//! Where the log's lines become durable.

use super::{
    chain::Head,
    files::{self, Scan},
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A place for the log. Blocking: it is called from the log's own thread.
pub trait Sink: Send + 'static {
    /// Opens the log, or opens it again after a failure; repairs its end and says where the chain stands.
    ///
    /// # Errors
    /// The place is not available; try again later.
    fn open(&mut self) -> io::Result<Opened>;

    /// Appends whole lines, the first of which is record `first_seq`, and returns when they are durable.
    ///
    /// # Errors
    /// They may or may not be there. The next [`Sink::open`] removes what this call left.
    fn commit(&mut self, lines: &[u8], first_seq: u64) -> io::Result<Committed>;
}

/// What [`Sink::open`] found.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where the chain goes on.
    pub head: Head,
    /// What had to be repaired, one clause for people; `None` when nothing had to.
    pub repaired: Option<String>,
}

/// What [`Sink::commit`] did besides.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// How many of the oldest files were deleted.
    pub pruned: usize,
}

/// Files in one folder, each a part of the chain, rotated by size.
pub struct FileSink {
    dir: PathBuf,
    limits: FileLimits,
    lock: Option<File>,
    current: Option<Current>,
    /// How far the newest file was durable when a commit failed.
    durable: Option<(FileId, u64)>,
}

/// When files end and when they go.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// A file that would grow beyond this many bytes is closed and a new one begun.
    pub file_bytes: u64,
    /// How many files are kept, the newest always among them; the oldest are deleted. 0 = all.
    pub keep_files: usize,
}

struct Current {
    file: File,
    path: PathBuf,
    id: FileId,
    length: u64,
}

/// Device and inode: whether a path still leads to the file that was opened.
type FileId = (u64, u64);

impl FileSink {
    /// A log in `dir`, which is made when it is first opened.
    pub fn new(dir: PathBuf, limits: FileLimits) -> Self {
        Self { dir, limits, lock: None, current: None, durable: None }
    }

    /// Two writers would fork the chain: the second waits until the first is gone.
    fn take_lock(&mut self) -> io::Result<()> {
        let path = self.dir.join("lock");
        let held = self.lock.as_ref().is_some_and(|lock| same_file(lock, &path));
        if held {
            return Ok(());
        }
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another process writes this audit log",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Removes what a failed commit of this process left behind: those releases were refused.
    fn drop_undurable(&mut self, path: &Path) -> io::Result<u64> {
        let Some((id, durable)) = self.durable else { return Ok(0) };
        let file = OpenOptions::new().write(true).open(path)?;
        let metadata = file.metadata()?;
        let left = metadata.len().saturating_sub(durable);
        if id_of(&metadata) == id && left > 0 {
            file.set_len(durable)?;
            file.sync_all()?;
            return Ok(left);
        }
        Ok(0)
    }

    fn start_file(&self, first_seq: u64) -> io::Result<Current> {
        let current = Current::open(files::path_of(&self.dir, first_seq))?;
        // The file's name must outlive a power cut as its lines do.
        File::open(&self.dir)?.sync_all()?;
        Ok(current)
    }

    fn prune(&self) -> io::Result<usize> {
        if self.limits.keep_files == 0 {
            return Ok(0);
        }
        let all = files::list(&self.dir)?;
        let surplus = all.len().saturating_sub(self.limits.keep_files);
        for path in &all[..surplus] {
            std::fs::remove_file(path)?;
        }
        Ok(surplus)
    }

    fn append(&mut self, current: &mut Current, lines: &[u8], first_seq: u64) -> io::Result<Committed> {
        // A file that was unlinked under us takes writes without a word, and nobody would ever read them.
        if !same_file(&current.file, &current.path) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the audit file is gone from its folder"));
        }
        let mut committed = Committed::default();
        if current.length > 0 && current.length + lines.len() as u64 > self.limits.file_bytes {
            *current = self.start_file(first_seq)?;
            self.durable = Some((current.id, 0));
            committed.pruned = self.prune()?;
        }
        current.file.write_all(lines)?;
        current.file.sync_data()?;
        current.length += lines.len() as u64;
        self.durable = Some((current.id, current.length));
        Ok(committed)
    }
}

impl Sink for FileSink {
    fn open(&mut self) -> io::Result<Opened> {
        self.current = None;
        std::fs::create_dir_all(&self.dir)?;
        self.take_lock()?;
        let all = files::list(&self.dir)?;
        let Some((newest, older)) = all.split_last() else {
            self.current = Some(self.start_file(1)?);
            return Ok(Opened { head: Head::genesis(), repaired: None });
        };
        let refused = self.drop_undurable(newest)?;
        let start = start_of(newest, older)?;
        let scan = files::scan(newest, start)?;
        let opened = self.settle(newest, scan, refused)?;
        self.durable = self.current.as_ref().map(|current| (current.id, current.length));
        Ok(opened)
    }

    fn commit(&mut self, lines: &[u8], first_seq: u64) -> io::Result<Committed> {
        let mut current = self
            .current
            .take()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the log is not open"))?;
        let committed = self.append(&mut current, lines, first_seq)?;
        self.current = Some(current);
        Ok(committed)
    }
}

impl FileSink {
    /// Decides what becomes of the newest file and opens the one to write to.
    fn settle(&mut self, newest: &Path, scan: Scan, refused: u64) -> io::Result<Opened> {
        if let Some(beyond) = scan.beyond {
            let repaired = format!(
                "damaged in the middle, kept as it is: {} after byte {}",
                newest.file_name().unwrap_or_default().to_string_lossy(),
                scan.valid_bytes
            );
            // Whatever the damaged lines say of their numbers, the next file must sort after this one.
            let least = files::first_seq(newest).unwrap_or(0).saturating_add(1);
            let head = Head { next_seq: beyond.next_seq.max(least), ..beyond };
            self.current = Some(self.start_file(head.next_seq)?);
            return Ok(Opened { head, repaired: Some(repaired) });
        }
        let mut current = Current::open(newest.to_owned())?;
        let torn = scan.total_bytes - scan.valid_bytes;
        if torn > 0 {
            current.file.set_len(scan.valid_bytes)?;
            current.file.sync_all()?;
            current.length = scan.valid_bytes;
        }
        self.current = Some(current);
        let repaired = match (torn, refused) {
            (0, 0) => None,
            (0, refused) => Some(format!("removed {refused} bytes of a write that failed and was refused")),
            (torn, _) => Some(format!("removed {torn} bytes of a torn last line")),
        };
        Ok(Opened { head: scan.head, repaired })
    }
}

/// Where the chain stands before the newest file: after the file before it, at the beginning, or, when older
/// files were deleted, where the file itself says.
fn start_of(newest: &Path, older: &[PathBuf]) -> io::Result<Option<Head>> {
    match older.last() {
        Some(previous) => Ok(files::last_line(previous)?.as_deref().and_then(Head::after)),
        None if files::first_seq(newest) == Some(1) => Ok(Some(Head::genesis())),
        None => Ok(None),
    }
}

impl Current {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, path, id: id_of(&metadata), length: metadata.len() })
    }
}

fn id_of(metadata: &std::fs::Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => id_of(&open) == id_of(&there),
        (Err(_), _) | (_, Err(_)) => false,
    }
}
