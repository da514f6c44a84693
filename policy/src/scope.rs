//! Which members a Connection is for.

use crate::identity::MemberView;
use coffer_crds::{Connection, EnvelopeMember, EnvelopeScope, EnvelopeSpec, Sharing};

/// The scope of a Connection. The owner is always in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every member, those added later too.
    All,
    /// The owner and these, in the order of `spec.members`, the owner only where it is listed.
    Listed(Vec<String>),
}

impl Scope {
    /// What `spec.members` means in a vault of that sharing. `["*", a]`, which the schema refuses (T31), means only
    /// the names: nobody gains by it.
    pub fn of(members: Option<&[String]>, sharing: Sharing) -> Self {
        match (members, sharing) {
            (None, Sharing::All) => Self::All,
            (None, Sharing::Owner) => Self::Listed(Vec::new()),
            (Some([only]), _) if only == "*" => Self::All,
            (Some(names), _) => Self::Listed(names.iter().filter(|n| *n != "*").cloned().collect()),
        }
    }

    /// The scope of a live Connection.
    pub fn of_connection(connection: &Connection, sharing: Sharing) -> Self {
        Self::of(connection.spec.members.as_deref(), sharing)
    }

    /// The scope that an Envelope records.
    pub fn of_envelope(envelope: &EnvelopeSpec) -> Self {
        match &envelope.members {
            EnvelopeScope::All(_) => Self::All,
            EnvelopeScope::Listed(members) => Self::Listed(members.iter().map(|m| m.name.clone()).collect()),
        }
    }

    /// Whether the member of that name is in it.
    pub fn holds(&self, member: &str, owner: &str) -> bool {
        match self {
            Self::All => true,
            Self::Listed(names) => member == owner || names.iter().any(|n| n == member),
        }
    }

    /// Whether nobody but the owner is in it.
    pub fn is_owner_only(&self, owner: &str) -> bool {
        match self {
            Self::All => false,
            Self::Listed(names) => names.iter().all(|n| n == owner),
        }
    }

    /// Whether both mean the same members, whatever the order.
    pub fn same_as(&self, other: &Self, owner: &str) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Listed(a), Self::Listed(b)) => {
                a.iter().all(|n| other.holds(n, owner)) && b.iter().all(|n| self.holds(n, owner))
            }
            (Self::All, Self::Listed(_)) | (Self::Listed(_), Self::All) => false,
        }
    }
}

/// Whether an Envelope's own record holds a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// By name and uid, or because the scope is all.
    Yes,
    /// Not at all, or with an empty uid: the operator has not caught up.
    NotYet,
    /// Under the same name with another uid: somebody else was meant.
    AnotherUid,
}

/// What an Envelope records of a member, by name and uid.
pub fn recorded(envelope: &EnvelopeSpec, member: &MemberView) -> Recorded {
    let listed: &[EnvelopeMember] = match &envelope.members {
        EnvelopeScope::All(_) => return Recorded::Yes,
        EnvelopeScope::Listed(members) => members,
    };
    // The owner stands in the list as well; looked at by itself so that a record without it still lets it in.
    let found = listed.iter().chain([&envelope.owner]).find(|m| m.name == member.name);
    match found {
        Some(found) if found.uid.is_empty() => Recorded::NotYet,
        Some(found) if found.uid == member.uid => Recorded::Yes,
        Some(_) => Recorded::AnotherUid,
        None => Recorded::NotYet,
    }
}

#[cfg(test)]
mod tests;
