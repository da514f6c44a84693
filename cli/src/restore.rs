//! `kubectl coffer restore`: what `backup` saved, made again where it is gone.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use coffer_crds::{
    Connection, Keyring, MemberPhase, Subject, Vault, VaultMember, VaultSpec, annotations::RESTORE,
    conditions::reason,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Resource, ResourceExt as _, api::ObjectMeta};
use serde_json::json;

use crate::{
    Failure,
    backup::file::Backup,
    cluster::{Cluster, Kind, within},
    decision::is_of,
    desk::Desk,
    output::{harmless, message, reason as reason_of},
    subject::show,
    wait::{self, Look, Waiting},
};

/// What is restored.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The file that kubectl coffer backup wrote; - reads it from standard input
    pub file: PathBuf,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Makes what is gone, has each Keyring adopted by its Vault, waits until everything is sealed for who came back, and
/// says who is to accept again. What is there is left as it is, so that it may be run again.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let backup = Backup::read(desk, &arguments.file)?;
    namespaces(cluster, &backup).await?;
    for vault in &backup.vaults {
        same_keys(cluster, vault, backup.keyring(vault)).await?;
    }
    let mut count = Count::default();
    count.make(cluster, &backup.keyrings).await?;
    count.make(cluster, &backup.envelopes).await?;
    count.make(cluster, &backup.members).await?;
    count.make(cluster, &backup.vaults).await?;
    count.make(cluster, &backup.connections).await?;
    let mark = desk.mark();
    desk.say(&format!(
        "Restored: {} objects; {} were there and are left as they are{mark}.",
        count.made, count.there
    ))?;
    if desk.options.dry_run {
        return Ok(());
    }
    for vault in &backup.vaults {
        let cluster = cluster.at(&vault.namespace().unwrap_or_default());
        adopt(&cluster, vault).await?;
    }
    for vault in &backup.vaults {
        let cluster = cluster.at(&vault.namespace().unwrap_or_default());
        wait_for(desk, &cluster, arguments.waiting, &vault.name_any()).await?;
    }
    if arguments.waiting.no_wait {
        return Ok(());
    }
    for vault in &backup.vaults {
        let cluster = cluster.at(&vault.namespace().unwrap_or_default());
        report(desk, &cluster, vault, &backup).await?;
    }
    Ok(())
}

/// Namespaces are not Coffer's to make: they have labels, quotas and rights of their own.
async fn namespaces(cluster: &Cluster, backup: &Backup) -> Result<(), Failure> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let named = backup.vaults.iter().map(|vault| vault.namespace());
    let named = named.chain(backup.connections.iter().map(|connection| connection.namespace()));
    let named: BTreeSet<String> = named.flatten().collect();
    let mut missing = Vec::new();
    for name in named {
        match within(async { Ok(api.get_opt(&name).await?) }).await {
            Ok(None) => missing.push(name),
            // Who may not look at namespaces is told by the first object that has none.
            Ok(Some(_)) | Err(Failure::Denied(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::NotFound(format!(
        "namespaces are missing: {}. Make them with the labels that they had, and run this again",
        missing.join(", ")
    )))
}

/// What was done.
#[derive(Default)]
struct Count {
    made: usize,
    there: usize,
}

impl Count {
    async fn make<K: Kind>(&mut self, cluster: &Cluster, objects: &[K]) -> Result<(), Failure> {
        for object in objects {
            let cluster = cluster.at(&object.meta().namespace.clone().unwrap_or_default());
            let name = object.meta().name.clone().unwrap_or_default();
            match cluster.make(&afresh(object)).await {
                Ok(_) => self.made += 1,
                Err(Failure::Conflict(_)) if cluster.find::<K>(&name).await?.is_some() => self.there += 1,
                Err(failure) => return Err(refused::<K>(&cluster.namespace, &name, failure)),
            }
        }
        Ok(())
    }
}

/// The object without what belongs to the one that was saved.
fn afresh<K: Kind>(object: &K) -> K {
    let mut made = object.clone();
    let ObjectMeta { name, namespace, labels, annotations, .. } = object.meta().clone();
    *made.meta_mut() = ObjectMeta { name, namespace, labels, annotations, ..ObjectMeta::default() };
    made
}

fn refused<K: Resource<DynamicType = ()>>(namespace: &str, name: &str, failure: Failure) -> Failure {
    let what = format!("{} '{namespace}/{name}'", K::kind(&()));
    if let Failure::Denied(text) = &failure {
        return Failure::Denied(format!(
            "{what}: {text}. Who restores is named in the chart (restoreUsers), which gives the rights for it. What was made \
             stays; run this again when that is so"
        ));
    }
    failure.with(&format!("It was about {what}; what was made stays, and running this again goes on"))
}

/// A vault that was made anew has other keys, and its Keyring is in the place of the saved one: nothing of the backup would
/// open under it.
async fn same_keys(cluster: &Cluster, vault: &Vault, saved: Option<&Keyring>) -> Result<(), Failure> {
    let cluster = cluster.at(&vault.namespace().unwrap_or_default());
    let (name, namespace) = (vault.name_any(), &cluster.namespace);
    let live = cluster.find::<Keyring>(&name).await?.map(|keyring| keyring.spec.vault_id);
    let other = live.is_some() && live.as_ref() != saved.map(|keyring| &keyring.spec.vault_id);
    if !other {
        return Ok(());
    }
    Err(Failure::Conflict(format!(
        "vault '{name}' in namespace '{namespace}' was made anew, with keys of its own: what the backup holds does not open \
         under them. If nothing in it is needed: kubectl delete vault -n {namespace} {name}, and its credentials; then run \
         this again. Nothing is done"
    )))
}

/// Says of the Vault that it takes the place of the one that its Keyring was written for, if it is the one that was saved:
/// whoever made another in between would choose what its members may.
async fn adopt(cluster: &Cluster, saved: &Vault) -> Result<(), Failure> {
    let name = saved.name_any();
    let vault: Vault = cluster.get(&name).await?;
    let Some(keyring) = cluster.find::<Keyring>(&name).await? else { return Ok(()) };
    if vault.metadata.uid.as_ref() == Some(&keyring.spec.vault_uid) {
        return Ok(());
    }
    let asked = |vault: &Vault| VaultSpec { last_writer: None, ..vault.spec.clone() };
    if asked(&vault) != asked(saved) {
        return Err(Failure::Conflict(format!(
            "vault '{name}' in namespace '{}' is another than the one that was saved: its spec differs, and the keys are not \
             given to it. Look at it; delete it and run this again if it is not what you want",
            cluster.namespace
        )));
    }
    let patch = json!({"metadata": {"annotations": {RESTORE: keyring.spec.vault_uid}}});
    cluster.patch::<Vault>(&name, &patch).await.map(drop)
}

async fn wait_for(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    waiting: Waiting,
    name: &str,
) -> Result<(), Failure> {
    let look = |vault: Option<&Vault>| {
        let Some(vault) = vault else {
            return Look::Never(Failure::NotFound(format!("vault '{name}' was deleted")));
        };
        let status = vault.status.clone().unwrap_or_default();
        let what = format!("vault '{name}'");
        match wait::ready(&what, &status.conditions, vault.metadata.generation) {
            Look::Done => match &status.rotation {
                None => Look::Done,
                Some(rotation) => {
                    let all = status.connections.unwrap_or_default();
                    let sealed = rotation.connections_resealed.unwrap_or_default();
                    let said = format!("{what}: {sealed} of {all} credentials are sealed under new keys");
                    Look::Part(sealed, all, said)
                }
            },
            other @ (Look::NotYet(_) | Look::Part(..) | Look::Never(_)) => other,
        }
    };
    wait::until(desk, cluster, waiting, name, look).await.map(drop)
}

/// Who and what did not come back by itself.
async fn report(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    vault: &Vault,
    backup: &Backup,
) -> Result<(), Failure> {
    let (name, namespace) = (vault.name_any(), &cluster.namespace);
    let members: Vec<VaultMember> = cluster.all().await?;
    let members: Vec<_> = members.into_iter().filter(|member| member.spec.vault == name).collect();
    let active = |member: &&VaultMember| {
        member.status.as_ref().and_then(|status| status.phase) == Some(MemberPhase::Active)
    };
    desk.say(&format!(
        "Vault '{name}' in namespace '{namespace}' is ready: {} of {} members are in force.",
        members.iter().filter(active).count(),
        members.len()
    ))?;
    for member in members.iter().filter(|member| !active(member)) {
        for line in again(member, &name, namespace) {
            desk.say(&harmless(format!("  {line}").as_bytes()))?;
        }
    }
    for saved in backup.connections.iter().filter(|saved| is_of(saved, vault)) {
        let there = cluster.at(&saved.namespace().unwrap_or_default());
        let Some(live) = there.find::<Connection>(&saved.name_any()).await? else { continue };
        let conditions = live.status.unwrap_or_default().conditions;
        if !reason_of(&conditions).is_empty() {
            let (place, name) = (&there.namespace, saved.name_any());
            let line = format!("  credential '{place}/{name}' is not in effect: {}", message(&conditions));
            desk.say(&harmless(line.as_bytes()))?;
        }
    }
    Ok(())
}

/// What is to be done so that a member is one again.
fn again(member: &VaultMember, vault: &str, namespace: &str) -> Vec<String> {
    let conditions = member.status.clone().unwrap_or_default().conditions;
    let (name, why) = (member.name_any(), reason_of(&conditions));
    let shown = show(&member.spec.subject, namespace);
    match (why.as_str(), &member.spec.subject) {
        (reason::SUBJECT_CHANGED, Subject::ServiceAccount(account)) => {
            let there = account.namespace.as_deref().unwrap_or(namespace);
            vec![format!(
                "member '{name}' ({shown}) is to be accepted again: kubectl coffer -n {namespace} accept sa:{there}/{} \
                 --vault {vault}",
                account.name
            )]
        }
        (reason::SUBJECT_MISSING, _) => {
            vec![format!(
                "member '{name}' ({shown}) waits for its ServiceAccount, and is to be accepted again then"
            )]
        }
        (reason::NOT_AUTHORIZED | reason::ACCEPTANCE_REFUSED, _) => vec![format!(
            "member '{name}' ({shown}) was no member yet, or comes back as another: delete it and invite again"
        )],
        _ => vec![format!("member '{name}' ({shown}): {}", message(&conditions))],
    }
}
