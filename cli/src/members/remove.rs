//! `kubectl coffer members remove`.

use std::collections::BTreeMap;

use clap::Args;
use coffer_crds::{Connection, VaultMember, conditions::reason};
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
    // Who was suspended, or whose time was over, is named since then.
    let said = advised(cluster, &facts, name, arguments.waiting).await;
    report(desk, &known, &said, &owned)
}

/// What the operator says of the vault's Connections that the member could read, by name; nothing where that was not waited
/// for, or is not to be seen.
async fn advised(
    cluster: &Cluster,
    facts: &Facts,
    name: &str,
    waiting: Waiting,
) -> BTreeMap<String, &'static str> {
    if waiting.no_wait || cluster.dry_run {
        return BTreeMap::new();
    }
    let connections: Vec<Connection> = cluster.all().await.unwrap_or_default();
    let of_vault = connections.iter().filter(|connection| decision::is_of(connection, &facts.vault));
    let said = of_vault.filter_map(|connection| {
        let advised = connection.status.as_ref()?.advised.iter().find(|advised| advised.member == name)?;
        let did_read = advised.reason == reason::MEMBER_DID_READ;
        Some((connection.name_any(), if did_read { DID } else { COULD }))
    });
    said.collect()
}

/// By the brokers' audit logs.
const DID: &str = "did read it";
/// By them, no release is known.
const COULD: &str = "could read it";

fn owned(facts: &Facts, name: &str, connections: &[Connection]) -> Vec<String> {
    let own = connections.iter().filter(|connection| {
        connection.spec.owner.as_deref() == Some(name) && decision::is_of(connection, &facts.vault)
    });
    own.map(ResourceExt::name_any).collect()
}

/// C5, C7: keys cannot make anybody forget.
fn report(
    desk: &mut Desk<'_>,
    known: &[String],
    said: &BTreeMap<String, &'static str>,
    owned: &[String],
) -> Result<(), Failure> {
    // Whoever has lost access to one before may know it all the same.
    let before = said.keys().filter(|name| !known.contains(name));
    let mut known: Vec<&String> = known.iter().chain(before).collect();
    // What was read comes first.
    known.sort_by_key(|name| said.get(*name) != Some(&DID));
    if !known.is_empty() {
        desk.say(
            "Whoever it was may know these. Change them at their providers, then here (kubectl coffer set):",
        )?;
        let width = known.iter().map(|name| name.len()).max().unwrap_or_default();
        for name in known {
            desk.say(&match said.get(name) {
                Some(said) => format!("  {name:width$}  {said}"),
                None => format!("  {name}"),
            })?;
        }
    }
    if !owned.is_empty() {
        desk.say(&format!("These pass to an owner of the vault: {}", owned.join(", ")))?;
    }
    Ok(())
}
