//! May this caller have these credentials? One decision for every door.
//!
//! The order of reasons is part of the contract: authenticated → Active member of the vault → role verb → within the
//! role's globs → in the Connection's scope → not expired → rate limit → size limit. Whatever is refused before the
//! rate limit uses no quota (T15). Callers who are no member, and members of a `sharing: Owner` vault that ask for what
//! was never shared, get the answer of an absent Connection (C14, T28).

use crate::identity::{Caller, MemberState, MemberView, memberships};
use crate::roles::{Role, role, verb_name};
use crate::scope::{Recorded, Scope, recorded};
use coffer_crds::{Connection, EnvelopeSpec, RateLimit, Sharing, Vault, Verb, duration};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// One request for one or more Connections. All or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks, as authenticated; `None` = no identity.
    pub caller: Option<&'a Caller>,
    /// [`Verb::Use`] for workloads, [`Verb::Read`] for people.
    pub verb: Verb,
    /// The present time.
    pub now: Timestamp,
    /// What is asked for, in the caller's order.
    pub asked: &'a [Asked<'a>],
}

/// One Connection asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The caller's own word for it; all that a not-found answer repeats.
    pub reference: &'a str,
    /// What the word means; `None` = there is no such Connection (or its vault does not exist).
    pub target: Option<Target<'a>>,
}

/// A Connection that exists, with what the decision needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The vault that it is in.
    pub vault: &'a Vault,
    /// That vault's memberships.
    pub members: &'a [MemberView],
    /// The live object.
    pub connection: &'a Connection,
    /// What is really wrapped. `None` where the decision only wires and the broker decides again (admission of pods).
    pub envelope: Option<&'a EnvelopeSpec>,
}

/// A release that may be made, for one Connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant<'a> {
    /// The membership that serves it, and is charged.
    pub member: &'a MemberView,
    /// Its role.
    pub role: Role,
    /// The Connection.
    pub connection: &'a Connection,
    /// Whether the credential is another member's (C10).
    pub cross_identity: bool,
}

/// What a rate limiter is asked to charge: one request of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charge<'a> {
    /// The vault.
    pub vault: &'a Vault,
    /// The member that serves the request.
    pub member: &'a MemberView,
    /// The limit: the member's own, else its role's.
    pub limit: RateLimit,
}

/// A window is full; how long until it is not, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub SignedDuration);

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
        asked: usize,
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

/// Decides a whole request. `charge` is asked once for each member that serves and has a limit, and only when nothing
/// else but the size limit can refuse; it charges on `Ok`.
///
/// # Errors
/// The first [`Denial`]: over the Connections in the request's order, then the rate limit, then the size limit.
pub fn decide<'a>(
    request: &Request<'a>,
    mut charge: impl FnMut(&Charge<'a>) -> Result<(), RetryAfter>,
) -> Result<Vec<Grant<'a>>, Denial> {
    let mut grants: Vec<(Grant<'a>, &'a Vault)> = Vec::with_capacity(request.asked.len());
    if !request.caller.is_some_and(Caller::is_identified) {
        return Err(Denial::Unauthenticated);
    }
    for asked in request.asked {
        let grant = judge(request.caller, request.verb, request.now, asked)?;
        // A grant has a target, or it were a denial.
        grants.extend(asked.target.map(|target| (grant, target.vault)));
    }
    let mut charged: Vec<&MemberView> = Vec::new();
    for (grant, vault) in &grants {
        if charged.iter().any(|m| std::ptr::eq(*m, grant.member)) {
            continue;
        }
        charged.push(grant.member);
        let Some(limit) = limit_of(grant.member, &grant.role)? else { continue };
        charge(&Charge { vault, member: grant.member, limit }).map_err(|RetryAfter(wait)| {
            let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
            Denial::RateLimited {
                member: grant.member.name.clone(),
                limit,
                retry_after_seconds: u64::try_from(seconds).unwrap_or(0).max(1),
            }
        })?;
    }
    for member in charged {
        let served: Vec<_> = grants.iter().filter(|(g, _)| std::ptr::eq(g.member, member)).collect();
        if let Some((grant, _)) = served.first()
            && let Some(limit) = grant.role.max_connections()
            && served.len() > usize::try_from(limit).unwrap_or(usize::MAX)
        {
            return Err(Denial::TooMany { role: grant.role.name().to_owned(), limit, asked: served.len() });
        }
    }
    Ok(grants.into_iter().map(|(grant, _)| grant).collect())
}

/// Decides one Connection up to its expiry: everything but the rate limit and the size limit. Charges nothing.
///
/// # Errors
/// The first [`Denial`] of the first membership, unless a later one allows.
pub fn judge<'a>(
    caller: Option<&Caller>,
    verb: Verb,
    now: Timestamp,
    asked: &Asked<'a>,
) -> Result<Grant<'a>, Denial> {
    let caller = caller.filter(|c| c.is_identified()).ok_or(Denial::Unauthenticated)?;
    let absent = |because| Denial::NotFound { reference: asked.reference.to_owned(), because };
    let target = asked.target.ok_or_else(|| absent(Absence::Absent))?;
    let mut denial = None;
    for member in memberships(caller, target.members) {
        match judge_as(member, verb, &target, asked.reference) {
            Ok(role) => {
                not_expired(target.connection, now)?;
                let owner = target.connection.spec.owner.as_deref();
                return Ok(Grant {
                    member,
                    role,
                    connection: target.connection,
                    cross_identity: owner != Some(member.name.as_str()),
                });
            }
            Err(why) => {
                // A suspended or expired direct membership denies; a group's is passed over.
                if !member.is_active() && !member.is_group() {
                    return Err(why);
                }
                if member.is_active() {
                    denial.get_or_insert(why);
                }
            }
        }
    }
    Err(denial.unwrap_or_else(|| absent(Absence::NotAMember)))
}

/// The alias of a Connection: `spec.alias`, else its name.
pub fn alias(connection: &Connection) -> &str {
    connection.spec.alias.as_deref().or(connection.metadata.name.as_deref()).unwrap_or_default()
}

/// When a Connection expires: `expiresAt`, else `ttl` counted from the last new value (`status.lastRefreshed`), or from
/// creation while there is none. A `ttl` that cannot be read has passed. `None` = never.
pub fn expires_at(connection: &Connection) -> Option<Timestamp> {
    if let Some(at) = &connection.spec.expires_at {
        return Some(at.0);
    }
    let ttl = connection.spec.ttl.as_deref()?;
    let since = connection
        .status
        .as_ref()
        .and_then(|s| s.last_refreshed.as_ref())
        .or(connection.metadata.creation_timestamp.as_ref())
        .map_or(Timestamp::MIN, |t| t.0);
    Some(
        duration::parse(ttl)
            .map_or(Timestamp::MIN, |ttl| since.saturating_add(ttl).unwrap_or(Timestamp::MAX)),
    )
}

/// The answer to a reference that means nothing: the same for absent, not a member, and never shared.
pub fn not_found(reference: &str) -> Denial {
    Denial::NotFound { reference: reference.to_owned(), because: Absence::Absent }
}

fn judge_as(member: &MemberView, verb: Verb, target: &Target<'_>, reference: &str) -> Result<Role, Denial> {
    let absent = |because| Denial::NotFound { reference: reference.to_owned(), because };
    match member.state {
        MemberState::Active => {}
        MemberState::Suspended => return Err(absent(Absence::Suspended)),
        MemberState::Expired => return Err(absent(Absence::MemberExpired)),
        MemberState::Invited | MemberState::Accepted | MemberState::Declined => {
            return Err(absent(Absence::NotAMember));
        }
    }
    let connection = target.connection;
    let owner = connection.spec.owner.as_deref().unwrap_or_default();
    let sharing = target.vault.spec.sharing;
    let scope = Scope::of_connection(connection, sharing);
    let in_scope = scope.holds(&member.name, owner);
    // Before verb and globs, whose denials would tell that it exists.
    if sharing == Sharing::Owner && !in_scope && scope.is_owner_only(owner) {
        return Err(absent(Absence::NeverShared));
    }
    let name = connection.metadata.name.as_deref().unwrap_or_default();
    let Some(role) = role(&target.vault.spec, &member.role).filter(|r| r.allows(verb)) else {
        return Err(Denial::Verb { verb, role: member.role.clone(), member: member.name.clone() });
    };
    let alias = alias(connection);
    if !role.covers(name) {
        return Err(Denial::NotCovered {
            alias: alias.to_owned(),
            role: role.name().to_owned(),
            member: member.name.clone(),
        });
    }
    let outside = || Denial::OutOfScope {
        alias: alias.to_owned(),
        member: member.name.clone(),
        allowed: allowed(&scope, owner),
    };
    if !in_scope {
        return Err(outside());
    }
    match target.envelope.map(|envelope| recorded(envelope, member)) {
        None | Some(Recorded::Yes) => Ok(role),
        Some(Recorded::NotYet) => Err(Denial::NotReady { alias: alias.to_owned() }),
        Some(Recorded::AnotherUid) => Err(outside()),
    }
}

fn not_expired(connection: &Connection, now: Timestamp) -> Result<(), Denial> {
    match expires_at(connection) {
        Some(at) if at <= now => Err(Denial::Expired { alias: alias(connection).to_owned(), at }),
        Some(_) | None => Ok(()),
    }
}

/// Who is allowed, for the denial text: the listed names in the order of `spec.members`, or the owner where none is.
fn allowed(scope: &Scope, owner: &str) -> Vec<String> {
    match scope {
        Scope::Listed(names) if !names.is_empty() => names.clone(),
        Scope::Listed(_) | Scope::All => vec![owner.to_owned()],
    }
}

/// The limit of a membership. One that cannot be read (written past the schema) is the strictest there is.
fn limit_of(member: &MemberView, role: &Role) -> Result<Option<RateLimit>, Denial> {
    const STRICTEST: RateLimit = RateLimit { count: 1, window_seconds: 99_999 };
    Ok(match &member.rate_limit {
        Some(text) => Some(text.parse().unwrap_or(STRICTEST)),
        None => role.rate_limit(),
    })
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
            Self::Unauthenticated => f.write_str("No identity: a token of audience 'coffer' is required"),
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
