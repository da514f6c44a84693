//! `kubectl coffer backup`: the objects of vaults in one file. All of it is ciphertext, names and public keys.

pub(crate) mod file;

use std::path::PathBuf;

use clap::Args;
use coffer_crds::{Connection, Envelope, Keyring, Vault, VaultMember};
use kube::{Resource, api::DynamicObject};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Failure,
    cluster::Cluster,
    command::Everywhere,
    desk::Desk,
    home,
    output::{self, Format},
};

/// What is saved, and where.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Where.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// The file to write, which must not be there yet; standard output by default
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Reads the five kinds that a vault is made of and writes them as one list, in the order in which they are restored.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let everywhere = arguments.everywhere.all_namespaces;
    // Whatever is written meanwhile: an Envelope is never newer than the Keyring that is read after it.
    let envelopes = read::<Envelope>(cluster, everywhere).await?;
    let connections = read::<Connection>(cluster, everywhere).await?;
    let members = read::<VaultMember>(cluster, everywhere).await?;
    let vaults = read::<Vault>(cluster, everywhere).await?;
    let keyrings = read::<Keyring>(cluster, everywhere).await?;
    if vaults.is_empty() {
        let place = if everywhere {
            String::from("the cluster")
        } else {
            format!("namespace '{}'", cluster.namespace)
        };
        return Err(Failure::NotFound(format!("there is no vault in {place}: nothing to save")));
    }
    let said = format!(
        "Saved: vaults {}, members {}, credentials {}.",
        vaults.len(),
        members.len(),
        connections.len()
    );
    warn_of_others(desk, &vaults, &connections, everywhere);
    let items: Vec<Value> =
        [keyrings, envelopes, members, vaults, connections].into_iter().flatten().map(file::saved).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let format = match desk.options.output {
        Format::Json => Format::Json,
        Format::Table | Format::Wide | Format::Yaml => Format::Yaml,
        Format::Name => return Err(Failure::Usage(String::from("backup prints a list: -o yaml or -o json"))),
    };
    match &arguments.file {
        None => output::value(format, &list, desk.answer)?,
        Some(path) => {
            let mut text = Vec::new();
            output::value(format, &list, &mut text)?;
            if !desk.options.dry_run {
                home::write_private(path, &text)?;
            }
        }
    }
    desk.note(&format!("{said}{}", desk.mark()));
    desk.note(
        "No key is in it. Keep the Secrets of the custodian apart from it, or restore it where they are: see the \
         guide to backup and restore.",
    );
    Ok(())
}

const WHO_MAY: &str = "A backup takes the right to list Keyrings and Envelopes, which the chart's restoreUsers and cluster \
                       administrators have";

async fn read<K>(cluster: &Cluster, everywhere: bool) -> Result<Vec<DynamicObject>, Failure>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let listed = cluster.list::<K>(everywhere).await.map_err(|failure| {
        let denied = matches!(failure, Failure::Denied(_));
        if denied { failure.with(WHO_MAY) } else { failure }
    })?;
    Ok(listed.into_iter().map(|listed| listed.raw).collect())
}

/// Credentials of a vault may lie in other namespaces.
fn warn_of_others(
    desk: &mut Desk<'_>,
    vaults: &[DynamicObject],
    connections: &[DynamicObject],
    everywhere: bool,
) {
    if everywhere {
        return;
    }
    let text = |object: &DynamicObject, field: &str| {
        object.data.pointer(field).and_then(Value::as_str).map(String::from)
    };
    for vault in vaults {
        let name = vault.metadata.name.clone().unwrap_or_default();
        let all = vault.data.pointer("/status/connections").and_then(Value::as_u64).unwrap_or_default();
        let here = connections.iter().filter(|connection| {
            let there =
                text(connection, "/spec/vault/namespace").or_else(|| connection.metadata.namespace.clone());
            text(connection, "/spec/vault/name").as_ref() == Some(&name) && there == vault.metadata.namespace
        });
        let elsewhere = all.saturating_sub(here.count() as u64);
        if elsewhere > 0 {
            desk.note(&format!(
                "warning: {elsewhere} credentials of vault '{name}' are not in it: they lie in other namespaces. -A saves \
                 all namespaces"
            ));
        }
    }
}
