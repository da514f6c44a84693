//! A backup tool writes back what it saved: the guards let the named user do it, and nobody gains anything by it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Result, ensure};
use coffer_crds::conditions::{READY, reason};
use coffer_crds::{Connection, Envelope, Keyring, Vault, VaultMember};
use e2e::install::{self, RESTORER};
use e2e::kubectl::Kubectl;
use e2e::namespace::Namespace;
use e2e::team::Team;
use e2e::wait;
use kube::api::ListParams;
use serde_json::{Map, Value, json};

/// In a backup tool's order, which is the alphabet's.
const KINDS: [&str; 5] = ["connections", "envelopes", "keyrings", "vaultmembers", "vaults"];

/// What Velero keeps of an object: its names, labels, annotations and spec.
fn saved(object: &Value) -> Value {
    let mut object = object.as_object().unwrap().clone();
    object.remove("status");
    let kept = ["name", "namespace", "labels", "annotations"];
    let metadata: Map<_, _> = object["metadata"].as_object().unwrap().clone().into_iter().collect();
    let metadata: Map<_, _> =
        metadata.into_iter().filter(|(field, _)| kept.contains(&field.as_str())).collect();
    object.insert("metadata".into(), metadata.into());
    object.into()
}

async fn backup(ns: &Namespace) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for kind in KINDS {
        let list: Value = serde_json::from_str(&ns.kubectl().run(["get", kind, "-o", "json"]).ok().await?)?;
        objects.extend(list["items"].as_array().unwrap().iter().map(saved));
    }
    Ok(objects)
}

/// A user with every right that RBAC can give in this namespace.
async fn almighty(ns: &Namespace, user: &str) -> Result<Kubectl> {
    let binding = format!("--user={user}");
    ns.kubectl().run(["create", "rolebinding", user, "--clusterrole=cluster-admin", &binding]).ok().await?;
    ns.member(user, &[]).await
}

async fn ciphertext(ns: &Namespace) -> Result<Value> {
    let keyrings = ns.api::<Keyring>().list(&ListParams::default()).await?;
    let envelopes = ns.api::<Envelope>().list(&ListParams::default()).await?;
    let keyrings: Vec<_> = keyrings.items.into_iter().map(|found| found.spec).collect();
    let envelopes: Vec<_> = envelopes.items.into_iter().map(|found| found.spec).collect();
    Ok(json!({"keyrings": keyrings, "envelopes": envelopes}))
}

#[tokio::test]
async fn a_named_restore_user_writes_back_what_was_saved_and_nobody_else_does() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "restored", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "value")]).await?;
        let (objects, before) = (backup(ns).await?, ciphertext(ns).await?);
        ensure!(objects.len() >= 5, "{} objects", objects.len());
        let uid = ns.api::<Vault>().get("team").await?.metadata.uid.unwrap();
        for kind in ["vault", "vaultmembers", "connections"] {
            ns.kubectl().run(["delete", kind, "--all"]).ok().await?;
        }
        wait::absent(&ns.api::<Keyring>(), "team", wait::SOON).await?;
        wait::absent(&ns.api::<Envelope>(), "github", wait::SOON).await?;

        let (restorer, mallory) = (almighty(ns, RESTORER).await?, almighty(ns, "mallory").await?);
        for object in &objects {
            let create = restorer.run(["create", "-f", "-"]).input(&object.to_string());
            if ["Keyring", "Envelope"].contains(&object["kind"].as_str().unwrap()) {
                let said = mallory.run(["create", "-f", "-"]).input(&object.to_string()).refused().await?;
                assert!(said.contains("only the Coffer operator changes Keyrings and Envelopes"), "{said}");
            }
            create.ok().await?;
        }

        // The new Vault is another object: it inherits nothing by itself, and nothing of the old one is overwritten.
        wait::object(&ns.api::<Vault>(), "team", "to be told", wait::SOON, |found: Option<&Vault>| {
            let conditions = found.and_then(|found| found.status.as_ref()).map(|status| &status.conditions);
            conditions.into_iter().flatten().any(|condition| {
                condition.type_ == READY
                    && condition.status == "False"
                    && condition.reason == reason::NOT_ADOPTED
            })
        })
        .await?;
        assert_eq!(ciphertext(ns).await?, before, "the operator wrote over what was restored");
        // Nobody vouches for what somebody else wrote.
        let connection = ns.api::<Connection>().get("github").await?;
        assert_eq!(connection.spec.last_writer.unwrap().username, RESTORER);
        let member = ns.api::<VaultMember>().get("web").await?;
        assert_eq!(member.spec.invited_by.unwrap().username, RESTORER);

        let annotation = format!("coffer.dev/restore={uid}");
        let said = mallory.run(["annotate", "vault", "team", &annotation]).refused().await?;
        assert!(said.contains("coffer.dev/restore is set by the chart's restoreUsers only"), "{said}");
        restorer.run(["annotate", "vault", "team", &annotation]).ok().await?;
        // The ServiceAccount was there all along, and is the one that was accepted.
        team.active("web").await?;
        let sealed = team.ready("github").await?;
        let envelope = ns.api::<Envelope>().get("github").await?.spec;
        assert_eq!(Some(envelope.connection.uid), sealed.metadata.uid, "it is this Connection's now");
        assert_eq!(envelope.version, 1, "the value is the same");
        // What he changes afterwards is judged as anybody's.
        let share =
            ["patch", "connection", "github", "--type", "merge", "-p", r#"{"spec":{"members":["*"]}}"#];
        let said = restorer.run(share).refused().await?;
        assert!(said.contains("denied the request"), "{said}");
        Ok(())
    })
    .await
}
