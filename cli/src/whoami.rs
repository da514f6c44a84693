//! `kubectl coffer whoami`.

use std::collections::BTreeMap;

use clap::Args;
use coffer_crds::{Vault, VaultMember};
use coffer_keys::member_key::MemberPublicKey;
use coffer_policy::{Caller, MemberView};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Failure,
    cluster::Cluster,
    command::Everywhere,
    desk::Desk,
    local_key::{self, KeyOptions},
    output::{self, Format, Sheet},
};

/// How far to look.
#[derive(Clone, Debug, Default, Args)]
pub struct Arguments {
    /// How far.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// The key.
    #[command(flatten)]
    pub key: KeyOptions,
}

/// One membership of the caller.
struct Own {
    namespace: String,
    vault: String,
    view: MemberView,
}

/// Prints who the API server takes the caller for, the local key, and where the caller is a member.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let user = cluster.user().await?;
    let caller = Caller {
        username: user.username.clone().unwrap_or_default(),
        uid: user.uid.clone(),
        groups: user.groups.clone().unwrap_or_default(),
    };
    let format = desk.options.output;
    if format == Format::Name {
        return desk.say(&caller.username);
    }
    let key = match local_key::find(&desk.home, &arguments.key) {
        Ok(found) => found.map(|found| local_key::public(&found)).transpose(),
        Err(failure) => Err(failure),
    };
    // Who may see no vaults is somebody all the same.
    let own = memberships(cluster, &caller, arguments.everywhere.all_namespaces).await;
    if let Format::Json | Format::Yaml = format {
        let mut value = serde_json::to_value(&user).unwrap_or_default();
        value["key"] = key.ok().flatten().map_or(
            Value::Null,
            |key| json!({"fingerprint": key.fingerprint().to_string(), "publicKey": key.to_text()}),
        );
        let list = own.unwrap_or_default().into_iter().map(|own| {
            json!({"namespace": own.namespace, "vault": own.vault, "member": own.view.name, "role": own.view.role,
                "state": format!("{:?}", own.view.state)})
        });
        value["memberships"] = list.collect();
        return output::value(format, &value, desk.answer);
    }
    desk.say(sheet(&caller, key, own, &cluster.namespace, arguments).text().trim_end())
}

fn sheet(
    caller: &Caller,
    key: Result<Option<MemberPublicKey>, Failure>,
    own: Result<Vec<Own>, Failure>,
    namespace: &str,
    arguments: &Arguments,
) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.row("User", caller.username.clone());
    sheet.row("UID", caller.uid.clone().filter(|uid| !uid.is_empty()).unwrap_or_else(|| "-".to_owned()));
    sheet.list("Groups", &caller.groups);
    sheet.row(
        "Key",
        match key {
            Ok(Some(key)) => key.fingerprint().to_string(),
            Ok(None) => String::from("none on this machine (kubectl coffer key new makes one)"),
            Err(failure) => failure.to_string(),
        },
    );
    let lines = own.map(|own| {
        let line = |own: Own| {
            format!(
                "{}/{} as '{}', {}, {:?}",
                own.namespace, own.vault, own.view.name, own.view.role, own.view.state
            )
        };
        own.into_iter().map(line).collect::<Vec<_>>()
    });
    match lines {
        Ok(lines) if lines.is_empty() && !arguments.everywhere.all_namespaces => {
            sheet.row("Member of", format!("no vault in namespace {namespace} (-A looks in all)"));
        }
        Ok(lines) => sheet.list("Member of", &lines),
        Err(failure) => sheet.row("Member of", format!("cannot be seen: {failure}")),
    }
    sheet
}

async fn memberships(cluster: &Cluster, caller: &Caller, everywhere: bool) -> Result<Vec<Own>, Failure> {
    let vaults = cluster.list::<Vault>(everywhere).await?.into_iter().filter_map(|listed| listed.parsed.ok());
    let members: Vec<VaultMember> =
        cluster.list(everywhere).await?.into_iter().filter_map(|listed| listed.parsed.ok()).collect();
    let mut by_namespace: BTreeMap<String, Vec<VaultMember>> = BTreeMap::new();
    for member in members {
        by_namespace.entry(member.namespace().unwrap_or_default()).or_default().push(member);
    }
    let mut own = Vec::new();
    for vault in vaults {
        let namespace = vault.namespace().unwrap_or_default();
        let members = by_namespace.get(&namespace).map(Vec::as_slice).unwrap_or_default();
        let views = coffer_policy::identity::from_status(&vault, members, Timestamp::now());
        own.extend(views.into_iter().filter(|view| view.is_of(caller)).map(|view| Own {
            namespace: namespace.clone(),
            vault: vault.name_any(),
            view,
        }));
    }
    Ok(own)
}
