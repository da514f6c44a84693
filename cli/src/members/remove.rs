//! `kubectl coffer members remove`.

use clap::Args;
use coffer_crds::{Connection, VaultMember};
use kube::ResourceExt;

use crate::{Failure, cluster::Cluster, decision, desk::Desk, facts::Facts, rotate, subject, wait::Waiting};

/// Whom.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The member
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Removes a member; says what it may know and what passes to an owner.
pub(super) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let name = &arguments.name;
    let member: VaultMember = cluster.get(name).await?;
    let facts = Facts::of(cluster, Some(&member.spec.vault)).await?;
    let connections: Vec<Connection> = cluster.all().await?;
    let known = decision::usable(&facts, name, &connections);
    let owned = owned(&facts, name, &connections);
    let who = subject::show(&member.spec.subject, &cluster.namespace);
    desk.confirm(&format!("Remove member '{name}' ({who}) from vault '{}'?", facts.name()), arguments.yes)?;
    cluster.delete(&member).await?;
    let mark = desk.mark();
    desk.say(&format!("Member '{name}' is removed from vault '{}'{mark}.", facts.name()))?;
    let was_active = facts.views.iter().any(|view| view.name == *name && view.is_active());
    if was_active {
        // It is removed whatever comes of this look, also of one's own, after which one sees nothing more.
        if let Err(late) = rotate::turned_over(desk, cluster, arguments.waiting, &facts.vault).await {
            desk.note(&format!("The new keys were not seen yet: {late}"));
        }
    }
    report(desk, &known, &owned)
}

fn owned(facts: &Facts, name: &str, connections: &[Connection]) -> Vec<String> {
    let own = connections.iter().filter(|connection| {
        connection.spec.owner.as_deref() == Some(name) && decision::is_of(connection, &facts.vault)
    });
    own.map(ResourceExt::name_any).collect()
}

/// C5, C7: keys cannot make anybody forget.
fn report(desk: &mut Desk<'_>, known: &[String], owned: &[String]) -> Result<(), Failure> {
    if !known.is_empty() {
        desk.say(
            "Whoever it was may know these. Change them at their providers, then here (kubectl coffer set):",
        )?;
        for name in known {
            desk.say(&format!("  {name}"))?;
        }
    }
    if !owned.is_empty() {
        desk.say(&format!("These pass to an owner of the vault: {}", owned.join(", ")))?;
    }
    Ok(())
}
