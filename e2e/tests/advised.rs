//! Whoever leaves is named with what it did read and what it only could have, by the brokers' audit logs.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use coffer_broker_api::audit::{PendingQuery, is_complete};
use coffer_crds::{AuditFilter, AuditQuery, Connection, conditions};
use e2e::cluster::impatient_client;
use e2e::install;
use e2e::namespace::Namespace;
use e2e::people::{self, value, wanting};
use e2e::team::Team;
use e2e::terminal;
use e2e::users::User;
use e2e::wait;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

/// Two credentials, and a member without a key, of a name that no other test uses: requesters are paced by name.
async fn team<'a>(ns: &'a Namespace, member: &str) -> Result<Team<'a>> {
    let team = Team::make(ns).await?;
    for name in ["opened", "closed"] {
        team.connection(name, &["*"], &[("token", "first")]).await?;
    }
    team.person(member, "member").await?;
    Ok(team)
}

/// Status and reason of `ProviderRotationAdvised`, and what is said of this member.
fn advice(connection: &Connection, member: &str) -> Option<(String, String, Option<String>)> {
    let status = connection.status.as_ref()?;
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|found| found.type_ == conditions::PROVIDER_ROTATION_ADVISED)?;
    let of_member = status.advised.iter().find(|advised| advised.member == member);
    Some((found.status.clone(), found.reason.clone(), of_member.map(|advised| advised.reason.clone())))
}

/// Issue 6 §3, C5, C7, C10: bob reads one of two, is removed by the command line, and a new value ends the advice.
#[tokio::test]
async fn a_leaver_is_named_with_what_it_did_read_until_the_value_is_another() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "advised", &[], async |ns| {
        let team = team(ns, "bob-advised").await?;
        let bob = people::Person::new(ns, "bob-advised", &[]).await?;
        let (answer, _) = bob.ask(&wanting(ns, "team", "opened")).await?;
        ensure!(value(answer, "token")? == "first", "bob reads before");

        let remove = format!("kubectl coffer -n {} members remove bob-advised --yes", ns.name());
        let said = terminal::Person::admin(&cluster)?.done(&remove).await?;
        let line = |name: &str| said.lines().find(|line| line.trim().starts_with(name)).unwrap_or_default();
        ensure!(line("opened").ends_with("did read it"), "{said}");
        ensure!(line("closed").ends_with("could read it"), "{said}");

        let connections = ns.api::<Connection>();
        for (name, reason) in [("opened", "MemberDidRead"), ("closed", "MemberCouldRead")] {
            let found = advice(&connections.get(name).await?, "bob-advised").context("no advice")?;
            let expected = (String::from("True"), String::from(reason), Some(String::from(reason)));
            ensure!(found == expected, "{name}: {found:?}");
        }
        let table = ns.kubectl().run(["get", "connections", "-o", "wide"]).ok().await?;
        ensure!(table.contains("MemberDidRead") && table.contains("MemberCouldRead"), "{table}");

        // Another value: nobody who is gone knows it.
        team.connection("opened", &["*"], &[("token", "second")]).await?;
        let found = advice(&connections.get("opened").await?, "bob-advised").context("no advice")?;
        ensure!(found == (String::from("False"), String::from("ValueChanged"), None), "{found:?}");
        Ok(())
    })
    .await
}

/// C7: a read of the value before the present one is none.
#[tokio::test]
async fn a_leaver_that_read_the_value_before_only_could_have_read_the_present_one() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "advised-late", &[], async |ns| {
        let team = team(ns, "eve-advised").await?;
        let eve = people::Person::new(ns, "eve-advised", &[]).await?;
        eve.ask(&wanting(ns, "team", "opened")).await?;
        // The API keeps times in whole seconds: a read in the second of the new value would count.
        let next = jiff::Timestamp::now().as_second() + 1;
        wait::until("the next second", wait::SOON, async || {
            Ok((jiff::Timestamp::now().as_second() >= next).then_some(()))
        })
        .await?;
        team.connection("opened", &["*"], &[("token", "second")]).await?;
        ns.kubectl().run(["delete", "vaultmember", "eve-advised"]).ok().await?;
        let said = |found: &Connection| advice(found, "eve-advised").and_then(|(.., of_eve)| of_eve);
        let named = |found: Option<&Connection>| found.and_then(said).is_some();
        let connections = ns.api::<Connection>();
        let found = wait::object(&connections, "opened", "the advice", wait::SOON, named).await?;
        ensure!(said(&found).as_deref() == Some("MemberCouldRead"), "{:?}", said(&found));
        Ok(())
    })
    .await
}

/// C9, C10, C20, T28: whoever may look into the log gets the answer of every replica; others learn nothing.
#[tokio::test]
async fn whoever_may_audit_is_answered_by_every_replica() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "audited", &[], async |ns| {
        team(ns, "bob-audited").await?;
        let bob = people::Person::new(ns, "bob-audited", &[]).await?;
        bob.ask(&wanting(ns, "team", "opened")).await?;
        let edit = ["create", "rolebinding", "mallory-audited", "--clusterrole=edit", "--user"];
        ns.kubectl().run(edit).arg("mallory-audited").ok().await?;
        ns.member("mallory-audited", &[]).await?;
        for (who, code) in [(None, 200), (Some("bob-audited"), 403), (Some("mallory-audited"), 404)] {
            let client = match who {
                Some(who) => impatient_client(User::new(ns.cluster(), who, &[])?.kubeconfig()).await?,
                None => ns.client(),
            };
            let queries = Api::<AuditQuery>::namespaced(client, ns.name());
            let filter = AuditFilter { member: Some(String::from("bob-audited")), ..AuditFilter::default() };
            let pending = PendingQuery::new(ns.name(), "team", filter, true, None, &mut UnwrapErr(SysRng));
            queries.create(&PostParams::default(), &pending.object()).await?;
            let answers = wait::until("the answers", wait::SOON, async || {
                let answers = pending.answers(&queries.get(pending.name()).await?);
                Ok(is_complete(&answers).then_some(answers))
            })
            .await?;
            queries.delete(pending.name(), &DeleteParams::default()).await?;
            ensure!(answers.values().all(|answer| answer.code == code), "{who:?}: {answers:?}");
            let read = answers.values().any(|answer| answer.last_reads.contains_key("bob-audited"));
            ensure!(read == (code == 200), "{who:?}: {answers:?}");
        }
        Ok(())
    })
    .await
}
