//! `kubectl coffer who-can`: everybody's standing towards one Connection.

use clap::Args;
use serde_json::json;

use crate::{
    Failure,
    cluster::Cluster,
    decision::{Question, why_not},
    desk::Desk,
    facts::Facts,
    output::{self, Column, Format},
    subject,
};

/// What about which Connection.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// What is done
    #[arg(value_enum)]
    pub verb: Question,
    /// The Connection
    pub name: String,
}

struct Row {
    member: String,
    subject: String,
    role: String,
    denied: Option<String>,
}

const COLUMNS: [Column<Row>; 5] = [
    Column::new("MEMBER", |r| r.member.clone()),
    Column::new("SUBJECT", |r| r.subject.clone()),
    Column::new("ROLE", |r| r.role.clone()),
    Column::new("CAN", |r| if r.denied.is_none() { "yes" } else { "no" }.to_owned()),
    Column::new("WHY NOT", |r| r.denied.clone().unwrap_or_default()),
];

/// Prints each member with the one policy's answer.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let (connection, facts) = Facts::with(cluster, &arguments.name).await?;
    let mut rows: Vec<Row> = facts
        .views
        .iter()
        .map(|view| Row {
            member: view.name.clone(),
            subject: subject::show(&view.subject, &cluster.namespace),
            role: view.role.clone(),
            denied: why_not(&facts, view, &connection, arguments.verb),
        })
        .collect();
    rows.sort_by(|a, b| (a.denied.is_some(), &a.member).cmp(&(b.denied.is_some(), &b.member)));
    let format = desk.options.output;
    match format {
        Format::Json | Format::Yaml => {
            let list: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({"member": row.member, "subject": row.subject, "role": row.role,
                        "can": row.denied.is_none(), "why": row.denied})
                })
                .collect();
            output::value(format, &list, desk.answer)
        }
        Format::Name => {
            let can = rows.iter().filter(|row| row.denied.is_none());
            can.map(|row| row.member.clone()).collect::<Vec<_>>().iter().try_for_each(|name| desk.say(name))
        }
        Format::Table | Format::Wide => output::table(format, &rows, &COLUMNS, desk.answer),
    }
}
