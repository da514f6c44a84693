//! `kubectl coffer history`: the versions of a credential. Values of old versions are gone.

use clap::Args;
use coffer_crds::{Connection, HistoryEntry};
use jiff::Timestamp;

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    output::{self, Column, Format},
};

/// Which Connection.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection
    pub name: String,
}

struct Row {
    entry: HistoryEntry,
    age: String,
    present: bool,
}

const COLUMNS: [Column<Row>; 4] = [
    Column::new("VERSION", |row| row.entry.version.to_string()),
    Column::new("WRITER", |row| row.entry.writer.clone()),
    Column::new("AGE", |row| row.age.clone()),
    Column::new("", |row| if row.present { String::from("present") } else { String::new() }),
];

/// Prints them, the newest first.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let connection: Connection = cluster.get(&arguments.name).await?;
    let status = connection.status.clone().unwrap_or_default();
    let format = desk.options.output;
    if let Format::Json | Format::Yaml = format {
        return output::value(format, &status.history, desk.answer);
    }
    let now = Timestamp::now();
    let rows: Vec<Row> = status
        .history
        .into_iter()
        .rev()
        .map(|entry| Row {
            age: output::age(Some(&entry.at), now),
            present: Some(entry.version) == status.version,
            entry,
        })
        .collect();
    if rows.is_empty() {
        desk.note(&format!("Connection '{}' has no version yet.", arguments.name));
        return Ok(());
    }
    output::table(format, &rows, &COLUMNS, desk.answer)
}
