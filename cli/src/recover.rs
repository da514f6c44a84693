//! `kubectl coffer recover`: the custodian root is lost, and a member's own key opens what it may. A vault of the same
//! name is made of that, with keys of the present custodian.

mod opened;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use coffer_crds::{Connection, Custody, Subject, Vault, VaultMember, conditions::reason::NOT_ADOPTED};
use coffer_policy::{Caller, identity::with_namespace, writes::owner_for};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    Failure,
    backup::file::Backup,
    cluster::Cluster,
    desk::Desk,
    facts::Facts,
    init,
    local_key::{self, KeyOptions},
    output::{self, reason},
    pins::{self, Pin, Pins},
    sealing::{self, Place},
    set::in_effect,
    subject::show,
    wait::{self, Look, Waiting},
};
use opened::{Opened, Saved};

/// After this a Keyring does not go by itself any more: Kubernetes' garbage collector looks for new kinds every half minute, and
/// knows none whose CustomResourceDefinition was made since.
const COLLECTED: Duration = Duration::from_secs(45);

/// What is recovered, and with which key.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The vault; not needed where the backup holds one
    pub vault: Option<String>,
    /// The file that kubectl coffer backup wrote; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// The key that opens.
    #[command(flatten)]
    pub key: KeyOptions,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Opens what this key opens, makes the vault anew, invites its members again and seals every credential that opened.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let backup = Backup::read(desk, &arguments.from)?;
    let saved = Saved::find(&backup, arguments.vault.as_deref())?;
    let key = local_key::open(desk, &arguments.key)?;
    let opened = saved.open(&Pins::load(&desk.home.pins)?, &key)?;
    told(desk, &saved, &opened)?;
    if desk.options.dry_run {
        return Ok(());
    }
    if opened.credentials.is_empty() {
        return Err(Failure::NotFound(String::from("this key opens nothing of it: nothing is made")));
    }
    let cluster = cluster.at(&saved.namespace());
    let caller = cluster.caller().await?;
    is_owner(&caller, &saved)?;
    nothing_is_there(&cluster, &saved).await?;
    let name = saved.vault.name_any();
    desk.confirm(
        &format!("Vault '{name}' and these {} credentials are made anew. Go on?", opened.credentials.len()),
        arguments.yes,
    )?;
    let vault = make_vault(desk, &cluster, &saved, arguments.waiting).await?;
    init::bring_key(desk, &cluster, &name, &arguments.key, arguments.waiting).await?;
    let facts = Facts::of(&cluster, Some(&name)).await?;
    invite(desk, &cluster, &saved, &facts).await?;
    let owner = owner_for(&caller, &facts.view(), "")?.name.clone();
    for credential in &opened.credentials {
        seal(desk, &cluster, &vault, &owner, credential, arguments.waiting).await?;
    }
    desk.say(&format!(
        "Vault '{name}' is made anew: credentials {}, all of them owned by '{owner}'.",
        opened.credentials.len()
    ))?;
    desk.note(
        "Its members have to accept again, and believe its new key first (kubectl coffer trust); then give credentials back \
         with kubectl coffer transfer. Whatever was sealed for Git before opens no more: seal it anew.",
    );
    Ok(())
}

/// Whoever recovers owns what is made: it is for an owner by the register to do, and not for whoever has some key.
fn is_owner(caller: &Caller, saved: &Saved<'_>) -> Result<(), Failure> {
    let is_caller = |subject: &&Subject| match subject {
        Subject::User(user) => user.name == caller.username,
        Subject::Group(group) => caller.groups.contains(&group.name),
        Subject::ServiceAccount(account) => {
            let namespace = account.namespace.clone().unwrap_or_else(|| saved.namespace());
            caller.username == format!("system:serviceaccount:{namespace}:{}", account.name)
        }
        Subject::External(_) => false,
    };
    if saved.owners().iter().any(is_caller) {
        return Ok(());
    }
    let owners: Vec<_> = saved.owners().into_iter().map(|owner| show(owner, &saved.namespace())).collect();
    Err(Failure::Denied(format!(
        "'{}' is no owner of vault '{}' by its register: an owner recovers it ({}). Nothing is made",
        caller.username,
        saved.vault.name_any(),
        owners.join(", ")
    )))
}

/// What opens, and what does not and why.
fn told(desk: &mut Desk<'_>, saved: &Saved<'_>, opened: &Opened) -> Result<(), Failure> {
    if !opened.is_pinned {
        desk.note(
            "warning: this vault was never seen on this machine: that these are its values is for the file to say alone",
        );
    }
    let name = saved.vault.name_any();
    let line = format!(
        "Vault '{name}' in namespace '{}', member '{}': this key opens {} of {} credentials.",
        saved.namespace(),
        opened.member,
        opened.credentials.len(),
        opened.credentials.len() + opened.closed.len()
    );
    desk.say(&output::harmless(line.as_bytes()))?;
    let names = |subjects: Vec<&Subject>| {
        let shown: Vec<_> = subjects.into_iter().map(|subject| show(subject, &saved.namespace())).collect();
        shown.join(", ")
    };
    let spec = &saved.vault.spec;
    let roles: Vec<_> = spec.roles.iter().map(|role| role.name.as_str()).collect();
    for line in [
        format!("  owners    {}", names(saved.owners())),
        format!(
            "  settings  sharing {:?}, custody {:?}, roles of its own: {} (by the file, which nobody has signed)",
            spec.sharing,
            spec.custody,
            if roles.is_empty() { String::from("none") } else { roles.join(", ") }
        ),
    ] {
        desk.say(&output::harmless(line.as_bytes()))?;
    }
    for credential in &opened.credentials {
        let line = format!("  opens     {}, for {}", credential.place(), credential.members.join(", "));
        desk.say(&output::harmless(line.as_bytes()))?;
    }
    for (place, why) in &opened.closed {
        desk.say(&format!("  is lost   {}: {why}", output::harmless(place.as_bytes())))?;
    }
    Ok(())
}

/// Nothing that is there is written over: it might still be opened, with the root that somebody finds.
async fn nothing_is_there(cluster: &Cluster, saved: &Saved<'_>) -> Result<(), Failure> {
    let (name, namespace) = (saved.vault.name_any(), saved.namespace());
    if cluster.find::<Vault>(&name).await?.is_some() {
        return Err(Failure::Conflict(format!(
            "vault '{name}' is there. If its keys are lost for good, and the backup holds what you want to keep, delete it \
             first: kubectl delete vault -n {namespace} {name}"
        )));
    }
    let members: Vec<VaultMember> = cluster.all().await?;
    if let Some(member) = members.iter().find(|member| member.spec.vault == name) {
        return Err(Failure::Conflict(format!(
            "member '{}' of the vault that is gone is there: delete it first, and all others of that vault: kubectl delete \
             vaultmember -n {namespace} {}",
            member.name_any(),
            member.name_any()
        )));
    }
    for connection in &saved.connections {
        let there = cluster.at(&connection.namespace().unwrap_or_default());
        let name = connection.name_any();
        if there.find::<Connection>(&name).await?.is_some() {
            return Err(Failure::Conflict(format!(
                "credential '{name}' of the vault that is gone is there: delete it first: kubectl delete connection -n {} \
                 {name}",
                there.namespace
            )));
        }
    }
    Ok(())
}

async fn make_vault(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    saved: &Saved<'_>,
    waiting: Waiting,
) -> Result<Vault, Failure> {
    let name = saved.vault.name_any();
    let mut spec = serde_json::to_value(&saved.vault.spec).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("lastWriter");
        fields.insert("owners".into(), json!(saved.owners()));
    }
    let metadata =
        json!({"name": name, "labels": saved.vault.labels(), "annotations": saved.vault.annotations()});
    let manifest =
        json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Vault", "metadata": metadata, "spec": spec});
    cluster.create::<Vault>(manifest).await?;
    let waiting = Waiting { no_wait: false, ..waiting };
    let patience = (Instant::now(), COLLECTED.min(Duration::from_secs(waiting.timeout)));
    let ready = wait::until(desk, cluster, waiting, &name, |vault: Option<&Vault>| match vault {
        Some(vault) => {
            let status = vault.status.clone().unwrap_or_default();
            if reason(&status.conditions) == NOT_ADOPTED {
                return keyring_is_there(&cluster.namespace, &name, patience);
            }
            wait::ready(&format!("vault '{name}'"), &status.conditions, vault.metadata.generation)
        }
        None => Look::Never(Failure::NotFound(format!("vault '{name}' was deleted"))),
    })
    .await?
    .ok_or_else(|| Failure::Unexpected(String::from("the vault was not waited for")))?;
    // Made by this very command: it is the right one.
    let seen = Pin::of(&cluster.server, &ready)?;
    Pins::change(&desk.home.pins, |pins| {
        pins.remember(seen);
        Ok(())
    })?;
    Ok(ready)
}

/// The Keyring of a vault that was deleted a moment ago goes by itself. What was restored under a root that is lost lies there
/// and belongs to nobody; owners may not touch it, nor see which of the two it is.
fn keyring_is_there(namespace: &str, name: &str, (since, patience): (Instant, Duration)) -> Look {
    if since.elapsed() < patience {
        let what = "the Keyring of the vault that is gone: waiting for Kubernetes to take it away";
        return Look::NotYet(format!("vault '{name}': {what}"));
    }
    Look::Never(Failure::Conflict(format!(
        "the Keyring of the vault that is gone is in the place of the new one. A cluster administrator takes it and the \
         Envelopes of its credentials away: kubectl delete keyring -n {namespace} {name}; kubectl delete envelopes -n \
         {namespace} --all, if no other vault has any there. Then delete the vault that was made now (kubectl delete vault -n \
         {namespace} {name}) and run this again"
    )))
}

/// Invites whoever was in the register and is no member of the new vault. A key of one's own is pinned: nobody else takes
/// the invite.
async fn invite(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    saved: &Saved<'_>,
    facts: &Facts,
) -> Result<(), Failure> {
    for entry in &saved.keyring.spec.members {
        let same = |member: &VaultMember| {
            with_namespace(&member.spec.subject, &cluster.namespace) == entry.subject
                && !matches!(entry.subject, Subject::External(_))
        };
        if facts.members().any(same) {
            continue;
        }
        if !saved.is_in_force(entry) {
            desk.note(&format!("member '{}' was suspended or over, and is not invited again", entry.name));
            continue;
        }
        let before = saved.member(&entry.name);
        let mut spec = json!({"vault": facts.name(), "subject": entry.subject, "role": entry.role});
        if let Some(before) = before {
            spec["expiresAt"] = json!(before.spec.expires_at);
            spec["ttl"] = json!(before.spec.ttl);
            spec["rateLimit"] = json!(before.spec.rate_limit);
        }
        if entry.custody == Custody::Own {
            spec["keyFingerprint"] = json!(
                entry.key_hash.as_deref().map(|hash| { format!("SHA256:{}", hash.trim_end_matches('=')) })
            );
        }
        let manifest = json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember", "metadata": {"name": entry.name}, "spec": spec,
        });
        match cluster.create::<VaultMember>(manifest).await {
            Ok(_) => desk.note(&format!("member '{}' is invited again", entry.name)),
            Err(failure) => desk.note(&format!("member '{}' is not invited: {failure}", entry.name)),
        }
    }
    Ok(())
}

/// Makes one credential anew, for whoever it was for.
async fn seal(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    vault: &Vault,
    owner: &str,
    credential: &opened::Credential,
    waiting: Waiting,
) -> Result<(), Failure> {
    let connection = &credential.connection;
    let there = cluster.at(&connection.namespace().unwrap_or_default());
    let name = connection.name_any();
    let trusted = pins::trust(&desk.home.pins, cluster, vault)?;
    let place = Place { namespace: &there.namespace, connection: &name, owner };
    let sealed = sealing::seal(&trusted, &place, &credential.values);
    let mut spec: Map<String, Value> = match serde_json::to_value(&connection.spec) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    spec.remove("lastWriter");
    spec.insert("owner".into(), json!(owner));
    spec.insert("sealedData".into(), json!(sealed));
    spec.insert("members".into(), json!(credential.members));
    let metadata =
        json!({"name": name, "labels": connection.labels(), "annotations": connection.annotations()});
    let manifest = json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Connection", "metadata": metadata, "spec": spec});
    let made: Connection = there.create(manifest).await?;
    desk.note(&format!("credential '{}/{name}' is sealed anew", there.namespace));
    in_effect(desk, &there, waiting, &made).await
}
