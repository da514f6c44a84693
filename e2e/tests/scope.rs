//! Who may use a credential changes: a scope grows, a scope shrinks, a member goes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::Result;
use coffer_crds::{Connection, Envelope, EnvelopeSpec, Keyring, Vault, VaultMember, conditions};
use e2e::broker::{Door, Knock, pod_token};
use e2e::install;
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use serde_json::json;

/// Set a Connection's scope, and wait for the Envelope that has it.
async fn share(ns: &Namespace, team: &Team<'_>, name: &str, members: &[&str]) -> Result<EnvelopeSpec> {
    let before = ns.api::<Envelope>().get(name).await?.spec.revision;
    let patch = json!({"spec": {"members": members}}).to_string();
    ns.kubectl().run(["patch", "connection", name, "--type", "merge", "-p", &patch]).ok().await?;
    team.ready(name).await?;
    let envelopes = ns.api::<Envelope>();
    let envelope = wait::object(&envelopes, name, "written", wait::SOON, |found: Option<&Envelope>| {
        found.is_some_and(|found| found.spec.revision > before)
    });
    Ok(envelope.await?.spec)
}

/// A pod of this member, and what the broker answers it.
async fn asks(ns: &Namespace, door: &Door, pod: &Pod) -> Result<(u16, String)> {
    let token = pod_token(&ns.api(), pod).await?;
    let answer = door.ask_as(&token, &Knock::new(pod, &["github"])?).await?;
    Ok((answer.status, if answer.status == 200 { String::new() } else { answer.message() }))
}

fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// C13, C33, C34.
#[tokio::test]
async fn sharing_keeps_the_ciphertext_and_taking_back_makes_a_new_key() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "share", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        team.connection("github", &["web"], &[("token", "value")]).await?;
        let pod = ns.shell("intern", json!({"spec": {"serviceAccountName": "intern"}})).await?;
        let door = Door::find(&cluster).await?;
        let first = ns.api::<Envelope>().get("github").await?.spec;
        let denied = "Credential 'github' is not accessible to member 'intern'. Allowed: web".to_owned();
        assert_eq!(asks(ns, &door, &pod).await?, (403, denied.clone()));

        let wider = share(ns, &team, "github", &["web", "intern"]).await?;
        assert_eq!(wider.items, first.items, "sharing changed the items' ciphertext");
        assert_eq!((wider.version, &wider.commitment), (first.version, &first.commitment));
        assert_eq!(asks(ns, &door, &pod).await?.0, 200);

        let narrower = share(ns, &team, "github", &["web"]).await?;
        assert_eq!(narrower.version, first.version, "only a new value is a new version");
        assert_ne!(narrower.commitment, first.commitment, "intern still holds the data key");
        assert_ne!(narrower.items, first.items);
        assert_eq!(asks(ns, &door, &pod).await?, (403, denied));

        // A name that is nobody's yet is taken, said so, and gives nothing to anybody.
        share(ns, &team, "github", &["web", "later"]).await?;
        let status = team.ready("github").await?.status.unwrap();
        assert!(!is_true(&status.conditions, conditions::SCOPE_RESOLVED), "{:?}", status.conditions);
        let later = ns.api::<Envelope>().get("github").await?.spec;
        assert!(later.slots.iter().all(|slot| slot.name.as_deref() != Some("later")));
        Ok(())
    })
    .await
}

/// C7, T6 within this test's patience: what a removed member had goes at once; the epoch's turn-over is announced.
#[tokio::test]
async fn a_removed_member_loses_its_keys_its_bindings_and_every_release() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "removed", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        team.connection("github", &["*"], &[("token", "value")]).await?;
        let pod = ns.shell("web", asking("web", "github")).await?;
        let kept = ns.shell("intern", asking("intern", "github")).await?;
        let door = Door::find(&cluster).await?;
        assert_eq!(asks(ns, &door, &pod).await?.0, 200);
        let bindings_of_web = async || {
            let bindings = ns.api::<RoleBinding>().list(&ListParams::default()).await?;
            let subjects =
                bindings.items.into_iter().flat_map(|binding| binding.subjects.unwrap_or_default());
            anyhow::Ok(subjects.filter(|subject| subject.name == "web").count())
        };
        assert_eq!(bindings_of_web().await?, 1);

        ns.kubectl().run(["delete", "vaultmember", "web"]).ok().await?;
        wait::until("nothing to be released to the removed member", wait::SOON, async || {
            Ok((asks(ns, &door, &pod).await? == (404, "Credential 'github' not found".to_owned()))
                .then_some(()))
        })
        .await?;
        wait::object(
            &ns.api::<Keyring>(),
            "team",
            "the register without the member",
            wait::SOON,
            |found: Option<&Keyring>| {
                found.is_some_and(|found| found.spec.members.iter().all(|member| member.name != "web"))
            },
        )
        .await?;
        wait::until("the binding to go", wait::SOON, async || {
            Ok((bindings_of_web().await? == 0).then_some(()))
        })
        .await?;
        wait::object(
            &ns.api::<Vault>(),
            "team",
            "everything to be sealed under new keys",
            wait::SOON,
            |found: Option<&Vault>| {
                let status = found.and_then(|found| found.status.as_ref());
                status.is_some_and(|status| status.key_epoch == Some(2) && status.rotation.is_none())
            },
        )
        .await?;
        let envelope = ns.api::<Envelope>().get("github").await?;
        assert_eq!(envelope.spec.epoch, 2);
        let connection = ns.api::<Connection>().get("github").await?;
        let conditions = connection.status.unwrap_or_default().conditions;
        assert!(is_true(&conditions, conditions::PROVIDER_ROTATION_ADVISED), "{conditions:?}");
        assert!(ns.api::<VaultMember>().get_opt("web").await?.is_none());

        // The others notice nothing, and the running pod keeps the files it has.
        assert_eq!(asks(ns, &door, &kept).await?.0, 200);
        assert_eq!(ns.kubectl().exec("web", &["cat", "/coffer/github/token"]).await?, "value");
        Ok(())
    })
    .await
}
