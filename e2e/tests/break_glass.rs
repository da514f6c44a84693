//! Break glass: people of a group that the installation names may what an owner may, on record; no other stranger.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use coffer_crds::{VaultMember, conditions};
use e2e::install::{self, BREAKERS};
use e2e::namespace::Namespace;
use e2e::people::{Person, record, value, wanting};
use e2e::team::Team;
use e2e::wait;
use kube::ResourceExt as _;
use serde_json::{Value, json};

fn invite(name: &str) -> String {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember", "metadata": {"name": name},
        "spec": {"vault": "team", "role": "admin", "subject": {"user": {"name": name}}},
    })
    .to_string()
}

/// The notes of the events about break glass on an object of this kind.
async fn told(ns: &Namespace, kind: &str) -> Result<Vec<String>> {
    let selector = format!("reason=BreakGlass,involvedObject.kind={kind}");
    let events = ["get", "events", "-o", "json", "--field-selector", &selector];
    let events: Value = serde_json::from_str(&ns.kubectl().run(events).ok().await?)?;
    let notes = events["items"].as_array().context("a list")?.iter();
    Ok(notes.filter_map(|event| event["message"].as_str()).map(str::to_owned).collect())
}

async fn wait_told(ns: &Namespace, kind: &str, what: &str) -> Result<()> {
    wait::until(&format!("an event on the {kind}: {what}"), wait::SOON, async || {
        Ok(told(ns, kind).await?.iter().any(|note| note.contains(what)).then_some(()))
    })
    .await
}

/// DESIGN §6: refused with what to do, whatever RBAC lets them send; and nothing of it is break glass.
#[tokio::test]
async fn a_cluster_administrator_who_is_no_member_is_told_to_ask_for_an_invite() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "administrator", &[], async |ns| {
        let team = Team::with_spec(ns, "team", json!({"owners": [{"user": {"name": "alice"}}]})).await?;
        team.active("alice").await?;
        let root = ns.kubectl_as("root-of-all", &["system:masters"])?;
        let said = root.apply_refused(&invite("dora")).await?;
        let advice = format!("kubectl coffer invite user:root-of-all --vault team -n {}", ns.name());
        ensure!(said.contains("Ask an owner (alice) to invite you") && said.contains(&advice), "{said}");
        let said = root.run(["delete", "vault", "team"]).refused().await?;
        ensure!(said.contains(&advice), "{said}");
        let person = Person::new(ns, "root-of-all", &["system:masters"]).await?;
        let (answer, _) = person.ask(&wanting(ns, "team", "github")).await?;
        ensure!(answer.granted().is_err_and(|denied| denied.code == 404), "as for anybody");
        ensure!(told(ns, "Vault").await?.is_empty(), "nothing was broken");
        Ok(())
    })
    .await
}

/// DESIGN §6: writes of an owner and reads of what the broker opens, each with a record, an event and a warning; the
/// operator takes them for what they are.
#[tokio::test]
async fn whoever_may_break_glass_writes_as_an_owner_and_reads_on_record() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "breakglass", &[], async |ns| {
        let team = Team::with_spec(ns, "team", json!({"owners": [{"user": {"name": "alice"}}]})).await?;
        team.active("alice").await?;
        let alice = ns.member("alice", &[]).await?;
        alice.apply(&team.manifest("github", &[], &[("token", "ghp_value")]).to_string()).await?;
        team.ready("github").await?;
        let binding = ["create", "rolebinding", "breakers", "--clusterrole=coffer-vault-owner"];
        ns.kubectl().run(binding).arg(format!("--group={BREAKERS}")).ok().await?;
        let eve = ns.kubectl_as("eve-breaks", &[BREAKERS])?;

        let said = eve.run(["apply", "-f", "-"]).input(&invite("dora")).said().await?;
        ensure!(
            said.ok && said.err.contains(&format!("by break glass, as one of group '{BREAKERS}'")),
            "{said:?}"
        );
        wait_told(
            ns,
            "Vault",
            &format!("'eve-breaks' of group '{BREAKERS}': create VaultMember {}/dora", ns.name()),
        )
        .await?;
        wait::object(
            &ns.api::<VaultMember>(),
            "dora",
            "an invite that counts",
            wait::SOON,
            |found: Option<&VaultMember>| {
                let status = found.and_then(|found| found.status.as_ref());
                status.is_some_and(|status| {
                    status
                        .conditions
                        .iter()
                        .any(|c| c.type_ == "Ready" && c.reason == conditions::reason::INVITED)
                })
            },
        )
        .await?;
        let dry = ["delete", "vaultmember", "dora", "--dry-run=server"];
        eve.run(dry).ok().await?;
        eve.run(["delete", "vaultmember", "dora"]).ok().await?;
        wait_told(ns, "Vault", "delete VaultMember").await?;
        let deletions = told(ns, "Vault").await?.iter().filter(|note| note.contains("delete")).count();
        ensure!(deletions == 1, "what is only tried is no event: {deletions}");

        // Neither in the scope nor a member.
        let person = Person::new(ns, "eve-breaks", &[BREAKERS]).await?;
        let pending = wanting(ns, "team", "github");
        let made = person.create(&pending).await?;
        ensure!(value(person.answer(&pending).await?, "token")? == "ghp_value");
        let entry = record(&cluster, &made.uid().unwrap()).await?;
        ensure!(entry["decision"] == "allowed" && entry["breakGlass"] == BREAKERS, "{entry}");
        ensure!(entry["actor"]["name"] == "eve-breaks" && entry.get("member").is_none(), "{entry}");
        wait_told(ns, "Connection", &format!("'eve-breaks' of group '{BREAKERS}' reads it")).await?;
        Ok(())
    })
    .await
}
