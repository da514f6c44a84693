//! Plaintext on its way in, whatever has become of the webhook: stored nowhere, and told in no error (T35).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use coffer_crds::Connection;
use e2e::fault;
use e2e::install;
use e2e::kept::Kept;
use e2e::namespace::Namespace;
use e2e::team::Team;
use e2e::wait;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is written: a text, something nested, a number.
fn shapes(mark: &str, number: u64) -> [Value; 3] {
    [json!(mark), json!({"deep": [mark]}), json!(number)]
}

/// How every text begins, and every number.
struct Marks {
    text: String,
    number: u64,
}

/// One state of the webhook: every way to write, each with every shape, with and without dry-run.
async fn write_all(ns: &Namespace, state: &str, marks: &Marks) -> Result<()> {
    let resource = ApiResource::erase::<Connection>(&());
    let api = Api::<DynamicObject>::namespaced_with(ns.client(), ns.name(), &resource);
    for way in ["create", "apply", "server-side", "merge", "json", "replace"] {
        for dry_run in [true, false] {
            let mark = format!("{}-{state}-{way}-{dry_run}", marks.text);
            for value in shapes(&mark, marks.number * 1000 + 1) {
                let written = write(&api, way, dry_run, &value).await;
                let text = value.is_string();
                if let Err(error) = &written {
                    let told = format!("{error:?}");
                    ensure!(
                        !told.contains(&mark) && !told.contains(&marks.number.to_string()),
                        "{way}: {told}"
                    );
                }
                ensure!(written.is_ok() == (text && state == "up"), "{state}, {way}, {value}: {written:?}");
            }
        }
    }
    Ok(())
}

async fn write(
    api: &Api<DynamicObject>,
    way: &str,
    dry_run: bool,
    value: &Value,
) -> kube::Result<DynamicObject> {
    let spec = json!({"vault": {"name": "team"}, "members": ["*"], "stringData": {"token": value}});
    let made = |name: &str| {
        let mut object = json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name}, "spec": spec,
        });
        if way == "apply" {
            object["metadata"]["annotations"] = json!({LAST_APPLIED: object.to_string()});
        }
        object
    };
    let typed = |object: Value| serde_json::from_value::<DynamicObject>(object).unwrap();
    let post = PostParams { dry_run, ..PostParams::default() };
    let patching = PatchParams { dry_run, ..PatchParams::default() };
    match way {
        "create" => {
            let name = format!("made-{}", if dry_run { "dry" } else { "wet" });
            let made = api.create(&post, &typed(made(&name))).await;
            if made.is_ok() && !dry_run {
                api.delete(&name, &DeleteParams::default()).await?;
            }
            made
        }
        "apply" | "merge" => api.patch("github", &patching, &Patch::Merge(made("github"))).await,
        "server-side" => {
            let applying = PatchParams { dry_run, ..PatchParams::apply("somebody").force() };
            api.patch("github", &applying, &Patch::Apply(made("github"))).await
        }
        "json" => {
            let operations = json!([{"op": "add", "path": "/spec/stringData", "value": {"token": value}}]);
            let operations: json_patch::Patch = serde_json::from_value(operations).unwrap();
            api.patch("github", &patching, &Patch::Json::<()>(operations)).await
        }
        _ => loop {
            let mut object = api.get("github").await?;
            object.data["spec"]["stringData"] = json!({"token": value});
            match api.replace("github", &post, &object).await {
                // The operator wrote the status of the write before in between.
                Err(kube::Error::Api(error)) if error.code == 409 => {}
                replaced => break replaced,
            }
        },
    }
}

/// T35, as a matrix: with the webhook up, down, and its configuration deleted.
#[tokio::test]
async fn plaintext_is_stored_nowhere_and_told_in_no_error_whatever_became_of_the_webhook() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "matrix", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.connection("github", &["*"], &[("token", "value")]).await?;
        // Numbers that occur nowhere by chance, and are exact also where JSON numbers are doubles.
        let number = 721_809_300_000 + u64::from(std::process::id());
        let marks = Marks { text: format!("plaintext-{}", ns.name()), number };
        write_all(ns, "up", &marks).await.context("the webhook up")?;

        let down = async {
            fault::scale(&cluster, "webhook", 0).await?;
            write_all(ns, "down", &marks).await
        }
        .await;
        fault::scale(&cluster, "webhook", 2).await?;
        down.context("the webhook down")?;

        let kept = Kept::of(&cluster, "mutatingwebhookconfiguration", "coffer").await?;
        cluster.kubectl().run(["delete", "mutatingwebhookconfiguration", "coffer"]).ok().await?;
        let deleted = async {
            wait::until("the deletion to count", wait::SOON, async || {
                let touch = json!({"metadata": {"annotations": {"touched": "yes"}}});
                let owner = json!({"spec": {"connectionName": "other"}});
                let api = ns.api::<Connection>();
                api.patch("github", &PatchParams::default(), &Patch::Merge(touch)).await?;
                let params = PatchParams { dry_run: true, ..PatchParams::default() };
                let stamped = api.patch("github", &params, &Patch::Merge(owner)).await;
                Ok(stamped.is_ok().then_some(()))
            })
            .await?;
            write_all(ns, "deleted", &marks).await
        }
        .await;
        kept.put_back(&cluster).await?;
        deleted.context("the webhook's configuration deleted")?;

        for needle in [marks.text, marks.number.to_string()] {
            let search = cluster.etcd().search(needle.as_bytes()).await?;
            ensure!(search.found.is_empty(), "'{needle}' is in {:?}", search.found);
        }
        Ok(())
    })
    .await
}
