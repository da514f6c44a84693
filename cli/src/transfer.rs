//! `kubectl coffer transfer`: another owner for a Connection.

use clap::Args;
use coffer_crds::Connection;
use serde_json::json;

use crate::{Failure, cluster::Cluster, desk::Desk, facts::Facts, set::in_effect, wait::Waiting};

/// What, and to whom.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection
    pub name: String,
    /// The member that owns it from now on
    pub to: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Passes a Connection on.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let (name, to) = (&arguments.name, &arguments.to);
    let (before, facts) = Facts::with(cluster, name).await?;
    let was = before.spec.owner.clone().unwrap_or_default();
    if was == *to {
        return desk.say(&format!("Connection '{name}' is owned by '{to}' already."));
    }
    facts.member(to)?;
    let question = format!(
        "Pass connection '{name}' from '{was}' to '{to}'? '{was}' keeps it only where the scope says so."
    );
    desk.confirm(&question, arguments.yes)?;
    let written: Connection = cluster.change(&before, &json!({"owner": to})).await?;
    in_effect(desk, cluster, arguments.waiting, &written).await?;
    let mark = desk.mark();
    desk.say(&format!("Connection '{name}': owner '{was}' → '{to}'{mark}."))
}
