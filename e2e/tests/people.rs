//! Who runs a namespace, with no more than Kubernetes' own role `edit`, runs vaults in it; and none of others.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::Result;
use coffer_crds::{Connection, VaultMember};
use e2e::install;
use e2e::kubectl::Kubectl;
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use kube::api::ListParams;
use serde_json::{Value, json};

/// A user with the cluster's own role `edit` in this namespace, and nothing else.
async fn editor(ns: &Namespace) -> Result<Kubectl> {
    ns.kubectl().run(["create", "rolebinding", "erin", "--clusterrole=edit", "--user=erin"]).ok().await?;
    ns.kubectl_as("erin", &[])
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn invite(name: &str, vault: &str) -> Value {
    object(
        "VaultMember",
        name,
        json!({"vault": vault, "role": "member", "subject": {"serviceAccount": {"name": name}}}),
    )
}

fn connection(name: &str, vault: &str) -> Value {
    object(
        "Connection",
        name,
        json!({"vault": {"name": vault}, "members": ["*"], "stringData": {"token": "of-erin"}}),
    )
}

/// C40: whoever runs a namespace needs nobody's help to have a vault.
#[tokio::test]
async fn an_editor_of_a_namespace_makes_a_vault_members_connections_and_pods_that_use_them() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "editor", &[INJECTED], async |ns| {
        let erin = editor(ns).await?;
        ns.service_account("web").await?;
        let folder =
            [object("Vault", "hers", json!({})), invite("web", "hers"), connection("github", "hers")];
        let folder: Vec<_> = folder.iter().map(Value::to_string).collect();
        erin.apply(&folder.join("\n---\n")).await?;
        wait::object(
            &ns.api::<Connection>(),
            "github",
            "connection ready",
            wait::SOON,
            |found: Option<&Connection>| {
                found.and_then(|found| found.status.as_ref()).is_some_and(|status| {
                    status
                        .conditions
                        .iter()
                        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
                })
            },
        )
        .await?;
        erin.apply(&shell_pod("web", asking("web", "github")).to_string()).await?;
        wait::pod_ready(&ns.api(), "web", wait::SOON).await?;
        assert_eq!(erin.exec("web", &["cat", "/coffer/github/token"]).await?, "of-erin");

        // She sees what she has, takes in another, and puts one out.
        let seen = erin.run(["get", "vaults,vaultmembers,connections", "-o", "name"]).ok().await?;
        assert!(seen.contains("connection.coffer.dev/github"), "{seen}");
        ns.service_account("cron").await?;
        erin.apply(&invite("cron", "hers").to_string()).await?;
        erin.run(["delete", "vaultmember", "web", "--wait=false"]).ok().await?;
        wait::absent(&ns.api::<VaultMember>(), "web", wait::SOON).await
    })
    .await
}

/// RBAC lets an editor send the requests; the webhook refuses what is another vault's, RBAC what is another's namespace.
#[tokio::test]
async fn an_editor_changes_nothing_of_a_vault_that_is_not_hers_and_reads_no_keys() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "bounded", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("theirs", &["web"], &[("token", "before")]).await?;
        let objects = async || -> Result<Value> {
            let list =
                ns.kubectl().run(["get", "vaults,vaultmembers,connections", "-o", "json"]).ok().await?;
            let list: Value = serde_json::from_str(&list)?;
            let specs = list["items"].as_array().unwrap().iter();
            Ok(specs.map(|found| json!([found["metadata"]["uid"], found["spec"]])).collect())
        };
        let before = objects().await?;
        let erin = editor(ns).await?;

        // In RBAC's eyes all of this is an editor's right.
        for (kind, name, patch) in [
            ("vault", "team", r#"{"spec":{"owners":[{"user":{"name":"erin"}}]}}"#),
            ("vault", "team", r#"{"spec":{"sharing":"Owner"}}"#),
            ("vaultmember", "web", r#"{"spec":{"role":"owner"}}"#),
            ("vaultmember", "web", r#"{"spec":{"suspended":true}}"#),
            ("connection", "theirs", r#"{"spec":{"members":["*"]}}"#),
            ("connection", "theirs", r#"{"spec":{"owner":"web"}}"#),
            ("connection", "theirs", r#"{"spec":{"stringData":{"token":"after"}}}"#),
        ] {
            let said =
                erin.run(["patch", kind, name, "--type", "merge", "-p", patch]).refused().await.unwrap();
            assert!(said.contains("denied the request"), "{kind} {patch}: {said}");
            assert!(!said.contains("after"), "{said}");
        }
        ns.service_account("hers").await?;
        for made in [invite("hers", "team"), connection("hers", "team")] {
            let said = erin.apply_refused(&made.to_string()).await?;
            assert!(said.contains("denied the request"), "{made}: {said}");
        }
        for (kind, name) in [("vault", "team"), ("vaultmember", "web"), ("connection", "theirs")] {
            let said = erin.run(["delete", kind, name, "--wait=false"]).refused().await?;
            assert!(said.contains("denied the request"), "{kind}: {said}");
        }
        assert_eq!(objects().await?, before);

        // And none of this is.
        for (verb, resource) in [
            ("get", "keyrings.coffer.dev"),
            ("list", "envelopes.coffer.dev"),
            ("create", "envelopes.coffer.dev"),
            ("list", "releases.coffer.dev"),
            ("watch", "auditqueries.coffer.dev"),
            ("update", "releases.coffer.dev/status"),
            ("patch", "vaults.coffer.dev/status"),
            ("patch", "vaultmembers.coffer.dev/status"),
            ("deletecollection", "connections.coffer.dev"),
        ] {
            let (kind, part) = resource.split_once('/').unwrap_or((resource, ""));
            let part = format!("--subresource={part}");
            let said = erin.run(["auth", "can-i", verb, kind, &part]).said().await?;
            assert_eq!(said.out.trim(), "no", "{verb} {resource}");
        }
        let elsewhere = erin.namespaced("default");
        let said = elsewhere.apply_refused(&object("Vault", "hers", json!({})).to_string()).await?;
        assert!(said.contains("forbidden"), "{said}");
        let listed = ns.api::<Connection>().list(&ListParams::default()).await?;
        assert_eq!(listed.items.len(), 1);
        Ok(())
    })
    .await
}
