//! C16: what is saved comes back, and what a member's own key opens survives the custodian root.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use e2e::guide;
use e2e::install::{self, RESTORER};
use e2e::namespace::Namespace;
use std::path::Path;

/// Where the guide hands a file from one person to another.
const HANDED_OVER: &str = "/tmp/coffer-kept.yaml";

/// The runbook, as it is written.
#[tokio::test]
async fn the_guide_to_backup_and_restore_works_as_it_is_written() -> Result<()> {
    let cluster = install::installed().await?;
    let forget = || match std::fs::remove_file(Path::new(HANDED_OVER)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(HANDED_OVER),
        Ok(()) | Err(_) => Ok(()),
    };
    // Alone: it takes all of Coffer away and brings it back. The guide makes its own namespaces.
    Namespace::lend_alone(&cluster, "backup", &[], async |_| {
        forget()?;
        let folder = tempfile::tempdir()?;
        let values = folder.path().join("values.json");
        std::fs::write(&values, install::values(&cluster).await?)?;
        let people = [("alice", &[][..]), ("bob", &[][..]), (RESTORER, &[][..])];
        let told = guide::follow(&cluster, "docs/guides/backup.md", &people, &["coffer-kept"]).await;
        forget()?;
        // As it was for the other tests, wherever the guide ended.
        let chart = cluster.layout().checkout().join("charts/coffer");
        let again = install::release(&cluster, &chart, &values, &[]).await.context("install again");
        let told = told?;
        again?;
        for said in [
            "are left as they are (dry run)",
            "Vault 'team' in namespace 'coffer-kept' is ready: 2 of 3 members are in force.",
            "is to be accepted again: kubectl coffer -n coffer-kept accept sa:coffer-kept/builder --vault team",
            "this key opens 2 of 2 credentials",
            "Vault 'team' is made anew: credentials 2, all of them owned by 'alice'.",
        ] {
            ensure!(told.contains(said), "'{said}' is not in: {told}");
        }
        Ok(())
    })
    .await
}
