//! Who is asking, and which memberships are theirs.

use coffer_crds::{
    Author, KeyringSpec, MemberPhase, RegisteredMember, ServiceAccountSubject, Subject, Vault, VaultMember,
};
use jiff::Timestamp;

use crate::membership::{self, Event};

mod term;

pub use term::{DEFAULT_INVITE_TTL, ends_at};

/// An identity that a server authenticated: admission `userInfo`, TokenReview. Never what a caller says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user name; a ServiceAccount's is `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// The identity's uid; a ServiceAccount's is its object's. Users of most authenticators have none.
    pub uid: Option<String>,
    /// The groups that the authenticator named.
    pub groups: Vec<String>,
}

impl Caller {
    /// Whether this is somebody. An empty name and the anonymous user are nobody (T25).
    pub fn is_identified(&self) -> bool {
        !self.username.is_empty() && self.username != "system:anonymous"
    }

    /// The namespace and name, when this is a ServiceAccount.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// How messages call this caller as the subject of a VaultMember.
    pub fn as_subject(&self) -> String {
        match self.service_account() {
            Some((namespace, name)) => format!("ServiceAccount '{namespace}/{name}'"),
            None => format!("user '{}'", self.username),
        }
    }
}

impl From<&Author> for Caller {
    fn from(author: &Author) -> Self {
        Self { username: author.username.clone(), uid: author.uid.clone(), groups: author.groups.clone() }
    }
}

/// Where a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberState {
    /// Not accepted yet.
    Invited,
    /// Accepted; the operator has not recorded it yet.
    Accepted,
    /// A member.
    Active,
    /// The subject declined.
    Declined,
    /// Put on hold.
    Suspended,
    /// The membership or the invite has run out.
    Expired,
}

impl From<MemberPhase> for MemberState {
    fn from(phase: MemberPhase) -> Self {
        match phase {
            MemberPhase::Invited => Self::Invited,
            MemberPhase::Accepted => Self::Accepted,
            MemberPhase::Active => Self::Active,
            MemberPhase::Declined => Self::Declined,
            MemberPhase::Suspended => Self::Suspended,
            MemberPhase::Expired => Self::Expired,
        }
    }
}

impl From<MemberState> for MemberPhase {
    fn from(state: MemberState) -> Self {
        match state {
            MemberState::Invited => Self::Invited,
            MemberState::Accepted => Self::Accepted,
            MemberState::Active => Self::Active,
            MemberState::Declined => Self::Declined,
            MemberState::Suspended => Self::Suspended,
            MemberState::Expired => Self::Expired,
        }
    }
}

/// What says that a membership exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The register in the Keyring: the strongest; the only one that a release is made on.
    Register,
    /// `VaultMember.status`: good enough to judge a request early.
    Status,
    /// A VaultMember that the register does not hold: it claims, and gains nothing by it.
    Claim,
    /// An entry of `Vault.spec.owners` that the operator has not made a member of yet.
    Owners,
}

/// One membership of one vault, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The VaultMember's name.
    pub name: String,
    /// The VaultMember's uid; empty for [`Evidence::Owners`].
    pub uid: String,
    /// Whose membership it is; a ServiceAccount's namespace is always set.
    pub subject: Subject,
    /// The ServiceAccount's uid recorded at acceptance.
    pub subject_uid: Option<String>,
    /// The role's name.
    pub role: String,
    /// Where it stands.
    pub state: MemberState,
    /// The member's own rate limit, as written; it takes the place of the role's.
    pub rate_limit: Option<String>,
    /// What says so.
    pub evidence: Evidence,
}

impl MemberView {
    /// The membership by the Keyring's register (broker, operator): Active only if `registered` is this very object
    /// (name and uid), and then with the role and subject that the register holds, not the live object's. One that is
    /// [`on_hold`] is not Active either: nobody un-suspends themselves by writing so.
    pub fn registered(
        member: &VaultMember,
        registered: Option<&RegisteredMember>,
        vault: &Vault,
        now: Timestamp,
    ) -> Self {
        let mut view = Self::live(member, Evidence::Claim);
        let recorded = registered.filter(|r| r.name == view.name && r.uid == view.uid && !r.uid.is_empty());
        if let Some(recorded) = recorded {
            view.evidence = Evidence::Register;
            view.subject = with_namespace(&recorded.subject, namespace_of(member));
            view.subject_uid = recorded.subject_uid.clone();
            view.role = recorded.role.clone();
        }
        view.state = stands(member, &view.role, recorded.map(|r| r.accepted_at.0), vault, now);
        if let Some(hold) = on_hold(member).filter(|_| view.is_active()) {
            view.state = hold.state;
        }
        view
    }

    /// The membership by its own status (webhook, which holds no right on Keyrings): Active if the operator says so.
    pub fn reported(member: &VaultMember, vault: &Vault, now: Timestamp) -> Self {
        let mut view = Self::live(member, Evidence::Status);
        let phase = member.status.as_ref().and_then(|s| s.phase);
        // The status does not say since when, so a `ttl` is left to the operator, who sets the phase.
        let since = (phase == Some(MemberPhase::Active)).then_some(now);
        view.state = match phase {
            Some(MemberPhase::Expired) if member.spec.expires_at.is_none() => MemberState::Expired,
            _ => stands(member, &view.role, since, vault, now),
        };
        view
    }

    /// An entry of `Vault.spec.owners` before the operator has made it a member; `name` by [`crate::owner_member_name`].
    pub fn declared(vault: &Vault, subject: &Subject, name: String) -> Self {
        Self {
            name,
            uid: String::new(),
            subject: with_namespace(subject, vault.metadata.namespace.as_deref().unwrap_or_default()),
            subject_uid: None,
            role: crate::roles::OWNER.to_owned(),
            state: MemberState::Active,
            rate_limit: None,
            evidence: Evidence::Owners,
        }
    }

    /// Whether this membership is the caller's own or, for a group, one of its groups'. A ServiceAccount whose uid
    /// the register holds matches only with that uid (T26); without a recorded uid the register matches nobody.
    pub fn is_of(&self, caller: &Caller) -> bool {
        if !caller.is_identified() {
            return false;
        }
        match &self.subject {
            Subject::ServiceAccount(account) => {
                let same = caller.service_account()
                    == Some((account.namespace.as_deref().unwrap_or_default(), account.name.as_str()));
                same && self.knows_uid(caller.uid.as_deref())
            }
            // A ServiceAccount must come as one, or its uid would go unchecked.
            Subject::User(user) => {
                user.name == caller.username && user.name != "*" && caller.service_account().is_none()
            }
            Subject::Group(group) => {
                let named = !group.name.is_empty() && group.name != "*" && !group.name.starts_with("system:");
                named && caller.groups.contains(&group.name)
            }
            Subject::External(_) => false,
        }
    }

    /// Whether the Keyring's register holds it.
    pub fn is_registered(&self) -> bool {
        self.evidence == Evidence::Register
    }

    /// Whether the subject is a group.
    pub fn is_group(&self) -> bool {
        matches!(self.subject, Subject::Group(_))
    }

    /// Whether it is Active.
    pub fn is_active(&self) -> bool {
        self.state == MemberState::Active
    }

    fn knows_uid(&self, uid: Option<&str>) -> bool {
        match (&self.subject_uid, self.evidence) {
            (Some(recorded), _) => uid == Some(recorded.as_str()),
            // A registered ServiceAccount without a uid could be anyone of that name.
            (None, Evidence::Register) => false,
            (None, Evidence::Status | Evidence::Claim | Evidence::Owners) => true,
        }
    }

    fn live(member: &VaultMember, evidence: Evidence) -> Self {
        Self {
            name: member.metadata.name.clone().unwrap_or_default(),
            uid: member.metadata.uid.clone().unwrap_or_default(),
            subject: with_namespace(&member.spec.subject, namespace_of(member)),
            subject_uid: None,
            role: member.spec.role.clone(),
            state: MemberState::Invited,
            rate_limit: member.spec.rate_limit.clone(),
            evidence,
        }
    }
}

/// The memberships of one vault by its Keyring (broker, operator). `members` may hold other vaults' too.
///
/// Entries of `Vault.spec.owners` count only while the register names no owner at all, that is, for a vault whose
/// first owners are still to be made: later ones are a change that an owner has to have made.
pub fn from_register(
    vault: &Vault,
    keyring: Option<&KeyringSpec>,
    members: &[VaultMember],
    now: Timestamp,
) -> Vec<MemberView> {
    let register = keyring.map(|k| k.members.as_slice()).unwrap_or_default();
    let mut views: Vec<_> = of_vault(vault, members)
        .map(|member| {
            let name = member.metadata.name.as_deref().unwrap_or_default();
            MemberView::registered(member, register.iter().find(|r| r.name == name), vault, now)
        })
        .collect();
    if !register.iter().any(|r| r.role == crate::roles::OWNER) {
        add_declared(vault, members, &mut views);
    }
    views
}

/// The memberships of one vault by their statuses (webhook). `members` may hold other vaults' too, and should hold
/// all of the vault's namespace, so that names of owners come out as the operator's.
pub fn from_status(vault: &Vault, members: &[VaultMember], now: Timestamp) -> Vec<MemberView> {
    let mut views: Vec<_> =
        of_vault(vault, members).map(|member| MemberView::reported(member, vault, now)).collect();
    add_declared(vault, members, &mut views);
    views
}

/// The caller's memberships in the order in which they are tried: the direct one, then groups by name.
/// Invites, and what was declined, are no memberships; Suspended and Expired ones are (they deny).
pub fn memberships<'a>(caller: &Caller, members: &'a [MemberView]) -> Vec<&'a MemberView> {
    let mut own: Vec<_> = members
        .iter()
        .filter(|m| matches!(m.state, MemberState::Active | MemberState::Suspended | MemberState::Expired))
        .filter(|m| m.is_of(caller))
        .collect();
    own.sort_by(|a, b| (a.is_group(), group_name(a), &a.name).cmp(&(b.is_group(), group_name(b), &b.name)));
    own
}

/// A subject with the namespace of a ServiceAccount filled in: it defaults to the VaultMember's.
pub fn with_namespace(subject: &Subject, namespace: &str) -> Subject {
    match subject {
        Subject::ServiceAccount(account) => Subject::ServiceAccount(ServiceAccountSubject {
            namespace: Some(account.namespace.clone().unwrap_or_else(|| namespace.to_owned())),
            name: account.name.clone(),
        }),
        Subject::User(_) | Subject::Group(_) | Subject::External(_) => subject.clone(),
    }
}

/// How the operator has put a membership out of force; it stays so until the operator says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// As the status says it.
    pub phase: MemberPhase,
    /// As decisions take it.
    pub state: MemberState,
}

/// Whether the operator last found the membership Suspended or Expired. A spec that says otherwise since then is a
/// grant: it takes effect once the operator has judged its author ([`crate::writes::member_resumed`]).
pub fn on_hold(member: &VaultMember) -> Option<Hold> {
    let phase = member.status.as_ref()?.phase?;
    let state = MemberState::from(phase);
    matches!(state, MemberState::Suspended | MemberState::Expired).then_some(Hold { phase, state })
}

/// Where a membership stands by its spec and the clock, that is, by what has happened to it. `active_since` is the time
/// of its entry in the register, if it has one; `role` the one that counts.
pub fn stands(
    member: &VaultMember,
    role: &str,
    active_since: Option<Timestamp>,
    vault: &Vault,
    now: Timestamp,
) -> MemberState {
    let spec = &member.spec;
    let ended = ends_at(member, role, active_since, vault).is_some_and(|end| end <= now);
    let happened = [
        (spec.declined, Event::Decline),
        (spec.acceptance.is_some() || active_since.is_some(), Event::Accept),
        (active_since.is_some(), Event::Record),
        (ended, Event::Expire),
        (spec.suspended, Event::Suspend),
    ];
    membership::after(happened.into_iter().filter_map(|(did, event)| did.then_some(event)))
}

fn add_declared(vault: &Vault, members: &[VaultMember], views: &mut Vec<MemberView>) {
    let out: Vec<&str> = of_vault(vault, members)
        .filter(|member| is_put_out(member))
        .filter_map(|member| member.metadata.name.as_deref())
        .collect();
    for owner in crate::names::owner_members(vault, members) {
        match views.iter_mut().find(|view| view.subject == owner.subject) {
            // Owners are Active at once; a suspended, expired, demoted or put out one stays what it is.
            Some(view) => {
                let waiting = matches!(view.state, MemberState::Invited | MemberState::Accepted);
                if waiting && view.role == crate::roles::OWNER && !out.contains(&view.name.as_str()) {
                    view.state = MemberState::Active;
                    view.evidence = Evidence::Owners;
                }
            }
            None => views.push(MemberView::declared(vault, &owner.subject, owner.name)),
        }
    }
}

/// Whether the operator had made this a member and takes it for one no more: suspended, expired, or its ServiceAccount
/// gone or made again (T26). The custody in a status says that the register has an entry. An Accepted one only has to
/// bring a key, in a vault that became `SelfOnly`: it may still act as the owner that it is.
fn is_put_out(member: &VaultMember) -> bool {
    member.status.as_ref().is_some_and(|status| {
        let phases = [MemberPhase::Invited, MemberPhase::Suspended, MemberPhase::Expired];
        status.custody.is_some() && status.phase.is_some_and(|phase| phases.contains(&phase))
    })
}

fn of_vault<'a>(vault: &'a Vault, members: &'a [VaultMember]) -> impl Iterator<Item = &'a VaultMember> {
    members.iter().filter(|member| {
        // One that is being deleted is gone, whatever finalizer somebody gave it.
        member.metadata.deletion_timestamp.is_none()
            && member.metadata.namespace == vault.metadata.namespace
            && Some(&member.spec.vault) == vault.metadata.name.as_ref()
    })
}

fn namespace_of(member: &VaultMember) -> &str {
    member.metadata.namespace.as_deref().unwrap_or_default()
}

fn group_name(member: &MemberView) -> &str {
    match &member.subject {
        Subject::Group(group) => &group.name,
        Subject::ServiceAccount(_) | Subject::User(_) | Subject::External(_) => "",
    }
}

#[cfg(test)]
mod tests;
