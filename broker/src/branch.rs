//! The brokered branch: the broker's only keys, from files that the kubelet mounts.

use coffer_envelope::{
    Branches,
    custody::{CustodyError, RootOfTrust, open_branch},
};
use coffer_runtime::{Check, Shutdown};
use sha2::{Digest as _, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// How often the files are read again. They are compared by content: the kubelet swaps a link.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Where the kubelet mounts what the broker may hold.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// Folder with the item `brokered` of Secret `coffer-root`.
    pub root_dir: PathBuf,
    /// Folder with the data of Secret `coffer-brokered`.
    pub branch_dir: PathBuf,
}

/// Why the files give no keys.
#[derive(thiserror::Error, Debug)]
enum LoadError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("open the brokered branch")]
    Open(#[from] CustodyError),
}

/// The keys as they are now; `None` until they have been there once. Cheap to clone.
#[derive(Clone)]
pub struct Keys(watch::Receiver<Option<Branches>>);

impl Keys {
    /// Keys that never change: for tests and tools.
    pub fn fixed(branches: Option<Branches>) -> Self {
        Self(watch::channel(branches).1)
    }

    /// Waits for the files in the background and follows them. `check` is met once there are keys.
    pub fn follow(files: KeyFiles, check: Check, shutdown: &Shutdown) -> Self {
        let (sender, receiver) = watch::channel(None);
        let end = shutdown.requested();
        tokio::spawn(async move {
            tokio::select! {
                () = end => {}
                () = keep_fresh(&files, &sender, &check) => {}
            }
        });
        Self(receiver)
    }

    /// The keys, if there are any.
    pub fn current(&self) -> Option<Branches> {
        self.0.borrow().clone()
    }
}

async fn keep_fresh(files: &KeyFiles, sender: &watch::Sender<Option<Branches>>, check: &Check) {
    let (mut seen, mut told) = (None, None);
    loop {
        match load(files, seen) {
            Ok(None) => told = None,
            Ok(Some((digest, branches))) => {
                tracing::info!(generation = branches.newest(), "brokered branch loaded");
                (seen, told) = (Some(digest), None);
                sender.send_replace(Some(branches));
                check.ready();
            }
            Err(error) => {
                // Keys that are loaded go on opening what is wrapped under them; only a start without any waits.
                let text = format!(
                    "{error}: {}",
                    std::error::Error::source(&error).map_or_else(String::new, ToString::to_string)
                );
                if seen.is_none() {
                    check.not_ready("the brokered branch is not mounted or does not open");
                }
                if told.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "brokered branch not loaded");
                    told = Some(text);
                }
            }
        }
        tokio::time::sleep(RELOAD_EVERY).await;
    }
}

type FilesDigest = [u8; 32];

/// The keys in the files; `None` when the files are those of `seen`.
fn load(files: &KeyFiles, seen: Option<FilesDigest>) -> Result<Option<(FilesDigest, Branches)>, LoadError> {
    let root = read_dir(&files.root_dir)?;
    let branch = read_dir(&files.branch_dir)?;
    let mut hash = Sha256::new();
    for (name, bytes) in root.iter().chain(&branch) {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes.as_slice());
    }
    let digest = hash.finalize().into();
    if seen == Some(digest) {
        return Ok(None);
    }
    let root = RootOfTrust::from_local_secret(as_data(&root))?;
    Ok(Some((digest, open_branch(&root, as_data(&branch))?)))
}

/// The files of a mounted Secret by name.
type Files = Vec<(String, Zeroizing<Vec<u8>>)>;

fn as_data(files: &Files) -> impl Iterator<Item = (&str, &[u8])> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
}

/// The files of a mounted Secret, sorted; without the kubelet's own, which begin with a dot.
fn read_dir(dir: &Path) -> Result<Files, LoadError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            let path = entry.path();
            files.push((name, Zeroizing::new(std::fs::read(&path).map_err(at(&path))?)));
        }
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

    use super::*;
    use coffer_envelope::{Custodian, custody::seal_secrets};
    use coffer_runtime::Readiness;
    use getrandom::{SysRng, rand_core::UnwrapErr};

    /// Writes a new installation's files as the kubelet mounts them: the broker's two Secrets and nothing else.
    fn mount(files: &KeyFiles) {
        let rng = &mut UnwrapErr(SysRng);
        let root = RootOfTrust::generate_local(rng);
        let sealed = seal_secrets(&Custodian::generate(rng), &root, rng).unwrap();
        std::fs::create_dir_all(&files.root_dir).unwrap();
        std::fs::create_dir_all(files.branch_dir.join("..2026")).unwrap();
        std::fs::write(files.root_dir.join("brokered"), root.local_secret()["brokered"].expose()).unwrap();
        for (name, bytes) in sealed.brokered {
            std::fs::write(files.branch_dir.join(name), bytes).unwrap();
        }
    }

    fn files(dir: &tempfile::TempDir) -> KeyFiles {
        KeyFiles { root_dir: dir.path().join("root"), branch_dir: dir.path().join("branch") }
    }

    #[tokio::test(start_paused = true)]
    async fn the_broker_waits_for_its_keys_and_is_ready_when_they_are_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let (files, readiness, shutdown) = (files(&dir), Readiness::new(), Shutdown::new());
        let mut keys = Keys::follow(files.clone(), readiness.check("keys"), &shutdown);
        tokio::time::advance(RELOAD_EVERY * 3).await;
        assert!(keys.current().is_none() && !readiness.is_ready());
        mount(&files);
        keys.0.changed().await.unwrap();
        assert_eq!(keys.current().map(|branches| branches.newest()), Some(1));
        tokio::time::advance(RELOAD_EVERY).await;
        assert!(readiness.is_ready());
    }

    #[test]
    fn files_are_read_again_only_when_their_content_changes_and_must_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(&dir);
        assert!(matches!(load(&files, None), Err(LoadError::Read { .. })));
        mount(&files);
        let (digest, _) = load(&files, None).unwrap().unwrap();
        assert!(load(&files, Some(digest)).unwrap().is_none());
        let root = std::fs::read(files.root_dir.join("brokered")).unwrap();
        mount(&files);
        assert!(load(&files, Some(digest)).unwrap().is_some());
        std::fs::write(files.root_dir.join("brokered"), root).unwrap();
        assert!(matches!(load(&files, Some(digest)), Err(LoadError::Open(_))));
    }
}
