//! Locks between programs: one brings the cluster up, the others wait for it; a test that breaks something of
//! the whole cluster has it alone.

use crate::layout::create_folder;
use crate::progress::note;
use crate::wait;
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

/// Held until dropped; the kernel frees it when its holder dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Wait for the lock, telling once what is waited for.
    ///
    /// # Errors
    /// If the file cannot be opened, or the holder keeps it for more than 40 minutes.
    pub async fn acquire(path: &Path, holder: &str) -> Result<Self> {
        Self::take(path, holder, FlockOperation::NonBlockingLockExclusive).await
    }

    /// Wait for the lock, which others may hold in the same way.
    ///
    /// # Errors
    /// As for [`Lock::acquire`].
    pub async fn share(path: &Path, holder: &str) -> Result<Self> {
        Self::take(path, holder, FlockOperation::NonBlockingLockShared).await
    }

    async fn take(path: &Path, holder: &str, operation: FlockOperation) -> Result<Self> {
        create_folder(path.parent().unwrap_or(Path::new("/")))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        let mut told = false;
        wait::until(holder, Duration::from_secs(40 * 60), async || match flock(&file, operation) {
            Ok(()) => Ok(Some(())),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                if !told {
                    note(format!("waiting for {holder}"));
                    told = true;
                }
                Ok(None)
            }
            Err(error) => Err(error).context("lock"),
        })
        .await?;
        Ok(Self { _file: file })
    }
}
