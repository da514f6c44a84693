//! Deleting: who may, and that nothing of Coffer's ever holds it up.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use coffer_crds::{Connection, VaultMember};
use e2e::cluster::Cluster;
use e2e::fault;
use e2e::install;
use e2e::namespace::Namespace;
use e2e::people;
use e2e::team::Team;
use e2e::wait;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use std::time::Duration;

/// What a namespace with vaults may take to go.
const DELETION: Duration = Duration::from_secs(10);

/// A vault with a member and a Connection, alice its only owner.
async fn vault(ns: &Namespace) -> Result<Team<'_>> {
    let team = Team::with_spec(ns, "team", json!({"owners": [{"user": {"name": "alice"}}]})).await?;
    team.active("alice").await?;
    let alice = ns.member("alice", &[]).await?;
    alice.apply(&team.manifest("github", &["*"], &[("token", "of-alice")]).to_string()).await?;
    team.ready("github").await?;
    // The only kinds whose deletion a policy guards.
    let requester = json!({"username": "alice", "groups": ["system:authenticated"]});
    for (kind, spec) in [
        ("Release", json!({"connections": [{"name": "github"}], "requester": requester})),
        ("AuditQuery", json!({"requester": requester})),
    ] {
        let mut request = json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": {"name": "asked"}, "spec": spec,
        });
        request["spec"]["vault"] = json!("team");
        request["spec"]["publicKey"] = json!(people::any_key());
        alice.run(["create", "-f", "-"]).input(&request.to_string()).ok().await?;
    }
    Ok(team)
}

async fn delete_namespace(cluster: &Cluster, ns: &Namespace) -> Result<()> {
    let namespaces: Api<core::Namespace> = Api::all(cluster.client().await?);
    namespaces.delete(ns.name(), &DeleteParams::default()).await?;
    wait::absent(&namespaces, ns.name(), DELETION).await?;
    // The harness deletes it once more.
    let again: core::Namespace = serde_json::from_value(json!({"metadata": {"name": ns.name()}}))?;
    namespaces.create(&PostParams::default(), &again).await.map(drop).context("make the namespace again")
}

/// A terminating namespace waits for nobody.
#[tokio::test]
async fn a_namespace_with_a_vault_is_gone_in_ten_seconds() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "going", &[], async |ns| {
        vault(ns).await?;
        delete_namespace(&cluster, ns).await
    })
    .await
}

/// Neither for the operator, nor for the webhook.
#[tokio::test]
async fn a_namespace_with_a_vault_is_gone_in_ten_seconds_with_the_operator_and_the_webhook_down() -> Result<()>
{
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "going-alone", &[], async |ns| {
        vault(ns).await?;
        let down = async {
            fault::scale(&cluster, "operator", 0).await?;
            fault::scale(&cluster, "webhook", 0).await?;
            delete_namespace(&cluster, ns).await
        }
        .await;
        fault::scale(&cluster, "operator", 2).await?;
        fault::scale(&cluster, "webhook", 2).await?;
        down
    })
    .await
}

/// §5: who owns it deletes it; the garbage collector and a terminating namespace ask nobody.
#[tokio::test]
async fn another_members_connection_and_the_last_owner_are_not_deleted_by_others() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "deleting", &[], async |ns| {
        let owners = json!({"owners": [{"user": {"name": "alice"}}]});
        let team = Team::with_spec(ns, "team", owners).await?;
        let alice = ns.member("alice", &[]).await?;
        let bob = json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember", "metadata": {"name": "bob"},
            "spec": {"vault": "team", "role": "member", "subject": {"user": {"name": "bob"}}},
        });
        alice.apply(&bob.to_string()).await?;
        let accept = json!({"spec": {"acceptance": {}}}).to_string();
        let accept =
            ["patch", "vaultmember", "bob", "--type", "merge", "-p", &accept, "--as=bob", "--as-group=devs"];
        let bind = ["create", "rolebinding", "bob", "--clusterrole=edit", "--user=bob"];
        ns.kubectl().run(bind).ok().await?;
        wait::until("bob's right to count", wait::SOON, async || {
            Ok(ns.kubectl().run(accept).said().await?.ok.then_some(()))
        })
        .await?;
        team.active("bob").await?;
        let bob = ns.member("bob", &[]).await?;
        alice.apply(&team.manifest("github", &["*"], &[("token", "of-alice")]).to_string()).await?;
        team.ready("github").await?;

        let said = bob.run(["delete", "connection", "github"]).refused().await?;
        assert!(said.contains("alice") || said.contains("owner"), "{said}");
        let said = bob.run(["delete", "vaultmember", "alice"]).refused().await?;
        assert!(!said.contains("of-alice"), "{said}");
        let said = alice.run(["delete", "vaultmember", "alice"]).refused().await?;
        assert!(said.contains("last owner"), "{said}");
        ensure!(ns.api::<Connection>().get_opt("github").await?.is_some());
        ensure!(ns.api::<VaultMember>().get_opt("alice").await?.is_some());

        // The garbage collector takes what was made as something else's, and asks nobody.
        ns.kubectl().run(["create", "configmap", "parent"]).ok().await?;
        let parent = ns.api::<core::ConfigMap>().get("parent").await?;
        let references = json!([
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": parent.metadata.uid},
        ]);
        let mut owned = team.manifest("owned", &["*"], &[("token", "of-alice")]);
        owned["metadata"]["ownerReferences"] = references.clone();
        alice.apply(&owned.to_string()).await?;
        team.ready("owned").await?;
        // Made to belong to something afterwards, it would be deleted past everybody who decides: not even an
        // administrator does that by an update, to whichever kind.
        let reference = json!({"metadata": {"ownerReferences": references}}).to_string();
        for (kind, name) in
            [("connection", "github"), ("vault", "team"), ("vaultmember", "bob"), ("keyring", "team")]
        {
            let patch = ["patch", kind, name, "--type", "merge", "-p", &reference];
            let said = ns.kubectl().run(patch).refused().await?;
            ensure!(said.contains("metadata.ownerReferences"), "{kind}: {said}");
        }
        ns.kubectl().run(["delete", "configmap", "parent"]).ok().await?;
        wait::absent(&ns.api::<Connection>(), "owned", wait::SOON).await?;
        ensure!(ns.api::<Connection>().get_opt("github").await?.is_some());
        Ok(())
    })
    .await
}
