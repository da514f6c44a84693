//! One vault for everybody, each credential its owner's until shared.

use anyhow::{Result, ensure};
use e2e::guide;
use e2e::install;
use e2e::namespace::Namespace;

const GUIDE: &str = "docs/guides/default-vault.md";

/// C2, C12, C14, C40: the guide, as it is written.
#[tokio::test]
async fn the_guide_to_the_default_vault_works_as_it_is_written() -> Result<()> {
    let cluster = install::installed().await?;
    // Alone: meanwhile whatever names no vault goes to this one.
    Namespace::lend_alone(&cluster, "default-vault", &[], async |_| {
        let people = [("alice", &[][..]), ("bob", &[]), ("carol", &[])];
        let own = ["coffer-vaults", "coffer-alice", "coffer-bob", "coffer-bot"];
        let told = guide::follow(&cluster, GUIDE, &people, &own).await;
        if told.is_err() {
            // The guide's own last step, which it did not come to.
            let chart = cluster.layout().checkout().join("charts/coffer");
            install::helm(&cluster, &["upgrade", install::RELEASE, "--namespace", install::NAMESPACE])
                .arg(&chart)
                .args(["--reset-then-reuse-values", "--set", "defaultVault.enabled=false", "--wait"])
                .run()
                .await?;
        }
        let told = told?;
        for expected in [
            "true Owner All",
            "coffer-vaults/default, owner bob",
            "Connection 'npm' in vault 'default' is made",
            "coffer-vaults/default, owner alice",
            "    name: default\n    namespace: coffer-vaults\n",
            "spec.connectionName: Connection 'coffer-bob/github' of the same owner is 'github/default' already",
            "\n17\n",
            "Credential 'coffer-alice/github' not found",
            "Credential 'coffer-alice/nothing' not found",
            "connections.coffer.dev is forbidden: User \"bob\" cannot list",
            "Credential 'coffer-bob/github-work' not found",
            "gains: bob, bot",
            "17\n25\n",
            "Credential 'github' is ambiguous. Name one of: coffer-alice/github (owner alice), coffer-bob/github (owner bob)",
            "17 /coffer/github/token",
            "Vault 'coffer-vaults/default' is the cluster's default already",
        ] {
            ensure!(told.contains(expected), "'{expected}' is not in: {told}");
        }
        ensure!(!told.contains("ghp_"), "a value was shown: {told}");
        Ok(())
    })
    .await
}
