//! Why a release is not made, and what is told of it.

use crate::roles::verb_name;
use coffer_crds::{RateLimit, Verb};
use jiff::Timestamp;
use std::fmt;

/// Why a release is not made. [`fmt::Display`] is what the caller is told; [`Denial::reason`] is for the audit record
/// and tells more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No identity.
    Unauthenticated,
    /// Absent, or to look so.
    NotFound {
        /// The caller's word for it.
        reference: String,
        /// What is really the matter; never told.
        because: Absence,
    },
    /// The role lacks the verb.
    Verb {
        /// The verb.
        verb: Verb,
        /// The role's name.
        role: String,
        /// The member.
        member: String,
    },
    /// The role's globs do not cover the Connection.
    NotCovered {
        /// The Connection's alias.
        alias: String,
        /// The role's name.
        role: String,
        /// The member.
        member: String,
    },
    /// The member is outside the scope.
    OutOfScope {
        /// The Connection's alias.
        alias: String,
        /// The member.
        member: String,
        /// The listed names, in the order of `spec.members`; the owner only where nobody is listed.
        allowed: Vec<String>,
    },
    /// In scope, but nothing is wrapped for the member yet.
    NotReady {
        /// The Connection's alias.
        alias: String,
    },
    /// The Connection has expired.
    Expired {
        /// The Connection's alias.
        alias: String,
        /// When.
        at: Timestamp,
    },
    /// The member's window is full.
    RateLimited {
        /// The member.
        member: String,
        /// The limit.
        limit: RateLimit,
        /// How long to wait, whole seconds, at least 1.
        retry_after_seconds: u64,
    },
    /// More Connections in one request than the role allows.
    TooMany {
        /// The role's name.
        role: String,
        /// How many it allows.
        limit: u32,
        /// How many were asked for.
        asked: u32,
    },
}

/// Why a Connection looks absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is absent.
    Absent,
    /// The caller has no membership of its vault.
    NotAMember,
    /// The caller's membership is suspended.
    Suspended,
    /// The caller's membership has expired.
    MemberExpired,
    /// It was never shared, in a vault of `sharing: Owner`.
    NeverShared,
}

impl Denial {
    /// The HTTP status at every door.
    pub fn code(&self) -> u16 {
        match self {
            Self::Unauthenticated => 401,
            Self::Verb { .. } | Self::NotCovered { .. } | Self::OutOfScope { .. } | Self::Expired { .. } => {
                403
            }
            Self::NotFound { .. } => 404,
            Self::TooMany { .. } => 413,
            Self::RateLimited { .. } => 429,
            Self::NotReady { .. } => 503,
        }
    }

    /// The reason for the audit record and for metrics: one of a fixed few words. Tells more than the caller may know.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "Unauthenticated",
            Self::NotFound { because: Absence::Absent, .. } => "NotFound",
            Self::NotFound { because: Absence::NotAMember, .. } => "NotAMember",
            Self::NotFound { because: Absence::Suspended, .. } => "MemberSuspended",
            Self::NotFound { because: Absence::MemberExpired, .. } => "MemberExpired",
            Self::NotFound { because: Absence::NeverShared, .. } => "NeverShared",
            Self::Verb { .. } => "VerbNotAllowed",
            Self::NotCovered { .. } => "RoleDoesNotCover",
            Self::OutOfScope { .. } => "OutOfScope",
            Self::NotReady { .. } => "NotReady",
            Self::Expired { .. } => "Expired",
            Self::RateLimited { .. } => "RateLimited",
            Self::TooMany { .. } => "TooManyConnections",
        }
    }

    /// Seconds for `Retry-After`, at least 1; `None` where waiting does not help.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_seconds, .. } => Some(*retry_after_seconds),
            Self::NotReady { .. } => Some(1),
            Self::Unauthenticated
            | Self::NotFound { .. }
            | Self::Verb { .. }
            | Self::NotCovered { .. }
            | Self::OutOfScope { .. }
            | Self::Expired { .. }
            | Self::TooMany { .. } => None,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated => f.write_str("No identity: authenticate first"),
            Self::NotFound { reference, .. } => write!(f, "Credential '{reference}' not found"),
            Self::Verb { verb, role, member } => {
                write!(f, "Role '{role}' of member '{member}' does not allow '{}'", verb_name(*verb))
            }
            Self::NotCovered { alias, role, member } => {
                write!(f, "Role '{role}' of member '{member}' does not cover credential '{alias}'")
            }
            Self::OutOfScope { alias, member, allowed } => write!(
                f,
                "Credential '{alias}' is not accessible to member '{member}'. Allowed: {}",
                allowed.join(", ")
            ),
            Self::NotReady { alias } => write!(f, "Credential '{alias}' is not ready yet: try again"),
            Self::Expired { alias, at } => {
                write!(f, "Credential '{alias}' expired at {}", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
            }
            Self::RateLimited { member, limit, retry_after_seconds } => write!(
                f,
                "Member '{member}' has used its {limit} requests: try again in {retry_after_seconds} s"
            ),
            Self::TooMany { role, limit, asked } => {
                write!(f, "Role '{role}' allows {limit} credentials in one request, {asked} were asked for")
            }
        }
    }
}

impl std::error::Error for Denial {}
