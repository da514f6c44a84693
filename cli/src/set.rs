//! `kubectl coffer set`: values and settings of a Connection, sealed here.

mod difference;

use clap::Args;
use coffer_crds::{Connection, Vault};
use coffer_policy::writes::owner_for;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts::{Facts, NewConnection},
    output::{self, Format},
    pins,
    sealing::{self, Place},
    settings::Settings,
    share,
    values::Sources,
    wait::{self, Look, Waiting},
};

/// What is set.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection's name
    pub name: String,
    /// The vault; not needed where there is one, for a Connection that is there, or for the default vault
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub vault: Option<String>,
    /// Values.
    #[command(flatten)]
    pub sources: Sources,
    /// Everything else.
    #[command(flatten)]
    pub settings: Settings,
    /// Take an item out
    #[arg(long, value_name = "ITEM")]
    pub remove_item: Vec<String>,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Makes a Connection, or gives one other values and settings.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let name = &arguments.name;
    let vault = arguments.vault.as_deref();
    let new = NewConnection { name, vault, fields: &arguments.settings.but_members()? };
    let (before, facts) = Facts::with_or_for(cluster, &new).await?;
    if vault.is_some_and(|typed| !facts.is_vault(typed)) {
        return Err(Failure::Conflict(format!(
            "connection '{name}' is in vault '{}' and never moves: delete it and make it there",
            facts.name()
        )));
    }
    let mut fields = arguments.settings.fields(Some(&facts.active()))?;
    let listed = fields.get("members").and_then(Value::as_array).into_iter().flatten();
    let listed: Vec<String> = listed.filter_map(Value::as_str).map(String::from).collect();
    share::unknown(desk, &facts, &listed);
    let owner = owner(cluster, &facts, before.as_ref(), name).await?;
    let sealed = seal(desk, cluster, &facts.vault, arguments, &owner).await?;
    if before.is_none() && sealed.is_empty() {
        return Err(Failure::Usage(format!(
            "there is no connection '{name}' in namespace '{}', and no value to make one of: name items (--item token)",
            cluster.namespace
        )));
    }
    let mut items: Map<String, Value> = sealed.into_iter().map(|(item, text)| (item, json!(text))).collect();
    for item in &arguments.remove_item {
        items.insert(item.clone(), Value::Null);
    }
    let lines = difference::lines(before.as_ref(), &fields, &items);
    if !items.is_empty() {
        fields.insert("sealedData".into(), Value::Object(items));
    }
    if before.is_some() && fields.is_empty() {
        return desk.say(&format!("Connection '{name}': nothing was asked for, nothing is changed."));
    }
    let written = write(cluster, &facts, before.as_ref(), name, fields).await?;
    told(desk, before.is_none(), &written, &lines)?;
    in_effect(desk, cluster, arguments.waiting, &written).await
}

/// Whom values are sealed for: the owner that the Connection has, or gets.
async fn owner(
    cluster: &Cluster,
    facts: &Facts,
    before: Option<&Connection>,
    name: &str,
) -> Result<String, Failure> {
    match before.and_then(|connection| connection.spec.owner.clone()) {
        Some(owner) => Ok(owner),
        None => {
            let caller = cluster.caller().await?;
            Ok(owner_for(&caller, &facts.view(), name)?.name.clone())
        }
    }
}

async fn seal(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    vault: &Vault,
    arguments: &Arguments,
    owner: &str,
) -> Result<std::collections::BTreeMap<String, String>, Failure> {
    if arguments.sources.are_none() {
        return Ok(std::collections::BTreeMap::new());
    }
    // Before anybody types anything.
    let trusted = pins::trust(&desk.home.pins, cluster, vault)?;
    let values = arguments.sources.read(desk)?;
    let place = Place { namespace: &cluster.namespace, connection: &arguments.name, owner };
    Ok(sealing::seal(&trusted, &place, &values))
}

async fn write(
    cluster: &Cluster,
    facts: &Facts,
    before: Option<&Connection>,
    name: &str,
    mut fields: Map<String, Value>,
) -> Result<Connection, Failure> {
    if let Some(before) = before {
        return cluster.change(before, &Value::Object(fields)).await;
    }
    if let Some(items) = fields.get_mut("sealedData").and_then(Value::as_object_mut) {
        items.retain(|_, value| !value.is_null());
    }
    let namespace = facts.vault.namespace().filter(|namespace| *namespace != cluster.namespace);
    let mut reference = json!({"name": facts.name()});
    if let Some(namespace) = namespace {
        reference["namespace"] = json!(namespace);
    }
    fields.insert("vault".into(), reference);
    let manifest = json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name}, "spec": fields});
    cluster.create(manifest).await
}

fn told(desk: &mut Desk<'_>, made: bool, written: &Connection, lines: &[String]) -> Result<(), Failure> {
    let format = desk.options.output;
    if let Format::Json | Format::Yaml | Format::Name = format {
        return output::object(format, written, desk.answer);
    }
    let (what, mark) = (if made { "made" } else { "changed" }, desk.mark());
    let vault = written.spec.vault.as_ref().and_then(|vault| vault.name.clone()).unwrap_or_default();
    desk.say(&format!("Connection '{}' in vault '{vault}' is {what}{mark}:", written.name_any()))?;
    lines.iter().try_for_each(|line| desk.say(&format!("  {line}")))
}

/// Waits until the operator has sealed it for everyone who may have it.
pub(crate) async fn in_effect(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    waiting: Waiting,
    written: &Connection,
) -> Result<(), Failure> {
    let (name, generation) = (written.name_any(), written.metadata.generation);
    let look = |connection: Option<&Connection>| match connection {
        Some(connection) => {
            let status = connection.status.clone().unwrap_or_default();
            if status.observed_generation < generation {
                return Look::NotYet(format!("connection '{name}': waiting for the operator"));
            }
            wait::ready(&format!("connection '{name}'"), &status.conditions, generation)
        }
        None => Look::Never(Failure::NotFound(format!("connection '{name}' was deleted"))),
    };
    wait::until(desk, cluster, waiting, &name, look).await.map(drop)
}
