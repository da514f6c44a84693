//! Writing credentials: plaintext on its way in, and what is stored of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Result, ensure};
use coffer_crds::Connection;
use coffer_crds::conditions::{READY, reason};
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::{etcd, wait};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

/// The Connection's values are at this version, and ready.
async fn at_version(team: &Team<'_>, version: i64) -> Result<()> {
    wait::until(&format!("version {version}"), wait::SOON, async || {
        Ok((team.version("github").await? == version).then_some(()))
    })
    .await
}

/// T35.
#[tokio::test]
async fn plaintext_by_create_apply_server_side_apply_patch_and_replace_is_never_in_etcd() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "plaintext", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        let kubectl = ns.kubectl();
        let value = |way: &str| format!("plain-{way}-{}", ns.name());
        let manifest = |way: &str| team.manifest("github", &["web"], &[("token", &value(way))]).to_string();

        kubectl.run(["create", "--save-config", "-f", "-"]).input(&manifest("create")).ok().await?;
        at_version(&team, 1).await?;
        kubectl.apply(&manifest("apply")).await?;
        at_version(&team, 2).await?;
        let server_side = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        kubectl.run(server_side).input(&manifest("server-side")).ok().await?;
        at_version(&team, 3).await?;
        let merge = json!({"spec": {"stringData": {"token": value("merge")}}}).to_string();
        kubectl.run(["patch", "connection", "github", "--type", "merge", "-p", &merge]).ok().await?;
        at_version(&team, 4).await?;
        let json_patch =
            json!([{"op": "add", "path": "/spec/stringData", "value": {"token": value("json")}}]).to_string();
        kubectl.run(["patch", "connection", "github", "--type", "json", "-p", &json_patch]).ok().await?;
        at_version(&team, 5).await?;
        kubectl.run(["replace", "-f", "-"]).input(&manifest("replace")).ok().await?;
        at_version(&team, 6).await?;
        kubectl.run(["apply", "--dry-run=server", "-f", "-"]).input(&manifest("dry-run")).ok().await?;

        ns.shell("web", asking("web", "github")).await?;
        assert_eq!(kubectl.exec("web", &["cat", "/coffer/github/token"]).await?, value("replace"));
        for way in ["create", "apply", "server-side", "merge", "json", "replace", "dry-run"] {
            let search = cluster.etcd().search(value(way).as_bytes()).await?;
            ensure!(search.found.is_empty(), "written by {way}, found in {:?}", search.found);
        }
        Ok(())
    })
    .await
}

/// §5: the operator compares after opening.
#[tokio::test]
async fn applying_the_same_plaintext_again_makes_no_new_version() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "again", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "same")]).await?;
        team.connection("github", &["web"], &[("token", "same")]).await?;
        assert_eq!(team.version("github").await?, 1);
        // The same writer no longer lists the item: it goes.
        let connection = team.connection("github", &["web"], &[("other", "new")]).await?;
        let items = wait::until("the items to change", wait::SOON, async || {
            let items = team.ready("github").await?.status.unwrap_or_default().items;
            Ok((items == ["other"]).then_some(items))
        })
        .await;
        assert!(items.is_ok(), "{:?}", connection.status);
        Ok(())
    })
    .await
}

/// T13.
#[tokio::test]
async fn etcd_holds_no_value_no_token_and_no_root_key_but_the_one_root_secret() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "stored", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        let value = format!("stored-nowhere-{}", ns.name());
        team.connection("github", &["web"], &[("token", &value)]).await?;
        let pod = ns.shell("web", asking("web", "github")).await?;
        let token = e2e::broker::pod_token(&ns.api(), &pod).await?;

        let root = Api::<Secret>::namespaced(cluster.client().await?, NAMESPACE).get("coffer-root").await?;
        let stored = cluster.etcd().dump().await?;
        for (name, key) in root.data.unwrap() {
            let forms = etcd::forms(&key.0);
            let places: Vec<_> = stored
                .iter()
                .filter(|pair| etcd::holds(&pair.value, &forms))
                .map(|pair| pair.key.as_str())
                .collect();
            assert_eq!(places, [format!("/registry/secrets/{NAMESPACE}/coffer-root")], "root key '{name}'");
        }
        for needle in [value.as_bytes(), token.as_bytes()] {
            let search = cluster.etcd().search(needle).await?;
            assert!(search.found.is_empty(), "{:?}", search.found);
        }
        Ok(())
    })
    .await
}

/// T31.
#[tokio::test]
async fn a_scope_of_everybody_and_somebody_is_refused_with_the_accepted_form() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "members", &[], async |ns| {
        let team = Team::make(ns).await?;
        let manifest = team.manifest("github", &["*", "web"], &[("token", "value-never-told")]);
        let said = ns.kubectl().apply_refused(&manifest.to_string()).await?;
        assert!(said.contains("'*'") || said.contains("\"*\""), "{said}");
        assert!(!said.contains("value-never-told"), "{said}");
        Ok(())
    })
    .await
}

/// T2: what is sealed for one name or owner is worth nothing under another.
#[tokio::test]
async fn sealed_bytes_copied_to_another_name_do_not_open() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "copied", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        let original = team.connection("original", &["web"], &[("token", "value")]).await?;
        let copy = sealed_manifest(&team, "copy", &original)?;
        ns.kubectl().apply(&copy.to_string()).await?;
        unreadable(ns, "copy").await
    })
    .await
}

/// T2. The same bytes under the same name, once by another owner and once by the first: the owner alone differs.
#[tokio::test]
async fn sealed_bytes_copied_to_another_owner_do_not_open() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "copied-owner", &[], async |ns| {
        let owners = json!({"owners": [{"user": {"name": "alice"}}, {"user": {"name": "bob"}}]});
        let team = Team::with_spec(ns, "team", owners).await?;
        let (alice, bob) = (ns.member("alice", &[]).await?, ns.member("bob", &[]).await?);

        alice.apply(&team.manifest("github", &[], &[("token", "of-alice")]).to_string()).await?;
        let original = team.ready("github").await?;
        let copy = sealed_manifest(&team, "github", &original)?.to_string();
        alice.run(["delete", "connection", "github"]).ok().await?;

        bob.apply(&copy).await?;
        let taken = ns.api::<Connection>().get("github").await?;
        assert_ne!(taken.spec.owner, original.spec.owner);
        unreadable(ns, "github").await?;
        bob.run(["delete", "connection", "github"]).ok().await?;

        alice.apply(&copy).await?;
        let again = team.ready("github").await?;
        assert_eq!(again.spec.sealed_data, original.spec.sealed_data);
        Ok(())
    })
    .await
}

/// A Connection of this name with the sealed bytes of another object.
fn sealed_manifest(team: &Team<'_>, name: &str, original: &Connection) -> Result<Value> {
    let mut copy = team.manifest(name, &[], &[]);
    let spec = copy["spec"].as_object_mut().unwrap();
    spec.remove("stringData");
    spec.insert("sealedData".to_owned(), serde_json::to_value(&original.spec.sealed_data)?);
    Ok(copy)
}

/// Wait until the Connection is said not to open, and see that it has no version.
async fn unreadable(ns: &Namespace, name: &str) -> Result<()> {
    let judged = |found: Option<&Connection>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|status| {
            status.conditions.iter().any(|condition| {
                condition.type_ == READY
                    && condition.status == "False"
                    && condition.reason == reason::SEALED_DATA_UNREADABLE
            })
        })
    };
    let settled = wait::object(&ns.api::<Connection>(), name, "not to open", wait::SOON, judged).await?;
    let status = settled.status.unwrap_or_default();
    assert_eq!(status.version, None, "{status:?}");
    Ok(())
}
