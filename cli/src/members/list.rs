//! `kubectl coffer members list`.

use std::io::Write;

use clap::Args;
use coffer_crds::{Custody, VaultMember, VaultMemberStatus};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    Failure,
    cluster::Cluster,
    command::Everywhere,
    output::{self, Column, Format},
    subject,
};

/// Which members.
#[derive(Clone, Debug, Default, Args)]
pub struct Arguments {
    /// Only those of this vault
    #[arg(long)]
    pub vault: Option<String>,
    /// How far.
    #[command(flatten)]
    pub everywhere: Everywhere,
}

struct Row {
    namespace: String,
    name: String,
    vault: String,
    subject: String,
    role: String,
    age: String,
    invited_by: String,
    status: VaultMemberStatus,
}

const NAMESPACE: Column<Row> = Column::new("NAMESPACE", |r| r.namespace.clone());
const COLUMNS: [Column<Row>; 9] = [
    Column::new("NAME", |r| r.name.clone()),
    Column::new("VAULT", |r| r.vault.clone()),
    Column::new("SUBJECT", |r| r.subject.clone()),
    Column::new("ROLE", |r| r.role.clone()),
    Column::new("PHASE", |r| {
        r.status.phase.map_or_else(|| "Unknown".to_owned(), |phase| format!("{phase:?}"))
    }),
    Column::new("AGE", |r| r.age.clone()),
    Column::wide("CUSTODY", |r| r.status.custody.map(custody).unwrap_or_default().to_owned()),
    Column::wide("INVITED BY", |r| r.invited_by.clone()),
    Column::wide("REASON", |r| output::reason(&r.status.conditions)),
];

/// Prints the members of a namespace's vaults, or of all.
pub(crate) async fn print(
    cluster: &Cluster,
    arguments: &Arguments,
    format: Format,
    answer: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), Failure> {
    let everywhere = arguments.everywhere.all_namespaces;
    let mut members = cluster.list::<VaultMember>(everywhere).await?;
    if let Some(wanted) = &arguments.vault {
        members.retain(|m| m.parsed.as_ref().is_ok_and(|read| read.spec.vault == *wanted));
    }
    let now = Timestamp::now();
    let row = |member: VaultMember| Row {
        namespace: member.namespace().unwrap_or_default(),
        name: member.name_any(),
        subject: subject::show(&member.spec.subject, member.namespace().as_deref().unwrap_or_default()),
        age: output::age(member.metadata.creation_timestamp.as_ref(), now),
        invited_by: member.spec.invited_by.map(|author| author.username).unwrap_or_default(),
        vault: member.spec.vault,
        role: member.spec.role,
        status: member.status.unwrap_or_default(),
    };
    let columns: Vec<_> = everywhere.then_some(NAMESPACE).into_iter().chain(COLUMNS).collect();
    let empty = match everywhere {
        true => "No members found.".to_owned(),
        false => format!("No members found in namespace {}.", cluster.namespace),
    };
    output::list(format, members, &columns, &empty, row, (answer, notes))
}

pub(super) fn custody(custody: Custody) -> &'static str {
    match custody {
        Custody::Own => "Self",
        Custody::Brokered => "Brokered",
    }
}
