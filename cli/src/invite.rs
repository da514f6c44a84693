//! `kubectl coffer invite`.

use clap::Args;
use coffer_crds::{Subject, VaultMember, duration};
use coffer_keys::{Fingerprint, member_key::MemberPublicKey};
use coffer_policy::{identity::with_namespace, owner_member_name, writes};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    facts::Facts,
    output::{self, Format},
    subject::{self, Typed, show},
};

/// Whom, and with what.
#[derive(Clone, Debug, Default, Args)]
pub struct Arguments {
    /// user:alice, group:devs, sa:ci/builder or external:laptop
    pub subject: String,
    /// The vault; not needed where there is one
    #[arg(long)]
    pub vault: Option<String>,
    /// What they may do: owner, admin, member, or a role of the vault's own
    #[arg(long, default_value = "member")]
    pub role: String,
    /// The member's name in scopes and messages; by default the subject's own
    #[arg(long)]
    pub name: Option<String>,
    /// How long the membership lasts once accepted, such as 90d; by default as the vault says
    #[arg(long, value_parser = lasting)]
    pub ttl: Option<String>,
    /// How long the invite waits, such as 24h; 48h by default
    #[arg(long, value_parser = lasting)]
    pub invite_ttl: Option<String>,
    /// Take only the key with this fingerprint (SHA256:…) or this public key file's; needed for external:NAME
    #[arg(long, value_name = "FINGERPRINT|FILE")]
    pub fingerprint: Option<String>,
    /// Requests per window, such as 30/60s; by default as the role says
    #[arg(long, value_name = "N/Ws")]
    pub rate_limit: Option<String>,
}

/// A duration, as the kinds write it.
pub(crate) fn lasting(text: &str) -> Result<String, String> {
    duration::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Makes a VaultMember.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let typed = subject::parse(&arguments.subject).map_err(Failure::Usage)?;
    let pinned = arguments.fingerprint.as_deref().map(fingerprint).transpose()?;
    let facts = Facts::of(cluster, arguments.vault.as_deref()).await?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => derived(&facts, &typed, &cluster.namespace),
    };
    let manifest = manifest(&facts.name(), &name, &typed.subject, arguments, pinned.as_deref());
    if let Some(twin) = facts.members().find(|member| member.name_any() == name) {
        return there(desk, twin, &typed.subject, arguments, &cluster.namespace);
    }
    judge(cluster, &facts, manifest.clone()).await?;
    let made: VaultMember = cluster.create(manifest).await?;
    let format = desk.options.output;
    if let Format::Json | Format::Yaml | Format::Name = format {
        return output::object(format, &made, desk.answer);
    }
    let (shown, vault) = (show(&typed.subject, &cluster.namespace), facts.name());
    let (role, mark) = (&made.spec.role, desk.mark());
    desk.say(&format!("Invited {shown} to vault '{vault}' as member '{name}', with role '{role}'{mark}."))?;
    for line in next(&made, &vault, &cluster.namespace) {
        desk.note(&line);
    }
    Ok(())
}

/// Early notice in the words of the one policy: the API server says the same, after a round trip.
async fn judge(cluster: &Cluster, facts: &Facts, manifest: Value) -> Result<(), Failure> {
    let mut member: VaultMember =
        serde_json::from_value(manifest).map_err(|error| Failure::Usage(error.to_string()))?;
    member.metadata.namespace = Some(cluster.namespace.clone());
    let caller = cluster.caller().await?;
    Ok(writes::member(&caller, &facts.view(), None, Some(&member))?)
}

/// An invite that is there already is told, and nothing is made twice.
fn there(
    desk: &mut Desk<'_>,
    member: &VaultMember,
    subject: &Subject,
    arguments: &Arguments,
    namespace: &str,
) -> Result<(), Failure> {
    let name = member.name_any();
    let theirs = with_namespace(&member.spec.subject, namespace);
    if theirs != with_namespace(subject, namespace) {
        return Err(Failure::Conflict(format!(
            "member '{name}' is {} already: choose another name with --name",
            show(&theirs, namespace)
        )));
    }
    if member.spec.role != arguments.role {
        return Err(Failure::Conflict(format!(
            "{} is member '{name}' already, with role '{}': kubectl coffer members role {name} {}",
            show(&theirs, namespace),
            member.spec.role,
            arguments.role
        )));
    }
    let phase = member.status.as_ref().and_then(|status| status.phase);
    let phase = phase.map_or_else(|| String::from("Invited"), |phase| format!("{phase:?}"));
    desk.say(&format!("{} is member '{name}' already ({phase}).", show(&theirs, namespace)))
}

fn derived(facts: &Facts, typed: &Typed, namespace: &str) -> String {
    let subject = with_namespace(&typed.subject, namespace);
    let same = |member: &VaultMember| {
        member.spec.vault == facts.name()
            && with_namespace(&member.spec.subject, namespace) == subject
            && !matches!(subject, Subject::External(_))
    };
    if let Some(twin) = facts.neighbours.iter().find(|member| same(member)) {
        return twin.name_any();
    }
    // Whoever is outside has no name but the one that is typed.
    let named = match &typed.label {
        Some(label) => Subject::User(coffer_crds::NamedSubject { name: label.clone() }),
        None => subject.clone(),
    };
    owner_member_name(&facts.name(), &named, |name| {
        facts.neighbours.iter().any(|member| member.name_any() == name && !same(member))
    })
}

fn manifest(
    vault: &str,
    name: &str,
    subject: &Subject,
    arguments: &Arguments,
    fingerprint: Option<&str>,
) -> Value {
    let mut spec = json!({"vault": vault, "subject": subject, "role": arguments.role});
    for (field, value) in [
        ("ttl", arguments.ttl.as_deref()),
        ("inviteTTL", arguments.invite_ttl.as_deref()),
        ("keyFingerprint", fingerprint),
        ("rateLimit", arguments.rate_limit.as_deref()),
    ] {
        if let Some(value) = value {
            spec[field] = json!(value);
        }
    }
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember", "metadata": {"name": name}, "spec": spec})
}

/// A fingerprint, or that of a public key in a file.
fn fingerprint(text: &str) -> Result<String, Failure> {
    if text.starts_with("SHA256:") {
        let read = Fingerprint::parse(text).map_err(|error| Failure::Usage(error.to_string()))?;
        return Ok(read.to_string());
    }
    let content = std::fs::read_to_string(text).map_err(|error| {
        Failure::Usage(format!(
            "--fingerprint is neither SHA256:… nor a file that can be read ({text}: {error})"
        ))
    })?;
    let key = MemberPublicKey::parse(&content).map_err(|error| Failure::Usage(format!("{text}: {error}")))?;
    Ok(key.fingerprint().to_string())
}

/// What the other side does next.
fn next(member: &VaultMember, vault: &str, namespace: &str) -> Vec<String> {
    let wait = member.spec.invite_ttl.as_deref().unwrap_or("48h");
    let until = format!("The invite waits for {wait}.");
    match &member.spec.subject {
        Subject::ServiceAccount(account) => match account.namespace.as_deref() {
            None => vec![String::from("A ServiceAccount of the vault's own namespace needs no answer.")],
            Some(own) if own == namespace => {
                vec![String::from("A ServiceAccount of the vault's own namespace needs no answer.")]
            }
            Some(other) => vec![
                format!("{until} Whoever may change the ServiceAccount accepts for it:"),
                format!("  kubectl coffer -n {namespace} accept sa:{other}/{} --vault {vault}", account.name),
            ],
        },
        Subject::User(_) | Subject::Group(_) => {
            vec![format!("{until} They accept with:"), format!("  kubectl coffer -n {namespace} accept")]
        }
        Subject::External(_) => vec![
            format!("{until} Whoever has the key, or delivers its proof, accepts with:"),
            format!("  kubectl coffer -n {namespace} accept {} --key PATH", member.name_any()),
        ],
    }
}
