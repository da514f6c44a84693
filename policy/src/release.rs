//! May this caller have these credentials? One decision for every door.
//!
//! The order of reasons is part of the contract: authenticated → Active member of the vault → role verb → within the
//! role's globs → in the Connection's scope → not expired → rate limit → size limit. Whatever is refused before the
//! rate limit uses no quota (T15). Callers who are no member, and members of a `sharing: Owner` vault that ask for what
//! was never shared, get the answer of an absent Connection (C14, T28).

mod denial;

pub use denial::{Absence, Denial};

use crate::break_glass::BreakGlass;
use crate::identity::{Caller, MemberState, MemberView, memberships};
use crate::roles::{Role, owner, role};
use crate::scope::{Recorded, Scope, recorded};
use coffer_crds::{Connection, EnvelopeSpec, RateLimit, Sharing, Vault, Verb, duration};
use jiff::{SignedDuration, Timestamp};

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

/// Decides a whole request. `charge` is asked once for each member that serves and has a limit, and only when nothing
/// else but the size limit can refuse; it charges on `Ok`.
///
/// # Errors
/// The first [`Denial`]: over the Connections in the request's order, then the rate limit, then the size limit.
pub fn decide<'a>(
    request: &Request<'a>,
    mut charge: impl FnMut(&Charge<'a>) -> Result<(), RetryAfter>,
) -> Result<Vec<Grant<'a>>, Denial> {
    if !request.caller.is_some_and(Caller::is_identified) {
        return Err(Denial::Unauthenticated);
    }
    let mut grants = Vec::with_capacity(request.asked.len());
    let mut served: Vec<Served<'a>> = Vec::new();
    for asked in request.asked {
        let grant = judge(request.caller, request.verb, request.now, asked)?;
        // A grant has a target, or it were a denial.
        if let Some(Target { vault, .. }) = asked.target {
            match served.iter_mut().find(|s| s.is(vault, grant.member)) {
                Some(already) => already.count += 1,
                None => {
                    served.push(Served { vault, member: grant.member, role: grant.role.clone(), count: 1 })
                }
            }
        }
        grants.push(grant);
    }
    for Served { vault, member, role, .. } in &served {
        let Some(limit) = limit_of(member, role) else { continue };
        charge(&Charge { vault, member, limit }).map_err(|wait| rate_limited(member, limit, wait))?;
    }
    for Served { role, count, .. } in &served {
        if let Some(limit) = role.max_connections().filter(|limit| *count > *limit) {
            return Err(Denial::TooMany { role: role.name().to_owned(), limit, asked: *count });
        }
    }
    Ok(grants)
}

/// What one membership serves of a request.
struct Served<'a> {
    vault: &'a Vault,
    member: &'a MemberView,
    role: Role,
    count: u32,
}

impl Served<'_> {
    /// By name, since every Connection asked for may bring its own copy of the facts.
    fn is(&self, vault: &Vault, member: &MemberView) -> bool {
        let place = |v: &Vault| (v.metadata.namespace.clone(), v.metadata.name.clone());
        self.member.name == member.name && place(self.vault) == place(vault)
    }
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

/// Why break glass opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbroken {
    /// The caller is in none of its groups.
    NoGroup,
    /// As nobody may have it.
    Denied(Denial),
    /// Only the own keys of its members open it.
    OnlyOwnKeys {
        /// The Connection's alias.
        alias: String,
    },
}

/// Decides a request that no membership of its caller allows, by break glass: what is wrapped for a member in force for
/// whom the broker `opens` is opened in that member's place. `opens` is told the place in the request.
///
/// # Errors
/// The first [`Unbroken`] in the request's order, and its place there.
pub fn by_break_glass<'a>(
    request: &Request<'a>,
    glass: &BreakGlass,
    opens: impl Fn(usize, &MemberView) -> bool,
) -> Result<Vec<Grant<'a>>, (usize, Unbroken)> {
    request.caller.and_then(|caller| glass.group_of(caller)).ok_or((0, Unbroken::NoGroup))?;
    let of_entry = |(at, asked): (usize, &Asked<'a>)| {
        stand_in(asked, request.now, |member| opens(at, member)).map_err(|why| (at, why))
    };
    request.asked.iter().enumerate().map(of_entry).collect()
}

/// The member in whose place one Connection is opened.
fn stand_in<'a>(
    asked: &Asked<'a>,
    now: Timestamp,
    opens: impl Fn(&MemberView) -> bool,
) -> Result<Grant<'a>, Unbroken> {
    let target = asked.target.ok_or_else(|| Unbroken::Denied(not_found(asked.reference)))?;
    not_expired(target.connection, now).map_err(Unbroken::Denied)?;
    let is_recorded =
        |member: &MemberView| target.envelope.is_some_and(|e| recorded(e, member) == Recorded::Yes);
    let mut members = target.members.iter();
    let member = members
        .find(|m| m.is_active() && m.is_registered() && is_recorded(m) && opens(m))
        .ok_or_else(|| Unbroken::OnlyOwnKeys { alias: alias(target.connection).to_owned() })?;
    Ok(Grant { member, role: owner(), connection: target.connection, cross_identity: true })
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
fn limit_of(member: &MemberView, role: &Role) -> Option<RateLimit> {
    const STRICTEST: RateLimit = RateLimit { count: 1, window_seconds: 99_999 };
    match &member.rate_limit {
        Some(text) => Some(text.parse().unwrap_or(STRICTEST)),
        None => role.rate_limit(),
    }
}

fn rate_limited(member: &MemberView, limit: RateLimit, RetryAfter(wait): RetryAfter) -> Denial {
    let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
    Denial::RateLimited {
        member: member.name.clone(),
        limit,
        retry_after_seconds: u64::try_from(seconds).unwrap_or(0).max(1),
    }
}

#[cfg(test)]
mod tests;
