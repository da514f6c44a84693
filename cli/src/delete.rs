//! `kubectl coffer delete`: a Connection with all that is sealed in it.

use clap::Args;
use coffer_crds::Connection;

use crate::{Failure, cluster::Cluster, desk::Desk};

/// What.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Deletes a Connection.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let name = &arguments.name;
    let found: Connection = cluster.get(name).await?;
    desk.confirm(&format!("Delete connection '{name}' and its values, for everyone?"), arguments.yes)?;
    cluster.delete(&found).await?;
    let mark = desk.mark();
    desk.say(&format!("Connection '{name}' is deleted{mark}."))?;
    desk.note("The value stays valid at its provider until it is changed there.");
    Ok(())
}
