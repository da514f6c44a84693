//! `kubectl coffer key rotate`.

use std::path::PathBuf;

use clap::Args;
use coffer_crds::{Custody, MemberPhase, Vault, VaultMember};
use coffer_keys::member_key::MemberSecretKey;
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    Failure,
    accept::signed,
    cluster::Cluster,
    desk::Desk,
    invites::is_for,
    local_key::{self, KeyOptions},
    pins,
    wait::{self, Look, Waiting},
};

/// From which key to which.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File with the key to change to; `kubectl coffer key new --key PATH` makes one
    #[arg(long, value_name = "PATH")]
    pub new: PathBuf,
    /// File with the new key's passphrase, for where nobody is there to type it
    #[arg(long, value_name = "PATH")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Only in this vault; in all of the namespace by default
    #[arg(long)]
    pub vault: Option<String>,
    /// The key that is in force.
    #[command(flatten)]
    pub old: KeyOptions,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Changes the caller's key wherever the old one is in force. Run again it goes on where it stopped.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let old = local_key::open(desk, &arguments.old)?;
    let to = KeyOptions {
        key: Some(arguments.new.clone()),
        passphrase_file: arguments.new_passphrase_file.clone(),
    };
    let new = local_key::open(desk, &to)?;
    let (from, to) = (fingerprint(&old), fingerprint(&new));
    if from == to {
        return Err(Failure::Usage(format!(
            "--new {}: is the key that is used now",
            arguments.new.display()
        )));
    }
    let caller = cluster.caller().await?;
    let members: Vec<VaultMember> = cluster.all().await?;
    let own: Vec<_> = members
        .into_iter()
        .filter(|member| arguments.vault.as_ref().is_none_or(|vault| member.spec.vault == *vault))
        .filter(|member| is_for(member, &caller, Some(&from)) && has_in_force(member, &from))
        .collect();
    if own.is_empty() {
        return Err(Failure::NotFound(format!(
            "no membership of yours in namespace '{}' has the key {from} in force: see kubectl coffer whoami",
            cluster.namespace
        )));
    }
    for member in &own {
        change(desk, cluster, member, (&old, &new), arguments.waiting).await?;
        let mark = desk.mark();
        desk.say(&format!(
            "Member '{}' of vault '{}' has the key {to}{mark}.",
            member.name_any(),
            member.spec.vault
        ))?;
    }
    desk.note(&format!(
        "Use {} from now on (--key, or COFFER_KEY), and keep the old key until every vault has the new one.",
        arguments.new.display()
    ));
    Ok(())
}

fn fingerprint(key: &MemberSecretKey) -> String {
    key.public().fingerprint().to_string()
}

fn has_in_force(member: &VaultMember, fingerprint: &str) -> bool {
    member.status.as_ref().is_some_and(|status| {
        status.phase == Some(MemberPhase::Active)
            && status.custody == Some(Custody::Own)
            && status.key_fingerprint.as_deref() == Some(fingerprint)
    })
}

async fn change(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    member: &VaultMember,
    (old, new): (&MemberSecretKey, &MemberSecretKey),
    waiting: Waiting,
) -> Result<(), Failure> {
    let vault: Vault = cluster.get(&member.spec.vault).await?;
    let trusted = pins::trust(&desk.home.pins, cluster, &vault)?;
    let key_change = json!({
        "publicKey": new.public().to_text(),
        "proof": signed(member, trusted.id, new.public(), new)?,
        "oldPublicKey": old.public().to_text(),
        "oldProof": signed(member, trusted.id, new.public(), old)?,
    });
    let written: VaultMember = cluster.change(member, &json!({"keyChange": key_change})).await?;
    let (name, generation, wanted) = (member.name_any(), written.metadata.generation, fingerprint(new));
    let look = |member: Option<&VaultMember>| {
        let Some(member) = member else {
            return Look::Never(Failure::NotFound(format!("member '{name}' was removed")));
        };
        let status = member.status.clone().unwrap_or_default();
        let ready = wait::ready(&format!("member '{name}'"), &status.conditions, generation);
        if matches!(ready, Look::Done) && status.key_fingerprint.as_deref() != Some(wanted.as_str()) {
            return Look::NotYet(format!("member '{name}': keys are being wrapped"));
        }
        ready
    };
    wait::until(desk, cluster, waiting, &name, look).await.map(drop)
}
