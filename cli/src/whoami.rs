//! `kubectl coffer whoami`.

use clap::Args;
use coffer_keys::member_key::MemberPublicKey;
use coffer_policy::Caller;
use serde_json::{Value, json};

use crate::{
    Failure,
    cluster::Cluster,
    command::Everywhere,
    desk::Desk,
    local_key::{self, KeyOptions},
    memberships::{Own, memberships},
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
