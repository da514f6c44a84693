//! `kubectl coffer vaults`.

use std::io::Write;

use clap::Args;
use coffer_crds::{Vault, VaultStatus};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    Failure,
    cluster::Cluster,
    command::Everywhere,
    memberships::memberships,
    output::{self, Column, Format},
    subject,
};

/// Which vaults.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Arguments {
    /// Only those in which you are a member
    #[arg(long)]
    pub mine: bool,
    /// How far.
    #[command(flatten)]
    pub everywhere: Everywhere,
}

struct Row {
    namespace: String,
    name: String,
    age: String,
    owners: Vec<String>,
    status: VaultStatus,
}

const NAMESPACE: Column<Row> = Column::new("NAMESPACE", |r| r.namespace.clone());
const COLUMNS: [Column<Row>; 10] = [
    Column::new("NAME", |r| r.name.clone()),
    Column::new("READY", |r| output::ready(&r.status.conditions)),
    Column::new("MEMBERS", |r| r.status.members.as_ref().map_or(0, |m| m.active).to_string()),
    Column::new("CONNECTIONS", |r| r.status.connections.unwrap_or_default().to_string()),
    Column::new("AGE", |r| r.age.clone()),
    Column::wide("OWNERS", |r| r.owners.join(",")),
    Column::wide("INVITED", |r| r.status.members.as_ref().map_or(0, |m| m.invited).to_string()),
    Column::wide("EPOCH", |r| r.status.key_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string())),
    Column::wide("ID", |r| r.status.vault_id.clone().unwrap_or_default()),
    Column::wide("REASON", |r| output::reason(&r.status.conditions)),
];

/// Prints the vaults of a namespace, or of all.
pub(crate) async fn print(
    cluster: &Cluster,
    arguments: Arguments,
    format: Format,
    answer: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), Failure> {
    let everywhere = arguments.everywhere.all_namespaces;
    let mut vaults = cluster.list::<Vault>(everywhere).await?;
    if arguments.mine {
        let own = memberships(cluster, &cluster.caller().await?, everywhere).await?;
        vaults.retain(|vault| vault.parsed.as_ref().is_ok_and(|read| own.iter().any(|own| own.is_in(read))));
    }
    let now = Timestamp::now();
    let columns: Vec<_> = everywhere.then_some(NAMESPACE).into_iter().chain(COLUMNS).collect();
    let whose = if arguments.mine { "vaults of yours" } else { "vaults" };
    let empty = match everywhere {
        true => format!("No {whose} found."),
        false => format!("No {whose} found in namespace {}.", cluster.namespace),
    };
    let row = |vault: Vault| Row {
        namespace: vault.namespace().unwrap_or_default(),
        name: vault.name_any(),
        age: output::age(vault.metadata.creation_timestamp.as_ref(), now),
        owners: owners(&vault),
        status: vault.status.unwrap_or_default(),
    };
    output::list(format, vaults, &columns, &empty, row, (answer, notes))
}

fn owners(vault: &Vault) -> Vec<String> {
    let namespace = vault.namespace().unwrap_or_default();
    vault.spec.owners.iter().map(|owner| subject::show(owner, &namespace)).collect()
}
