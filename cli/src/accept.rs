//! `kubectl coffer accept` and `decline`: one's own invites.

use clap::Args;
use coffer_crds::{MemberPhase, Subject, VaultMember, annotations::ACCEPT};
use coffer_envelope::subject_ref;
use coffer_keys::{
    VaultId,
    acceptance::Acceptance,
    member_key::{MemberPublicKey, MemberSecretKey},
};
use coffer_policy::identity::with_namespace;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts::Facts,
    invites::{self, Choice},
    local_key::{self, KeyOptions},
    output::{self, Format},
    pins::{self, Pin, Pins},
    subject::{self, show},
    wait::{self, Look, Waiting},
};

/// Which invite, and with which key.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The member's name as the invite has it, or sa:NAMESPACE/NAME to accept for a ServiceAccount; not needed when
    /// there is one invite for you
    pub name: Option<String>,
    /// The vault; not needed when there is one invite for you
    #[arg(long)]
    pub vault: Option<String>,
    /// Accept without a key of one's own: the broker opens what is wrapped for you, when you ask for it
    #[arg(long, conflicts_with_all = ["key", "passphrase_file"])]
    pub brokered: bool,
    /// The key.
    #[command(flatten)]
    pub key: KeyOptions,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Which invite.
#[derive(Debug, Args)]
pub struct Decline {
    /// The member's name as the invite has it; not needed when there is one invite for you
    pub name: Option<String>,
    /// The vault; not needed when there is one invite for you
    #[arg(long)]
    pub vault: Option<String>,
}

/// How an invite is answered.
#[derive(Clone, Copy)]
pub(crate) enum Answered<'a> {
    /// With a key of one's own.
    With(&'a MemberSecretKey),
    /// Without one.
    Brokered,
}

/// Accepts.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    if let Some(account) = arguments.name.as_deref().filter(|name| name.contains(':')) {
        return for_account(desk, cluster, account, arguments.vault.as_deref()).await;
    }
    let found = local_key::find(&desk.home, &arguments.key).ok().flatten();
    let public = found.as_ref().and_then(|found| local_key::public(found).ok());
    let member =
        match pick(cluster, arguments.name.as_deref(), arguments.vault.as_deref(), public.as_ref()).await? {
            Choice::Open(member) => *member,
            Choice::Member(member) => {
                let (name, vault) = (member.name_any(), &member.spec.vault);
                if arguments.brokered {
                    let there = Pin::of(&cluster.server, &cluster.get(vault).await?)?;
                    note_custody(desk, &there.vault_id, false)?;
                }
                return desk.say(&format!("You are member '{name}' of vault '{vault}' already."));
            }
        };
    let facts = Facts::of(cluster, Some(&member.spec.vault)).await?;
    let without_key = arguments.brokered || matches!(member.spec.subject, Subject::Group(_));
    let key = if without_key { None } else { Some(own_key(desk, &arguments.key)?) };
    let answered = key.as_ref().map_or(Answered::Brokered, Answered::With);
    let accepted = answer(desk, cluster, &facts, &member, answered, arguments.waiting).await?;
    let format = desk.options.output;
    if let Format::Json | Format::Yaml | Format::Name = format {
        return output::object(format, &accepted, desk.answer);
    }
    let mark = desk.mark();
    desk.say(&format!(
        "You are member '{}' of vault '{}' in namespace '{}', with role '{}'{mark}.",
        member.name_any(),
        facts.name(),
        cluster.namespace,
        member.spec.role
    ))?;
    match key {
        Some(key) => desk.note(&format!(
            "Only your key {} opens what is wrapped for you. Keep a copy of it.",
            key.public().fingerprint()
        )),
        None => desk.note(
            "The broker opens what is wrapped for you, when you ask for it and after writing that down.",
        ),
    }
    Ok(())
}

fn own_key(desk: &mut Desk<'_>, options: &KeyOptions) -> Result<MemberSecretKey, Failure> {
    match local_key::open(desk, options) {
        Err(Failure::NotFound(text)) if options.key.is_none() => {
            Err(Failure::Usage(format!("{text}, or accept without one: --brokered")))
        }
        opened => opened,
    }
}

/// Turns an invite down, for good.
pub(crate) async fn decline(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Decline,
) -> Result<(), Failure> {
    let picked = pick(cluster, arguments.name.as_deref(), arguments.vault.as_deref(), None).await?;
    let Choice::Open(member) = picked else {
        return Err(Failure::Conflict(String::from(
            "this invite was accepted already; to leave the vault: kubectl coffer members remove NAME",
        )));
    };
    let name = member.name_any();
    cluster.change::<VaultMember>(&member, &json!({"declined": true})).await?;
    let mark = desk.mark();
    desk.say(&format!("The invite '{name}' to vault '{}' is declined{mark}.", member.spec.vault))
}

async fn pick(
    cluster: &Cluster,
    name: Option<&str>,
    vault: Option<&str>,
    key: Option<&MemberPublicKey>,
) -> Result<Choice, Failure> {
    let caller = cluster.caller().await?;
    let members = match name {
        // Who may read this one need not be allowed to list them.
        Some(name) => vec![cluster.get::<VaultMember>(name).await?],
        None => cluster.all().await?,
    };
    let members = members.into_iter().filter(|member| vault.is_none_or(|vault| member.spec.vault == vault));
    let fingerprint = key.map(|key| key.fingerprint().to_string());
    invites::choose(members.collect(), &caller, fingerprint.as_deref(), &cluster.namespace, name.is_some())
}

/// Writes the acceptance of an invite, or of an owner who brings a key, and waits until it is in effect.
pub(crate) async fn answer(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    facts: &Facts,
    member: &VaultMember,
    answered: Answered<'_>,
    waiting: Waiting,
) -> Result<VaultMember, Failure> {
    let trusted = pins::trust(&desk.home.pins, cluster, &facts.vault)?;
    let name = member.name_any();
    let acceptance = match answered {
        Answered::Brokered => json!({}),
        Answered::With(key) => proof(member, trusted.id, key)?,
    };
    let written: VaultMember = cluster.change(member, &json!({"acceptance": acceptance})).await?;
    let generation = written.metadata.generation;
    let with_key = matches!(answered, Answered::With(_));
    // A group's membership says nothing of the caller's own.
    if !cluster.dry_run && !matches!(member.spec.subject, Subject::Group(_)) {
        note_custody(desk, &trusted.id.to_string(), with_key)?;
    }
    let done = wait::until(desk, cluster, waiting, &name, |member: Option<&VaultMember>| {
        let Some(member) = member else {
            return Look::Never(Failure::NotFound(format!("member '{name}' was removed")));
        };
        let status = member.status.clone().unwrap_or_default();
        if status.phase == Some(MemberPhase::Active) && with_key && status.key_fingerprint.is_none() {
            return Look::NotYet(format!("member '{name}': keys are being wrapped"));
        }
        wait::ready(&format!("member '{name}'"), &status.conditions, generation)
    })
    .await?;
    Ok(done.unwrap_or(written))
}

/// From now on nothing is taken from a broker in the clear in this vault, or it is.
fn note_custody(desk: &Desk<'_>, vault_id: &str, with_key: bool) -> Result<(), Failure> {
    Pins::change(&desk.home.pins, |pins| {
        pins.own_key(vault_id, with_key);
        Ok(())
    })
}

/// The key, and the signature that proves it for this very invite.
fn proof(member: &VaultMember, vault_id: VaultId, key: &MemberSecretKey) -> Result<Value, Failure> {
    Ok(json!({"publicKey": key.public().to_text(), "proof": signed(member, vault_id, key.public(), key)?}))
}

/// A signature for a member's having this key: by the key itself, or by the one before it.
pub(crate) fn signed(
    member: &VaultMember,
    vault_id: VaultId,
    key: &MemberPublicKey,
    by: &MemberSecretKey,
) -> Result<String, Failure> {
    let namespace = member.namespace().unwrap_or_default();
    let (name, uid) = (member.name_any(), member.uid().unwrap_or_default());
    let subject = with_namespace(&member.spec.subject, &namespace);
    let accepted = Acceptance {
        vault_id,
        namespace: &namespace,
        name: &name,
        uid: &uid,
        subject: subject_ref(&subject).map_err(|error| Failure::Unexpected(error.to_string()))?,
        public_key: key,
    };
    accepted.sign(by).map_err(|error| Failure::Usage(error.to_string()))
}

/// A ServiceAccount of another namespace is accepted for by whoever may change it.
async fn for_account(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    typed: &str,
    vault: Option<&str>,
) -> Result<(), Failure> {
    let Subject::ServiceAccount(account) = subject::parse(typed).map_err(Failure::Usage)?.subject else {
        return Err(Failure::Usage(format!(
            "'{typed}': users and groups accept their invites themselves; only sa:NAMESPACE/NAME is accepted for"
        )));
    };
    let vault = vault.ok_or_else(|| {
        Failure::Usage(String::from("say which vault with --vault: who is elsewhere may be unable to look"))
    })?;
    let there = cluster.at(account.namespace.as_deref().unwrap_or(&cluster.namespace));
    let found: ServiceAccount = there.get(&account.name).await?;
    let key = format!("{}/{vault}", cluster.namespace);
    let present = found.annotations().get(ACCEPT).map(String::as_str).unwrap_or_default();
    let wanted = with_one_more(present, &key);
    let patch = json!({"metadata": {"annotations": {ACCEPT: wanted}}});
    there.patch::<ServiceAccount>(&account.name, &patch).await?;
    let (shown, mark) = (show(&Subject::ServiceAccount(account), &cluster.namespace), desk.mark());
    desk.say(&format!("{shown} accepts its invite to vault '{key}'{mark}."))
}

/// The annotation's list with this vault in it.
fn with_one_more(present: &str, key: &str) -> String {
    let mut vaults: Vec<_> = present.split(',').map(str::trim).filter(|vault| !vault.is_empty()).collect();
    if !vaults.contains(&key) {
        vaults.push(key);
    }
    vaults.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serviceaccount_may_accept_several_vaults() {
        assert_eq!(with_one_more("", "a/team"), "a/team");
        assert_eq!(with_one_more("b/team, c/x", "a/team"), "b/team,c/x,a/team");
        assert_eq!(with_one_more("a/team", "a/team"), "a/team");
    }
}
