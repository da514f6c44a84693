//! Where a membership may go from where it stands: the one table.
//!
//! [`crate::identity`] finds where a membership stands by running what has happened to it through [`next`]; admission
//! asks [`allows`] before it takes an answer or a key; the operator asks [`next`] for what happens to a member by no
//! write of anybody. The diagram in the documentation is made of the same rows.

use crate::identity::MemberState;
use std::collections::BTreeSet;

/// What happens to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// Its VaultMember is made.
    Invite,
    /// The subject accepts.
    Accept,
    /// The subject declines.
    Decline,
    /// The register in the Keyring takes it in.
    Record,
    /// Its time, or its invite's, runs out.
    Expire,
    /// It is put on hold.
    Suspend,
    /// It comes back into force.
    Resume,
    /// An invite that was on hold, or over, is open again.
    Reopen,
    /// The subject brings another key.
    ChangeKey,
    /// Its ServiceAccount is deleted, or made again.
    LoseSubject,
    /// Its vault takes nobody without a key any more, or has its role no more.
    LoseGround,
}

impl Event {
    /// All, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Invite,
        Self::Accept,
        Self::Decline,
        Self::Record,
        Self::Expire,
        Self::Suspend,
        Self::Resume,
        Self::Reopen,
        Self::ChangeKey,
        Self::LoseSubject,
        Self::LoseGround,
    ];

    /// The word for it in diagrams.
    pub fn word(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Accept => "accept",
            Self::Decline => "decline",
            Self::Record => "record",
            Self::Expire => "expire",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Reopen => "reopen",
            Self::ChangeKey => "change key",
            Self::LoseSubject => "lose subject",
            Self::LoseGround => "lose ground",
        }
    }
}

/// Who brings an event about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A member whose role allows `invite` and holds the role that is granted, and the one that was.
    Granter,
    /// Whoever the membership is for.
    Subject,
    /// The operator.
    Operator,
    /// The clock.
    Time,
    /// Whoever may delete the ServiceAccount.
    Cluster,
    /// An owner of the vault.
    Owner,
}

impl Who {
    /// The words for it in tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Granter => "a member who may `invite` and holds the role",
            Self::Subject => "the subject",
            Self::Operator => "the operator",
            Self::Time => "time",
            Self::Cluster => "whoever deletes the ServiceAccount",
            Self::Owner => "an owner of the vault",
        }
    }
}

/// One row: from a state (`None`: there is no VaultMember) by an event to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where it stands before.
    pub from: Option<MemberState>,
    /// What happens.
    pub event: Event,
    /// Where it stands then.
    pub to: MemberState,
    /// Who brings it about.
    pub who: Who,
    /// Under which condition.
    pub condition: &'static str,
}

const fn row(
    from: Option<MemberState>,
    event: Event,
    to: MemberState,
    who: Who,
    condition: &'static str,
) -> Transition {
    Transition { from, event, to, who, condition }
}

const UNANSWERED: &str = "who never had to accept: a listed owner, a ServiceAccount";
const AGAIN: &str = "the operator judges whoever wrote it, by the role that was and the one that is";

/// Every way there is. What is not in here does not happen: no answer is taken back, and who declined is invited anew.
/// From every state a membership ends when its VaultMember is deleted.
pub const TABLE: [Transition; 25] = {
    use Event as E;
    use MemberState::{Accepted, Active, Declined, Expired, Invited, Suspended};
    use Who as W;
    [
        row(None, E::Invite, Invited, W::Granter, "or the operator, for an entry of `Vault.spec.owners`"),
        row(
            Some(Invited),
            E::Accept,
            Accepted,
            W::Subject,
            "while the invite lasts; nobody has to for a ServiceAccount of the vault's namespace or a listed owner",
        ),
        row(Some(Invited), E::Decline, Declined, W::Subject, "once and for all"),
        row(Some(Invited), E::Expire, Expired, W::Time, "`inviteTTL` from its creation, or `expiresAt`"),
        row(Some(Invited), E::Suspend, Suspended, W::Granter, ""),
        row(
            Some(Accepted),
            E::Record,
            Active,
            W::Operator,
            "the granter may grant, the subject is who accepted, the proof of its key holds; only then is anything wrapped",
        ),
        row(
            Some(Accepted),
            E::Accept,
            Accepted,
            W::Subject,
            "the answer to `status.challenge`, or the key that a listed owner owes",
        ),
        row(Some(Accepted), E::Decline, Declined, W::Subject, UNANSWERED),
        row(Some(Accepted), E::LoseSubject, Invited, W::Cluster, "the ServiceAccount accepts anew"),
        row(Some(Accepted), E::Expire, Expired, W::Time, "`expiresAt`"),
        row(Some(Accepted), E::Suspend, Suspended, W::Granter, ""),
        row(Some(Active), E::Accept, Active, W::Subject, "a listed owner brings its first key"),
        row(Some(Active), E::ChangeKey, Active, W::Subject, "with the proof of both keys"),
        row(
            Some(Active),
            E::Expire,
            Expired,
            W::Time,
            "`expiresAt`, `ttl`, or the vault's `memberTTL`; never the last owner",
        ),
        row(Some(Active), E::Suspend, Suspended, W::Granter, "never the last owner"),
        row(Some(Active), E::Decline, Declined, W::Subject, UNANSWERED),
        row(Some(Active), E::LoseSubject, Invited, W::Cluster, "the ServiceAccount accepts anew"),
        row(
            Some(Active),
            E::LoseGround,
            Accepted,
            W::Owner,
            "`custody: SelfOnly` and no key, or its role is gone",
        ),
        row(Some(Suspended), E::Resume, Active, W::Granter, AGAIN),
        row(Some(Suspended), E::Reopen, Invited, W::Granter, "it never was Active"),
        row(Some(Suspended), E::Decline, Declined, W::Subject, UNANSWERED),
        row(Some(Expired), E::Resume, Active, W::Granter, AGAIN),
        row(Some(Expired), E::Reopen, Invited, W::Granter, "it never was Active, and lasts longer now"),
        row(Some(Expired), E::Suspend, Suspended, W::Granter, ""),
        row(Some(Expired), E::Decline, Declined, W::Subject, UNANSWERED),
    ]
};

/// Where a membership stands after an event; `None` where that cannot happen.
pub fn next(from: Option<MemberState>, event: Event) -> Option<MemberState> {
    TABLE.iter().find(|row| row.from == from && row.event == event).map(|row| row.to)
}

/// Whether it can happen to a membership that stands there.
pub fn allows(from: MemberState, event: Event) -> bool {
    next(Some(from), event).is_some()
}

/// Where a membership stands to which these happened, in this order, since its invite. What cannot happen did not.
pub(crate) fn after(events: impl IntoIterator<Item = Event>) -> MemberState {
    events.into_iter().fold(MemberState::Invited, |state, event| next(Some(state), event).unwrap_or(state))
}

/// Whether a membership that stood at `from` may stand at `to` when it is looked at again, whatever happened between.
pub fn leads(from: MemberState, to: MemberState) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(state) = open.pop() {
        let following = TABLE.iter().filter(|row| row.from == Some(state)).map(|row| row.to);
        open.extend(following.filter(|to| seen.insert(*to)));
    }
    seen.contains(&to)
}

#[cfg(test)]
mod tests;
