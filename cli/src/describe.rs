//! `kubectl coffer describe`: all there is to know of a Connection but its values.

use clap::Args;
use coffer_crds::{Connection, conditions};
use coffer_policy::{Scope, release::expires_at};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    Failure,
    cluster::Cluster,
    decision::{Question, why_not},
    desk::Desk,
    facts::Facts,
    output::{self, Format, Sheet},
};

/// Which Connection.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection
    pub name: String,
}

/// Prints it.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let connection: Connection = cluster.get(&arguments.name).await?;
    let format = desk.options.output;
    if let Format::Json | Format::Yaml | Format::Name = format {
        return output::object(format, &connection, desk.answer);
    }
    // A vault of another namespace need not be visible; the rest still is.
    let facts = Facts::around(cluster, &connection).await.ok();
    desk.say(sheet(&connection, facts.as_ref(), Timestamp::now()).text().trim_end())
}

fn sheet(connection: &Connection, facts: Option<&Facts>, now: Timestamp) -> Sheet {
    let (spec, status) = (connection.spec.clone(), connection.status.clone().unwrap_or_default());
    let vault = spec.vault.clone().unwrap_or_default();
    let mut sheet = Sheet::default();
    sheet.row("Name", connection.name_any());
    sheet.row(
        "Vault",
        [vault.namespace.map(|n| format!("{n}/")), vault.name].map(Option::unwrap_or_default).concat(),
    );
    sheet.row("Owner", spec.owner.clone().unwrap_or_default());
    sheet.row("Shared with", scope(connection, facts));
    sheet.row("Provider", spec.provider.unwrap_or_default());
    sheet.row("Called", spec.connection_name.unwrap_or_default());
    sheet.row("Alias", spec.alias.unwrap_or_else(|| connection.name_any()));
    sheet.row(
        "Type",
        serde_json::to_value(spec.type_).ok().and_then(|t| t.as_str().map(str::to_owned)).unwrap_or_default(),
    );
    sheet.row("Items", status.items.join(", "));
    sheet.row("Version", status.version.map(|version| version.to_string()).unwrap_or_default());
    let time = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map(|_| format!("{} ago", output::age(time.as_ref(), now))).unwrap_or_default()
    };
    sheet.row(
        "Made",
        [time(&status.created_at), status.created_by.map(|by| format!(" by {by}")).unwrap_or_default()]
            .concat(),
    );
    sheet.row("Value set", time(&status.last_refreshed));
    sheet.row("Last used", time(&status.last_used_at));
    sheet.row("Expires", expires_at(connection).map(|at| at.to_string()).unwrap_or_default());
    sheet.row("Ready", ready(&status.conditions));
    let advised = status
        .conditions
        .iter()
        .find(|c| c.type_ == conditions::PROVIDER_ROTATION_ADVISED && c.status == "True");
    sheet.row(
        "Rotate",
        advised.map(|c| format!("change it at the provider, then here: {}", c.message)).unwrap_or_default(),
    );
    if let Some(facts) = facts {
        let may = |question| {
            let who = facts.views.iter().filter(|view| why_not(facts, view, connection, question).is_none());
            who.map(|view| view.name.clone()).collect::<Vec<_>>().join(", ")
        };
        sheet.row("May use", may(Question::Use));
        sheet.row("May read", may(Question::Read));
        sheet.row("May write", may(Question::Write));
    }
    sheet
}

fn scope(connection: &Connection, facts: Option<&Facts>) -> String {
    let Some(facts) = facts else {
        return connection.spec.members.as_ref().map(|names| names.join(", ")).unwrap_or_default();
    };
    match facts.scope(connection) {
        Scope::All => String::from("every member, those added later too"),
        Scope::Listed(names) if names.is_empty() => String::from("nobody but its owner"),
        Scope::Listed(names) => names.join(", "),
    }
}

fn ready(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> String {
    let ready = output::ready(conditions);
    match (output::reason(conditions), output::message(conditions)) {
        (reason, _) if reason.is_empty() => ready,
        (reason, message) => format!("{ready} ({reason}) {message}"),
    }
}
