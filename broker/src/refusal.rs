//! Why nothing was released, and what the caller is told of it.

use crate::facts::Hidden;
use coffer_crds::RateLimit;
use coffer_policy::{Denial, audit::NoAuditor, resolve::ResolveError};
use std::fmt;

/// Why nothing was released. [`fmt::Display`] is for the caller, [`Refusal::reason`] for audit and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The decision.
    Denied {
        /// What it was.
        denial: Denial,
        /// What is really behind a not-found, when the broker knows more than `policy`.
        hidden: Option<Hidden>,
    },
    /// The caller may not look into the audit log.
    NotAuditor(NoAuditor),
    /// A field cannot be understood.
    Malformed {
        /// The field.
        field: &'static str,
        /// What is accepted.
        accepted: &'static str,
    },
    /// A word means several Connections, or cannot mean any.
    Unresolved(ResolveError),
    /// The member keeps its own key: the broker holds nothing that opens for it.
    SelfCustody {
        /// The Connection's alias.
        alias: String,
        /// The member.
        member: String,
    },
    /// Whoever breaks glass asks for what nothing of the broker's opens.
    OnlyOwnKeys {
        /// The Connection's alias.
        alias: String,
    },
    /// A Connection has no item of that name.
    NoSuchItem {
        /// The Connection's alias.
        alias: String,
        /// What was asked for.
        item: String,
    },
    /// More than one answer carries.
    TooLarge {
        /// What it carries.
        bytes: usize,
    },
    /// One requester asks faster than a door answers any.
    AskedTooOften {
        /// What it answers.
        limit: RateLimit,
        /// Until it answers again.
        retry_after_seconds: u64,
    },
    /// What vouches for requesters is missing in the API server.
    Unguarded,
    /// The broker's own key is not there.
    KeyUnavailable,
    /// The audit log cannot be written.
    AuditUnavailable,
    /// What is wrapped for the member does not open.
    DoesNotOpen {
        /// The Connection's alias.
        alias: String,
    },
}

impl Refusal {
    /// The HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            Self::Denied { denial, .. } => denial.code(),
            Self::NotAuditor(why) => why.code(),
            Self::Unresolved(_) | Self::Malformed { .. } => 400,
            Self::SelfCustody { .. } | Self::OnlyOwnKeys { .. } => 403,
            Self::NoSuchItem { .. } => 404,
            Self::TooLarge { .. } => 413,
            Self::AskedTooOften { .. } => 429,
            Self::KeyUnavailable | Self::AuditUnavailable | Self::DoesNotOpen { .. } | Self::Unguarded => 503,
        }
    }

    /// One of a fixed few words. Tells more than the caller may know.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied { denial, hidden } => {
                hidden.and_then(Hidden::reason).unwrap_or_else(|| denial.reason())
            }
            Self::NotAuditor(why) => why.reason(),
            Self::Malformed { .. } => "Malformed",
            Self::Unresolved(ResolveError::Ambiguous { .. }) => "Ambiguous",
            Self::Unresolved(ResolveError::Malformed { .. } | ResolveError::NotFound { .. }) => "Malformed",
            Self::SelfCustody { .. } => "SelfCustody",
            Self::OnlyOwnKeys { .. } => "OnlyOwnKeys",
            Self::NoSuchItem { .. } => "NoSuchItem",
            Self::TooLarge { .. } => "TooLarge",
            Self::AskedTooOften { .. } => "AskedTooOften",
            Self::Unguarded => "Unguarded",
            Self::KeyUnavailable => "KeyUnavailable",
            Self::AuditUnavailable => "AuditUnavailable",
            Self::DoesNotOpen { .. } => "DoesNotOpen",
        }
    }

    /// Seconds for `Retry-After`, at least 1; `None` where waiting does not help.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::Denied { denial, .. } => denial.retry_after_seconds(),
            Self::AskedTooOften { retry_after_seconds, .. } => Some(*retry_after_seconds),
            Self::KeyUnavailable | Self::AuditUnavailable | Self::DoesNotOpen { .. } => Some(1),
            Self::Unresolved(_)
            | Self::NotAuditor(_)
            | Self::Malformed { .. }
            | Self::SelfCustody { .. }
            | Self::OnlyOwnKeys { .. }
            | Self::NoSuchItem { .. }
            | Self::TooLarge { .. }
            | Self::Unguarded => None,
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied { denial, hidden: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { denial, .. } => denial.fmt(f),
            Self::Unresolved(error) => error.fmt(f),
            Self::NotAuditor(why) => why.fmt(f),
            Self::Malformed { field, accepted } => write!(f, "{field}: {accepted}"),
            Self::SelfCustody { alias, member } => write!(
                f,
                "Credential '{alias}' is wrapped to the own key of member '{member}': workloads cannot use it"
            ),
            Self::OnlyOwnKeys { alias } => write!(
                f,
                "Credential '{alias}' is wrapped to its members' own keys only: break glass opens what a member without \
                 a key may have"
            ),
            Self::NoSuchItem { alias, item } => write!(f, "Credential '{alias}' has no item '{item}'"),
            Self::TooLarge { bytes } => {
                write!(f, "The credentials are larger than {bytes} bytes together: ask for fewer")
            }
            Self::AskedTooOften { limit, retry_after_seconds } => write!(
                f,
                "You ask too often: at most {limit} requests of one requester are answered. Ask again in \
                 {retry_after_seconds} s"
            ),
            Self::Unguarded => f.write_str(
                "The admission policies that vouch for who asks are not as shipped (see the Vault's condition \
                 Guarded), so nothing is released: an administrator puts them back with helm upgrade",
            ),
            Self::KeyUnavailable => f.write_str("The broker's key is not available: try again"),
            Self::AuditUnavailable => {
                f.write_str("The audit log is not available, so nothing is released: try again")
            }
            Self::DoesNotOpen { alias } => {
                write!(f, "Credential '{alias}' does not open at the moment: try again")
            }
        }
    }
}
