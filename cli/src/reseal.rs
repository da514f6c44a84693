//! `kubectl coffer reseal`: the same values, sealed to the vault's present key. Afterwards nothing needs an older custodian
//! root any more.

mod found;
mod manifest;

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use coffer_broker_api::ReleasedConnection;
use coffer_crds::{Connection, ReleaseConnection};
use coffer_keys::SecretBytes;
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    Failure,
    asking::{self, Asking},
    cluster::Cluster,
    desk::Desk,
    output::{self, Format},
    sealing::{self, Place},
    set::in_effect,
    values::Values,
    wait::{self, Look, Waiting},
};
use found::{Believed, Vaults, older_keys};

/// What is sealed again.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connections
    pub names: Vec<String>,
    /// Every Connection of the namespace that is sealed to an older key
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Change nothing in the cluster: print this manifest, which lies in Git, sealed again; `-` is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", conflicts_with_all = ["names", "all"])]
    pub file: Option<PathBuf>,
    /// How the values are asked for.
    #[command(flatten)]
    pub asking: Asking,
    /// Do not wait until it is in effect
    #[arg(long)]
    pub no_wait: bool,
}

/// Seals again what is named, or says what there is to be sealed again.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    if let Some(file) = &arguments.file {
        return manifest::run(desk, cluster, arguments, file).await;
    }
    if cluster.dry_run {
        return found::print(desk, cluster, arguments).await;
    }
    if arguments.names.is_empty() && !arguments.all {
        return Err(Failure::Usage(String::from(
            "say what: names of Connections, --all, or a manifest with -f FILE; --dry-run lists what is sealed to an older \
             key",
        )));
    }
    let mut vaults = Vaults::default();
    let mut wanted = Vec::new();
    for name in &arguments.names {
        wanted.push(cluster.get::<Connection>(name).await?);
    }
    if arguments.all {
        wanted = found::older(desk, cluster, arguments, &mut vaults).await?;
        if wanted.is_empty() {
            desk.note(&format!("Nothing in namespace {} is sealed to an older key.", cluster.namespace));
        }
    }
    let (count, mut left) = (wanted.len(), Vec::new());
    for connection in &wanted {
        match one(desk, cluster, arguments, &mut vaults, connection).await {
            Ok(()) => {}
            Err(failure) if count == 1 => return Err(failure),
            // What cannot be done for one says nothing about the next; what nobody answers does.
            Err(failure @ (Failure::Unreachable(_) | Failure::NotNow(_))) => {
                return Err(failure.with("The rest stays as it is: run it again"));
            }
            Err(failure) => {
                desk.note(&format!("Connection '{}' stays as it is: {failure}", connection.name_any()));
                left.push(failure);
            }
        }
    }
    let said = format!("{} of {count} connections stay as they are", left.len());
    left.pop().map_or(Ok(()), |last| Err(last.with(&said)))
}

/// Seals one again, and waits until that is in effect.
async fn one(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
    vaults: &mut Vaults,
    before: &Connection,
) -> Result<(), Failure> {
    let name = before.name_any();
    let believed = vaults.of(desk, cluster, before).await?;
    let present = believed.trusted.intake.kid();
    if older_keys(&before.spec.sealed_data, present).is_empty() {
        return desk.say(&format!("Connection '{name}' is sealed to the present key, {present}, already."));
    }
    let sealed = sealed_again(desk, cluster, arguments, believed, before).await?;
    let written: Connection = cluster.change(before, &json!({"sealedData": sealed})).await?;
    let waiting =
        Waiting { no_wait: arguments.no_wait, timeout: arguments.asking.timeout, ..Waiting::default() };
    in_effect(desk, cluster, waiting, &written).await?;
    match desk.options.output {
        format @ (Format::Json | Format::Yaml | Format::Name) => output::object(format, &written, desk.answer),
        Format::Table | Format::Wide => desk.say(&format!(
            "Connection '{name}' is sealed to the present key, {present}: the same values, and so no new version."
        )),
    }
}

/// The values that are in effect, sealed to the present key for the same owner and items.
async fn sealed_again(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
    believed: &Believed,
    connection: &Connection,
) -> Result<BTreeMap<String, String>, Failure> {
    let name = connection.name_any();
    in_effect_now(connection)?;
    let owner = connection.spec.owner.as_deref().unwrap_or_default();
    let namespace = connection.namespace().unwrap_or_else(|| cluster.namespace.clone());
    let vault = &believed.vault;
    let there = cluster.at(&vault.namespace().unwrap_or_else(|| namespace.clone()));
    let reason = arguments.asking.reason.clone().unwrap_or_else(|| String::from("kubectl coffer reseal"));
    let asking = Asking { vault: Some(vault.name_any()), reason: Some(reason), ..arguments.asking.clone() };
    let wanted =
        ReleaseConnection { name: name.clone(), namespace: Some(namespace.clone()), items: Vec::new() };
    let mut released = asking::ask(desk, &there, &asking, vec![wanted]).await?;
    let released = released.pop().ok_or_else(|| Failure::Unexpected(String::from("the answer is empty")))?;
    check(&released, connection, &namespace)?;
    let values: Values = released
        .items
        .iter()
        .map(|(item, value)| (item.clone(), SecretBytes::new(value.expose().to_vec())))
        .collect();
    let place = Place { namespace: &namespace, connection: &name, owner };
    Ok(sealing::seal(&believed.trusted, &place, &values))
}

/// Only what is in effect is sealed again: otherwise a value of before could take the place of one that was written a
/// moment ago, or of one that nobody can open.
fn in_effect_now(connection: &Connection) -> Result<(), Failure> {
    let what = format!("connection '{}'", connection.name_any());
    let status = connection.status.clone().unwrap_or_default();
    let generation = connection.metadata.generation;
    let look = if status.observed_generation < generation {
        Look::NotYet(format!("{what}: waiting for the operator"))
    } else {
        wait::ready(&what, &status.conditions, generation)
    };
    match look {
        Look::Done => Ok(()),
        Look::Never(failure) => Err(failure),
        Look::NotYet(state) | Look::Part(_, _, state) => Err(Failure::Conflict(format!(
            "{state}. Values are sealed again while all of the spec is in effect; kubectl coffer set gives it other ones"
        ))),
    }
}

/// Whether the answer is this Connection's, by its name and not by somebody's alias, and as new as what is in effect.
fn check(released: &ReleasedConnection, connection: &Connection, namespace: &str) -> Result<(), Failure> {
    let name = connection.name_any();
    let is_it = released.name == name
        && released.namespace == namespace
        && released.items.keys().eq(connection.spec.sealed_data.keys());
    if !is_it {
        return Err(Failure::Conflict(format!(
            "the broker answered with other values than those of '{namespace}/{name}': nothing is sealed"
        )));
    }
    let version = connection.status.as_ref().and_then(|status| status.version);
    if Some(released.version) == version {
        return Ok(());
    }
    Err(Failure::Conflict(format!(
        "the broker answered with version {} of '{name}', and version {} is in effect: run it again",
        released.version,
        version.unwrap_or_default()
    )))
}
