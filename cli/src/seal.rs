//! `kubectl coffer seal`: a manifest for Git, sealed here, also without a cluster.

use std::path::PathBuf;

use clap::Args;
use coffer_crds::Vault;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts::{self, Facts, NewConnection},
    output::{self, Format},
    pins::{self, Trusted},
    seal_key::{self, SealKey},
    sealing::{self, Place},
    settings::Settings,
    values::Sources,
};

/// What is sealed, and for whom.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection's name: what is sealed opens under no other
    pub name: String,
    /// The member that owns it: what is sealed opens for no other
    #[arg(long)]
    pub owner: String,
    /// The vault; not needed where there is one, or for the default vault
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with = "seal_key")]
    pub vault: Option<String>,
    /// Seal without a cluster, to a key saved by `kubectl coffer seal-key`
    #[arg(long, value_name = "FILE")]
    pub seal_key: Option<PathBuf>,
    /// The vault's key as its owners told it, where the vault was never seen on this machine: kubectl coffer trust shows
    /// it
    #[arg(long, value_name = "KEY", requires = "seal_key")]
    pub trust: Option<String>,
    /// Values.
    #[command(flatten)]
    pub sources: Sources,
    /// Everything else.
    #[command(flatten)]
    pub settings: Settings,
}

/// Prints a Connection that can lie in Git: only the operator of this very vault opens it.
pub(crate) async fn run(desk: &mut Desk<'_>, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.sources.are_none() {
        return Err(Failure::Usage(String::from(
            "no value is named: --item token asks for one, --from-file token=PATH takes one from a file",
        )));
    }
    let (trusted, vault, namespace, current) = match &arguments.seal_key {
        Some(file) => {
            let key = SealKey::read(file)?;
            let trusted = seal_key::trust(&desk.home.pins, &key, arguments.trust.as_deref())?;
            let namespace = desk.options.namespace.clone().unwrap_or_else(|| key.namespace.clone());
            (trusted, (key.vault, key.namespace), namespace, None)
        }
        None => {
            let cluster = Cluster::connect(&desk.options).await?;
            let (trusted, vault, current) = of_cluster(desk, &cluster, arguments).await?;
            let there = vault.namespace().unwrap_or_else(|| cluster.namespace.clone());
            (trusted, (vault.name_any(), there), cluster.namespace, Some(current))
        }
    };
    let mut spec = arguments.settings.fields(current.as_deref())?;
    let values = arguments.sources.read(desk)?;
    let place = Place { namespace: &namespace, connection: &arguments.name, owner: &arguments.owner };
    let sealed = sealing::seal(&trusted, &place, &values);
    let (vault, there) = vault;
    let mut reference = json!({"name": vault});
    if there != namespace {
        reference["namespace"] = json!(there);
    }
    spec.insert("vault".into(), reference);
    spec.insert("owner".into(), json!(arguments.owner));
    spec.insert("sealedData".into(), json!(sealed));
    print(desk, &arguments.name, &namespace, &Value::Object(spec))
}

async fn of_cluster(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(Trusted, Vault, Vec<String>), Failure> {
    let new = NewConnection {
        name: &arguments.name,
        vault: arguments.vault.as_deref(),
        fields: &arguments.settings.but_members()?,
    };
    let wants_current = arguments.settings.members.iter().flatten().any(|name| name == "current");
    // Who the members are is looked at only where it matters: sealing takes no right but to read the vault.
    let (vault, current) = if wants_current {
        let facts = Facts::for_new(cluster, &new).await?;
        let current = facts.active();
        (facts.vault, current)
    } else {
        (facts::vault_for_new(cluster, &new).await?, Vec::new())
    };
    let trusted = pins::trust(&desk.home.pins, cluster, &vault)?;
    Ok((trusted, vault, current))
}

fn print(desk: &mut Desk<'_>, name: &str, namespace: &str, spec: &Value) -> Result<(), Failure> {
    let manifest = json!({
        "apiVersion": "coffer.dev/v1alpha1",
        "kind": "Connection",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    });
    let format = match desk.options.output {
        Format::Json => Format::Json,
        // A manifest is what this verb is for.
        Format::Table | Format::Wide | Format::Yaml => Format::Yaml,
        Format::Name => {
            return Err(Failure::Usage(String::from("seal prints a manifest: -o yaml or -o json")));
        }
    };
    output::value(format, &manifest, desk.answer)
}
