//! Whether a registered member is in force: the one answer that wraps, slots, bindings and phases follow from.
//!
//! The register remembers a member from its acceptance until its VaultMember is gone. In between it may be suspended,
//! expired, or without its ServiceAccount; then it keeps its place in the register (so that nothing is accepted
//! twice, and a stranger under an old name stays one) but nothing is wrapped for it.

use coffer_crds::{
    Custody, CustodyPolicy, MemberPhase, RegisteredMember, Subject, Vault, VaultMember, conditions::reason,
};
use coffer_envelope::key_hash;
use coffer_keys::member_key::MemberPublicKey;
use coffer_policy::{
    MemberState,
    identity::{ends_at, on_hold, stands, with_namespace},
    membership::{Event, next},
    roles::{Role, role},
};
use k8s_openapi::{api::core::v1::ServiceAccount, jiff::Timestamp};
use kube::{ResourceExt as _, core::PartialObjectMeta};

use crate::cache::Key;

/// What matters of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its object's uid.
    pub uid: String,
    /// The vaults that it accepts by the annotation `coffer.dev/accept`.
    pub accepts: Vec<Key>,
}

impl Account {
    /// Reads what matters from its metadata.
    pub fn of(found: &PartialObjectMeta<ServiceAccount>) -> Self {
        let text =
            found.annotations().get(coffer_crds::annotations::ACCEPT).map(String::as_str).unwrap_or_default();
        let accepts = text.split(',').filter_map(|vault| vault.trim().split_once('/'));
        Self {
            uid: found.metadata.uid.clone().unwrap_or_default(),
            accepts: accepts.map(|(namespace, name)| Key::new(namespace, name)).collect(),
        }
    }

    /// The ServiceAccount that a subject names, if it names one.
    pub fn key(subject: &Subject, namespace: &str) -> Option<Key> {
        match with_namespace(subject, namespace) {
            Subject::ServiceAccount(account) => {
                Some(Key::new(account.namespace.unwrap_or_default(), account.name))
            }
            Subject::User(_) | Subject::Group(_) | Subject::External(_) => None,
        }
    }
}

/// Why a member is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out {
    /// The phase that says so.
    pub phase: MemberPhase,
    /// The reason of `Ready=False`.
    pub reason: &'static str,
    /// The sentence for it.
    pub message: String,
}

impl Out {
    /// Not in force.
    pub fn new(phase: MemberPhase, reason: &'static str, message: impl Into<String>) -> Self {
        Self { phase, reason, message: message.into() }
    }
}

/// The role of a registered member that is in force, or why it is not. `account` is its ServiceAccount as it is now.
/// A member that was put on hold is out until its Vault's look at members has judged who brings it back.
///
/// # Errors
/// [`Out`].
pub fn in_force(
    vault: &Vault,
    member: &VaultMember,
    entry: &RegisteredMember,
    account: Option<&Account>,
    now: Timestamp,
) -> Result<Role, Out> {
    let role = by_spec(vault, member, entry, account, now)?;
    match on_hold(member) {
        Some(hold) => Err(Out::new(hold.phase, reason::PENDING, "coming back into force is not judged yet")),
        None => Ok(role),
    }
}

/// [`in_force`], whether or not whoever wrote the spec may bring the member back.
///
/// # Errors
/// [`Out`].
pub fn by_spec(
    vault: &Vault,
    member: &VaultMember,
    entry: &RegisteredMember,
    account: Option<&Account>,
    now: Timestamp,
) -> Result<Role, Out> {
    let namespace = member.namespace().unwrap_or_default();
    if with_namespace(&member.spec.subject, &namespace) != entry.subject {
        let message =
            "spec.subject differs from the subject that was accepted; delete this member and make another";
        return Err(Out::new(MemberPhase::Invited, reason::INVALID_SPEC, message));
    }
    let since = Some(entry.accepted_at.0);
    let ended = || {
        let end = ends_at(member, &entry.role, since, vault).map(utc).unwrap_or_default();
        format!("expired at {end}")
    };
    if let Some(out) = over(stands(member, &entry.role, since, vault, now), ended) {
        return Err(out);
    }
    if matches!(entry.subject, Subject::ServiceAccount(_)) {
        same_account(entry, account)?;
    }
    if vault.spec.custody == CustodyPolicy::SelfOnly && entry.custody == Custody::Brokered {
        return Err(custody_refused(member));
    }
    role(&vault.spec, &entry.role).ok_or_else(|| unknown_role(&entry.role))
}

/// Why a membership that stands so is out whatever else is known of it; `ended` says when it ran out.
pub fn over(state: MemberState, ended: impl FnOnce() -> String) -> Option<Out> {
    let (reason, message) = match state {
        MemberState::Declined => (reason::DECLINED, String::from("the subject declined")),
        MemberState::Suspended => (reason::SUSPENDED, String::from("spec.suspended is set")),
        MemberState::Expired => (reason::EXPIRED, ended()),
        MemberState::Invited | MemberState::Accepted | MemberState::Active => return None,
    };
    Some(Out::new(state.into(), reason, message))
}

/// The phase of a member in force to which this happens.
fn phase_after(event: Event) -> MemberPhase {
    next(Some(MemberState::Active), event)
        .map(MemberPhase::from)
        .expect("the table has a row for whoever is in force")
}

fn same_account(entry: &RegisteredMember, account: Option<&Account>) -> Result<(), Out> {
    let Some(account) = account else {
        let message = "the ServiceAccount does not exist any more";
        return Err(Out::new(phase_after(Event::LoseSubject), reason::SUBJECT_MISSING, message));
    };
    if entry.subject_uid.as_deref() == Some(account.uid.as_str()) {
        return Ok(());
    }
    let message = "the ServiceAccount was deleted and made again; accept it anew by annotating it with \
                   coffer.dev/accept: <vault-namespace>/<vault>, or delete this member and make another";
    Err(Out::new(phase_after(Event::LoseSubject), reason::SUBJECT_CHANGED, message))
}

/// The key that the register names, if the member's spec still holds it: the one it changed to, the one it accepted with,
/// or the one that a change which is not in effect would take the place of.
pub fn key_in_force(member: &VaultMember, entry: &RegisteredMember) -> Option<MemberPublicKey> {
    let change = member.spec.key_change.as_ref();
    let texts = [
        change.map(|change| change.public_key.as_str()),
        member.spec.acceptance.as_ref().and_then(|acceptance| acceptance.public_key.as_deref()),
        change.and_then(|change| change.old_public_key.as_deref()),
    ];
    let mut keys = texts.into_iter().flatten().filter_map(|text| MemberPublicKey::parse(text).ok());
    keys.find(|key| entry.key_hash.as_deref() == Some(key_hash(key).as_str()))
}

/// The vault takes only members with a key of their own.
pub fn custody_refused(member: &VaultMember) -> Out {
    let way_out = match member.spec.acceptance {
        None => "brought no key; accept with a public key",
        Some(_) => "accepted without a key, once and for all; delete it and invite again",
    };
    let message = format!("the vault is custody: SelfOnly, and this member {way_out}");
    Out::new(phase_after(Event::LoseGround), reason::CUSTODY_REFUSED, message)
}

/// The role is neither built in nor one of the vault's.
pub fn unknown_role(name: &str) -> Out {
    let message =
        format!("role '{name}' is neither owner, admin or member nor one of the vault's spec.roles");
    Out::new(phase_after(Event::LoseGround), reason::UNKNOWN_ROLE, message)
}

/// A moment as messages show it.
pub fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
