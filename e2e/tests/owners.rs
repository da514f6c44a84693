//! Connections of several owners in one vault: one leaves, two take the same alias, one keeps hers to herself.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::Result;
use coffer_crds::{Connection, conditions};
use e2e::broker::{Door, Knock, pod_token};
use e2e::install;
use e2e::kubectl::Kubectl;
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use serde_json::{Value, json};

/// A Connection of vault `team` with these fields and a value that says whose it is.
fn connection(name: &str, value: &str, more: Value) -> String {
    let mut spec = json!({"vault": {"name": "team"}, "stringData": {"token": value}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}

/// Wait until `ScopeResolved` says this, and `Ready` is still true.
async fn resolved(ns: &Namespace, name: &str, status: &str, reason: &str, message: &str) -> Result<()> {
    let what = format!("ScopeResolved={status} ({reason})");
    wait::object(&ns.api::<Connection>(), name, &what, wait::SOON, |found: Option<&Connection>| {
        let conditions = found.and_then(|found| found.status.as_ref()).map(|status| &status.conditions);
        let is = |kind: &str, test: &dyn Fn(&str, &str, &str) -> bool| {
            conditions
                .into_iter()
                .flatten()
                .any(|found| found.type_ == kind && test(&found.status, &found.reason, &found.message))
        };
        is(conditions::READY, &|status, _, _| status == "True")
            && is(conditions::SCOPE_RESOLVED, &|is, why, says| (is, why, says) == (status, reason, message))
    })
    .await
    .map(drop)
}

async fn patch(kubectl: &Kubectl, name: &str, spec: Value) -> e2e::kubectl::Said {
    let patch = json!({"spec": spec}).to_string();
    kubectl.run(["patch", "connection", name, "--type", "merge", "-p", &patch]).said().await.unwrap()
}

/// DESIGN §6, C11: what a member shared stays of use to those it was shared with, and it is said who can look after it.
#[tokio::test]
async fn a_connection_whose_owner_left_goes_on_and_says_who_can_look_after_it() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "left", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        let bob = team.person("bob", "admin").await?;
        bob.apply(&connection("github", "of-bob", json!({"members": ["web"]}))).await?;
        team.ready("github").await?;
        ns.shell("before", asking("web", "github")).await?;

        ns.kubectl().run(["delete", "vaultmember", "bob"]).ok().await?;
        let told =
            "spec.owner: 'bob' is no Active member any more; an owner of the vault can set it to one that is";
        resolved(ns, "github", "False", conditions::reason::UNKNOWN_OWNER, told).await?;
        let cat = ["cat", "/coffer/github/token"];
        assert_eq!(ns.kubectl().exec("before", &cat).await?, "of-bob");
        ns.shell("after", asking("web", "github")).await?;
        assert_eq!(ns.kubectl().exec("after", &cat).await?, "of-bob");

        // Whoever left has nothing more to say about it, whatever RBAC lets them send.
        for spec in
            [json!({"members": ["*"]}), json!({"owner": "web"}), json!({"stringData": {"token": "new"}})]
        {
            let said = patch(&bob, "github", spec.clone()).await;
            assert!(!said.ok && said.err.contains("denied the request"), "{spec}: {said:?}");
        }
        let said = patch(&ns.kubectl(), "github", json!({"owner": "web"})).await;
        assert!(said.ok, "an owner of the vault: {said:?}");
        resolved(ns, "github", "True", conditions::reason::ALL_KNOWN, "").await?;
        ns.shell("later", asking("web", "github")).await?;
        assert_eq!(ns.kubectl().exec("later", &cat).await?, "of-bob");
        Ok(())
    })
    .await
}

/// C12, T10: nothing is guessed; its own comes first.
#[tokio::test]
async fn of_one_alias_with_two_owners_a_pod_must_name_one_unless_one_is_its_own() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "aliases", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        let shared = json!({"alias": "github", "members": ["web"]});
        for owner in ["bob", "carol"] {
            let person = team.person(owner, "admin").await?;
            let name = format!("gh-{owner}");
            person.apply(&connection(&name, &format!("of-{owner}"), shared.clone())).await?;
            team.ready(&name).await?;
        }
        let pod = |asked: &str| shell_pod("p", asking("web", asked)).to_string();
        let name = ns.name();
        let said = ns.kubectl().apply_refused(&pod("github")).await?;
        let expected =
            format!("Credential 'github' is ambiguous. Name one of: {name}/gh-bob (owner bob), {name}/gh-carol (owner carol)");
        assert!(said.contains(&expected), "{said}");
        // Everything in scope would be two of one folder.
        let everything = shell_pod("p", json!({"spec": {"serviceAccountName": "web"}})).to_string();
        let said = ns.kubectl().apply_refused(&everything).await?;
        let expected = format!("Connections '{name}/gh-bob' and '{name}/gh-carol' both have the alias 'github', which is the folder of their files: name one of them");
        assert!(said.contains(&expected), "{said}");

        let cat = ["cat", "/coffer/github/token"];
        ns.shell("named", asking("web", &format!("{name}/gh-carol"))).await?;
        assert_eq!(ns.kubectl().exec("named", &cat).await?, "of-carol");

        let given = patch(&ns.kubectl_as("bob", &[])?, "gh-bob", json!({"owner": "web"})).await;
        assert!(given.ok, "bob's own to give: {given:?}");
        team.ready("gh-bob").await?;
        wait::until("its own to come first", wait::SOON, async || {
            Ok(ns.kubectl().run(["create", "--dry-run=server", "-f", "-"]).input(&pod("github")).said().await?.ok.then_some(()))
        })
        .await?;
        ns.shell("own", asking("web", "github")).await?;
        assert_eq!(ns.kubectl().exec("own", &cat).await?, "of-bob");
        Ok(())
    })
    .await
}

/// T28, C14: what was never shared looks like what does not exist, as far as it is Coffer that answers. That the object
/// is there is RBAC's to show or hide.
#[tokio::test]
async fn in_a_vault_where_each_keeps_her_own_what_was_not_shared_looks_absent() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "unshared", &[INJECTED], async |ns| {
        let team = Team::with_spec(ns, "team", json!({"sharing": "Owner"})).await?;
        team.workload("web").await?;
        let bob = team.person("bob", "member").await?;
        let carol = team.person("carol", "member").await?;
        bob.apply(&connection("private", "of-bob", json!({}))).await?;
        team.ready("private").await?;

        // A pod that names it.
        for asked in ["private", "NAMESPACE/private"] {
            let asked = asked.replace("NAMESPACE", ns.name());
            let pod = |asked: &str| shell_pod("p", asking("web", asked)).to_string();
            let there = ns.kubectl().apply_refused(&pod(&asked)).await?;
            let absent = ns.kubectl().apply_refused(&pod(&asked.replace("private", "nothing"))).await?;
            assert!(there.contains(&format!("Credential '{asked}' not found")), "{there}");
            assert_eq!(there.replace("private", "nothing"), absent);
        }
        // One that goes past admission, to the broker.
        let pod = ns.shell("web", json!({"metadata": {"labels": {"coffer.dev/inject": "false"}}, "spec": {"serviceAccountName": "web"}})).await?;
        let (door, token) = (Door::find(&cluster).await?, pod_token(&ns.api(), &pod).await?);
        let mut answers = Vec::new();
        for asked in ["private", "nothing"] {
            let answer = door.ask_as(&token, &Knock::new(&pod, &[asked])?).await?;
            answers.push((answer.status, answer.message().replace(asked, "IT")));
        }
        assert_eq!(answers[0], (404, String::from("Credential 'IT' not found")));
        assert_eq!(answers[0], answers[1]);

        // Somebody else's change or deletion.
        let told = "denied the request: Credential 'private' not found";
        for spec in [
            json!({"stringData": {"token": "of-carol"}}),
            json!({"members": ["carol"]}),
            json!({"owner": "carol"}),
            json!({"provider": "github"}),
        ] {
            let said = patch(&carol, "private", spec.clone()).await;
            assert!(!said.ok && said.err.trim_end().ends_with(told), "{spec}: {said:?}");
            assert!(!said.err.contains("bob"), "{said:?}");
        }
        let said = carol.run(["delete", "connection", "private"]).refused().await?;
        assert!(said.trim_end().ends_with(told), "{said}");
        // One of her own with the same alias: as if there were no other.
        let hers = connection("hers", "of-carol", json!({"alias": "private"}));
        let said = carol.run(["apply", "-f", "-"]).input(&hers).said().await?;
        assert!(said.ok && said.err.is_empty(), "{said:?}");
        team.ready("hers").await?;
        Ok(())
    })
    .await
}
