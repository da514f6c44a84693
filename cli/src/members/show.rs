//! `kubectl coffer members show`.

use clap::Args;
use coffer_crds::{Connection, VaultMember};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::list::custody;
use crate::{
    Failure,
    cluster::Cluster,
    decision,
    desk::Desk,
    facts::Facts,
    output::{self, Format, Sheet},
    subject,
};

/// Which member.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The member
    pub name: String,
}

/// Prints what may be known of a member.
pub(super) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let member: VaultMember = cluster.get(&arguments.name).await?;
    let format = desk.options.output;
    if let Format::Json | Format::Yaml | Format::Name = format {
        return output::object(format, &member, desk.answer);
    }
    let facts = Facts::of(cluster, Some(&member.spec.vault)).await?;
    let connections: Vec<Connection> = cluster.all().await?;
    let usable = decision::usable(&facts, &member.name_any(), &connections);
    let sheet = sheet(&member, &usable, &cluster.namespace);
    desk.say(sheet.text().trim_end())
}

fn sheet(member: &VaultMember, usable: &[String], namespace: &str) -> Sheet {
    let status = member.status.clone().unwrap_or_default();
    let mut sheet = Sheet::default();
    sheet.row("Name", member.name_any());
    sheet.row("Vault", member.spec.vault.clone());
    sheet.row("Subject", subject::show(&member.spec.subject, namespace));
    sheet.row("Role", member.spec.role.clone());
    sheet.row("Phase", status.phase.map_or_else(|| String::from("Unknown"), |phase| format!("{phase:?}")));
    sheet.row("Why", output::message(&status.conditions));
    sheet.row("Custody", status.custody.map(custody).unwrap_or_default());
    sheet.row("Key", status.key_fingerprint.unwrap_or_default());
    sheet.row("Invited by", member.spec.invited_by.clone().map(|author| author.username).unwrap_or_default());
    sheet.row("Expires", member.spec.expires_at.as_ref().map(|time| time.0.to_string()).unwrap_or_default());
    sheet.row("Lasts", member.spec.ttl.clone().unwrap_or_default());
    sheet.row("Age", output::age(member.metadata.creation_timestamp.as_ref(), Timestamp::now()));
    sheet.list("May use", usable);
    sheet
}
