//! One request at a time for one volume.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Targets = Mutex<HashSet<PathBuf>>;

/// The volumes that are being worked on.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Targets>);

/// The right to work on one volume, given back when dropped.
pub(super) struct Entered {
    targets: Arc<Targets>,
    target: PathBuf,
}

impl InFlight {
    /// `None` while somebody else works on it.
    pub(super) fn enter(&self, target: &Path) -> Option<Entered> {
        let entered = locked(&self.0).insert(target.to_path_buf());
        entered.then(|| Entered { targets: self.0.clone(), target: target.to_path_buf() })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        locked(&self.targets).remove(&self.target);
    }
}

fn locked(targets: &Targets) -> MutexGuard<'_, HashSet<PathBuf>> {
    targets.lock().unwrap_or_else(PoisonError::into_inner)
}
