//! `kubectl coffer vaults`.

use std::io::Write;

use coffer_crds::{Vault, VaultStatus};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    Failure,
    cluster::Cluster,
    command::Everywhere,
    output::{self, Column, Format},
};

struct Row {
    namespace: String,
    name: String,
    age: String,
    status: VaultStatus,
}

const NAMESPACE: Column<Row> = Column::new("NAMESPACE", |r| r.namespace.clone());
const COLUMNS: [Column<Row>; 9] = [
    Column::new("NAME", |r| r.name.clone()),
    Column::new("READY", |r| output::ready(&r.status.conditions)),
    Column::new("MEMBERS", |r| r.status.members.as_ref().map_or(0, |m| m.active).to_string()),
    Column::new("CONNECTIONS", |r| r.status.connections.unwrap_or_default().to_string()),
    Column::new("AGE", |r| r.age.clone()),
    Column::wide("INVITED", |r| r.status.members.as_ref().map_or(0, |m| m.invited).to_string()),
    Column::wide("EPOCH", |r| r.status.key_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string())),
    Column::wide("ID", |r| r.status.vault_id.clone().unwrap_or_default()),
    Column::wide("REASON", |r| output::reason(&r.status.conditions)),
];

/// Prints the vaults of a namespace, or of all.
pub(crate) async fn print(
    cluster: &Cluster,
    everywhere: Everywhere,
    format: Format,
    answer: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), Failure> {
    let vaults = cluster.list::<Vault>(everywhere.all_namespaces).await?;
    let now = Timestamp::now();
    let columns: Vec<_> = everywhere.all_namespaces.then_some(NAMESPACE).into_iter().chain(COLUMNS).collect();
    let empty = match everywhere.all_namespaces {
        true => "No vaults found.".to_owned(),
        false => format!("No vaults found in namespace {}.", cluster.namespace),
    };
    let row = |vault: Vault| Row {
        namespace: vault.namespace().unwrap_or_default(),
        name: vault.name_any(),
        age: output::age(vault.metadata.creation_timestamp.as_ref(), now),
        status: vault.status.unwrap_or_default(),
    };
    output::list(format, vaults, &columns, &empty, row, (answer, notes))
}
