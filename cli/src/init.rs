//! `kubectl coffer init`: a vault, ready to be used.

use clap::{Args, ValueEnum};
use coffer_crds::{Vault, annotations::DEFAULT_VAULT};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Failure,
    accept::{self, Answered},
    cluster::Cluster,
    desk::Desk,
    facts::Facts,
    local_key::{self, KeyOptions},
    output::{self, Format},
    pins,
    wait::{self, Waiting},
};

/// Which vault, and how it is.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The vault's name
    #[arg(default_value = "team")]
    pub name: String,
    /// What a credential without a list of members means: for every member, or for its owner alone
    #[arg(long, value_enum, default_value_t)]
    pub sharing: Sharing,
    /// Take only members with a key of their own
    #[arg(long)]
    pub self_only: bool,
    /// Which other namespaces' credentials and pods may use it: `all`, or those with this label
    #[arg(long, value_name = "all|LABEL=VALUE", value_parser = access)]
    pub access: Option<String>,
    /// Credentials of the namespace that name no vault go here
    #[arg(long = "default")]
    pub is_default: bool,
    /// Own it without a key of one's own, although there is one on this machine
    #[arg(long, conflicts_with = "self_only")]
    pub brokered: bool,
    /// The key of the owner.
    #[command(flatten)]
    pub key: KeyOptions,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `Vault.spec.sharing` as it is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sharing {
    /// Every member, those added later too
    #[default]
    All,
    /// Its owner alone, until shared
    Owner,
}

/// Makes the vault unless it is there, waits until it is ready, and brings the caller's key.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let name = &arguments.name;
    let found = cluster.find::<Vault>(name).await?;
    let made = found.is_none();
    let vault = match found {
        Some(vault) => {
            same_settings(&vault, arguments)?;
            vault
        }
        None => cluster.create(manifest(arguments)).await?,
    };
    let generation = vault.metadata.generation;
    let ready = wait::until(desk, cluster, arguments.waiting, name, |vault: Option<&Vault>| match vault {
        Some(vault) => {
            let status = vault.status.clone().unwrap_or_default();
            wait::ready(&format!("vault '{name}'"), &status.conditions, generation)
        }
        None => wait::Look::Never(Failure::NotFound(format!("vault '{name}' was deleted"))),
    })
    .await?;
    let format = desk.options.output;
    let shown = ready.clone().unwrap_or(vault);
    if let Format::Json | Format::Yaml | Format::Name = format {
        output::object(format, &shown, desk.answer)?;
    } else {
        let (what, mark) = (if made { "made" } else { "is there already" }, desk.mark());
        desk.say(&format!("Vault '{name}' {what} in namespace '{}'{mark}.", cluster.namespace))?;
    }
    let Some(vault) = ready else { return Ok(()) };
    pins::trust(&desk.home.pins, cluster, &vault)?;
    if !arguments.brokered {
        let found = bring_key(desk, cluster, name, &arguments.key, arguments.waiting).await?;
        if !found && arguments.self_only {
            desk.note("There is no key on this machine: make one with kubectl coffer key new, then kubectl coffer accept");
        }
    }
    next(desk, cluster, name);
    Ok(())
}

/// An owner of a vault needs no invite, and may bring a key all the same: then only that key opens for them. Says whether
/// there is a key on this machine.
pub(crate) async fn bring_key(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    vault: &str,
    options: &KeyOptions,
    waiting: Waiting,
) -> Result<bool, Failure> {
    let Some(found) = local_key::find(&desk.home, options)? else { return Ok(false) };
    let facts = Facts::of(cluster, Some(vault)).await?;
    let caller = cluster.caller().await?;
    let own = facts.members().find(|member| {
        let view = facts.views.iter().find(|view| view.name == member.name_any());
        view.is_some_and(|view| !view.is_group() && view.is_of(&caller))
    });
    let Some(own) = own.filter(|own| own.spec.acceptance.is_none()) else { return Ok(true) };
    let key = local_key::open_found(desk, &found, options.passphrase_file.as_deref())?;
    let fingerprint = key.public().fingerprint();
    accept::answer(desk, cluster, &facts, own, Answered::With(&key), waiting).await?;
    desk.note(&format!(
        "You are member '{}', with the key {fingerprint}: only it opens what is wrapped for you.",
        own.name_any()
    ));
    Ok(true)
}

fn next(desk: &mut Desk<'_>, cluster: &Cluster, vault: &str) {
    let namespace = &cluster.namespace;
    desk.note(&format!(
        "Next:\n  kubectl coffer -n {namespace} invite user:NAME --vault {vault}\n  \
         kubectl coffer -n {namespace} set NAME --vault {vault} --item token"
    ));
}

fn manifest(arguments: &Arguments) -> Value {
    let mut spec = json!({"sharing": sharing(arguments.sharing)});
    if arguments.self_only {
        spec["custody"] = json!("SelfOnly");
    }
    if let Some(typed) = &arguments.access {
        let namespaces = match typed.split_once('=') {
            Some((label, value)) => json!({"selector": {"matchLabels": {label: value}}}),
            None => json!("All"),
        };
        spec["access"] = json!({"namespaces": namespaces});
    }
    let mut metadata = json!({"name": arguments.name});
    if arguments.is_default {
        metadata["annotations"] = json!({DEFAULT_VAULT: "true"});
    }
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Vault", "metadata": metadata, "spec": spec})
}

fn access(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((label, _)) if !label.is_empty() => Ok(text.to_owned()),
        None if text == "all" => Ok(text.to_owned()),
        Some(_) | None => Err(String::from(
            "write all, or LABEL=VALUE, such as kubernetes.io/metadata.name=ci for the namespace ci alone",
        )),
    }
}

fn sharing(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::All => "All",
        Sharing::Owner => "Owner",
    }
}

/// A vault that is there is left as it is; what was asked for and is otherwise there is told.
fn same_settings(vault: &Vault, arguments: &Arguments) -> Result<(), Failure> {
    let has = |field: &str, is: String, asked: &str| {
        Err(Failure::Conflict(format!(
            "vault '{}' is there already, with {field} {is}, not {asked}: change it with kubectl edit vault {}",
            arguments.name, arguments.name
        )))
    };
    let is = format!("{:?}", vault.spec.sharing);
    if arguments.sharing == Sharing::Owner && is != sharing(arguments.sharing) {
        return has("sharing", is, sharing(arguments.sharing));
    }
    let custody = format!("{:?}", vault.spec.custody);
    if arguments.self_only && custody != "SelfOnly" {
        return has("custody", custody, "SelfOnly");
    }
    Ok(())
}
