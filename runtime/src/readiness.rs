//! What must hold before a server may get traffic.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The named checks of one program; ready when none of them is unmet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// Without any check: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that is unmet (`starting`) until its handle says otherwise. The same name gives a handle on
    /// the same check.
    pub fn check(&self, name: impl Into<String>) -> Check {
        let name = name.into();
        self.locked().entry(name.clone()).or_insert_with(|| Some(String::from("starting")));
        Check { name, readiness: self.clone() }
    }

    /// Whether every check is met.
    pub fn is_ready(&self) -> bool {
        self.locked().values().all(Option::is_none)
    }

    /// One line per check, the way the API server's `/readyz?verbose` prints them.
    pub fn report(&self) -> String {
        self.locked()
            .iter()
            .map(|(name, unmet)| match unmet {
                None => format!("[+]{name} ok\n"),
                Some(reason) => format!("[-]{name} {reason}\n"),
            })
            .collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        // Every write is a single insert, so a panicking holder cannot leave the map half changed.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle with which one part of the program reports about itself.
#[derive(Clone, Debug)]
pub struct Check {
    name: String,
    readiness: Readiness,
}

impl Check {
    /// The check is met.
    pub fn ready(&self) {
        let before = self.readiness.locked().insert(self.name.clone(), None);
        if before.flatten().is_some() {
            tracing::info!(check = self.name, "ready");
        }
    }

    /// The check is not met; `reason` is shown by `/readyz`, so it holds no secret and no caller's input.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let before = self.readiness.locked().insert(self.name.clone(), Some(reason.clone()));
        if before.flatten().as_ref() != Some(&reason) {
            tracing::warn!(check = self.name, reason, "not ready");
        }
    }

    /// Whether this check is met.
    pub fn is_ready(&self) -> bool {
        self.readiness.locked().get(&self.name).is_none_or(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ready_when_its_last_check_is_met_and_says_which_is_not() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let (vaults, audit) = (readiness.check("vaults"), readiness.check("audit"));
        vaults.ready();
        assert!(!readiness.is_ready());
        audit.not_ready("disk full");
        assert_eq!(readiness.report(), "[-]audit disk full\n[+]vaults ok\n");
        audit.ready();
        assert!(readiness.is_ready());
        assert!(readiness.check("audit").is_ready(), "a second handle is on the same check");
    }
}
