//! What a role allows.

use coffer_crds::{RateLimit, RoleSpec, VaultSpec, Verb};
use std::collections::BTreeSet;

/// Everything, and owners.
pub const OWNER: &str = "owner";
/// All verbs; invites and removes up to admin.
pub const ADMIN: &str = "admin";
/// list, use, read; in `sharing: Owner` vaults also write and share on its own Connections.
pub const MEMBER: &str = "member";
/// The names that no custom role may take.
pub const BUILT_IN: [&str; 3] = [OWNER, ADMIN, MEMBER];

const ALL_VERBS: [Verb; 8] =
    [Verb::List, Verb::Use, Verb::Read, Verb::Write, Verb::Share, Verb::Invite, Verb::Audit, Verb::Rotate];

/// A role of one vault, parsed: nothing in it can be wrong any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    name: String,
    rank: Rank,
    verbs: BTreeSet<Verb>,
    own_verbs: BTreeSet<Verb>,
    globs: Option<Vec<String>>,
    rate_limit: Option<RateLimit>,
    max_connections: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Custom,
    Member,
    Admin,
    Owner,
}

/// The role of that name: built in, or the vault's own. `None` if there is none, or if what the vault says of it cannot
/// be read (written past the schema): such a role allows nothing.
pub fn role(vault: &VaultSpec, name: &str) -> Option<Role> {
    match name {
        OWNER => Some(owner()),
        ADMIN => Some(Role::built_in(name, Rank::Admin, &ALL_VERBS, &[])),
        MEMBER => {
            let own: &[Verb] = match vault.sharing {
                coffer_crds::Sharing::Owner => &[Verb::Write, Verb::Share],
                coffer_crds::Sharing::All => &[],
            };
            Some(Role::built_in(name, Rank::Member, &[Verb::List, Verb::Use, Verb::Read], own))
        }
        _ => vault.roles.iter().find(|r| r.name == name).and_then(Role::custom),
    }
}

/// [`OWNER`], which is the same in every vault.
pub(crate) fn owner() -> Role {
    Role::built_in(OWNER, Rank::Owner, &ALL_VERBS, &[])
}

impl Role {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is `owner`.
    pub fn is_owner(&self) -> bool {
        self.rank == Rank::Owner
    }

    /// Whether it is `owner` or `admin`.
    pub fn is_admin(&self) -> bool {
        self.rank >= Rank::Admin
    }

    /// Whether it allows the verb on any Connection that it covers.
    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether it allows the verb on a Connection that the member owns.
    pub fn allows_own(&self, verb: Verb) -> bool {
        self.allows(verb) || self.own_verbs.contains(&verb)
    }

    /// Whether it covers all Connections: no globs, or `*` among them.
    pub fn covers_all(&self) -> bool {
        self.globs.as_ref().is_none_or(|globs| globs.iter().any(|g| g == "*"))
    }

    /// Whether one of its globs matches the Connection's `metadata.name`.
    pub fn covers(&self, connection_name: &str) -> bool {
        self.globs.as_ref().is_none_or(|globs| globs.iter().any(|g| glob_matches(g, connection_name)))
    }

    /// Whether anything at all is wrapped for its members: only with `use` or `read`.
    pub fn opens(&self) -> bool {
        self.allows(Verb::Use) || self.allows(Verb::Read)
    }

    /// Whether the vault key is wrapped for its members.
    pub fn holds_vault_key(&self) -> bool {
        self.covers_all() && self.opens()
    }

    /// Whether its members get a slot of their own in what all may open: there may be
    /// [`coffer_crds::limits::MAX_RESTRICTED_MEMBERS`] of them in a vault.
    pub fn is_restricted(&self) -> bool {
        self.opens() && !self.covers_all()
    }

    /// Requests per sliding window of each member; `None` = no limit.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.rate_limit
    }

    /// Connections in one request; `None` = no limit.
    pub fn max_connections(&self) -> Option<u32> {
        self.max_connections
    }

    /// Whether everything that `other` grants, this role holds: nobody grants more than they hold.
    pub fn holds(&self, other: &Role) -> bool {
        if self.is_owner() {
            return true;
        }
        if other.is_owner() {
            return false;
        }
        // Admin is more than the sum of its verbs: it removes members and deletes others' Connections.
        let rank = self.is_admin() || !other.is_admin();
        rank && other.verbs.is_subset(&self.verbs)
            && other.own_verbs.iter().all(|v| self.allows_own(*v))
            && self.holds_globs(other)
            && within(other.rate_limit, self.rate_limit)
            && within_count(other.max_connections, self.max_connections)
    }

    fn holds_globs(&self, other: &Role) -> bool {
        match &other.globs {
            None => self.covers_all(),
            // A glob read as a name is matched only by globs that match all that it matches.
            Some(globs) => globs.iter().all(|g| self.covers(g)),
        }
    }

    fn built_in(name: &str, rank: Rank, verbs: &[Verb], own: &[Verb]) -> Self {
        Self {
            name: name.to_owned(),
            rank,
            verbs: verbs.iter().copied().collect(),
            own_verbs: own.iter().copied().collect(),
            globs: None,
            rate_limit: None,
            max_connections: None,
        }
    }

    fn custom(spec: &RoleSpec) -> Option<Self> {
        let rate_limit = spec.rate_limit.as_deref().map(str::parse).transpose().ok()?;
        Some(Self {
            name: spec.name.clone(),
            rank: Rank::Custom,
            verbs: spec.verbs.iter().copied().collect(),
            own_verbs: BTreeSet::new(),
            globs: spec.connections.clone(),
            rate_limit,
            max_connections: spec.max_connections,
        })
    }
}

/// The verb as users write it.
pub fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::List => "list",
        Verb::Use => "use",
        Verb::Read => "read",
        Verb::Write => "write",
        Verb::Share => "share",
        Verb::Invite => "invite",
        Verb::Audit => "audit",
        Verb::Rotate => "rotate",
    }
}

/// Whether a glob, in which `*` stands for any run of characters, matches the whole name.
/// Linear in the product of the lengths at worst: no backtracking beyond the last `*`.
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if glob.get(g) == Some(&b'*') {
            retry = Some((g + 1, n));
            g += 1;
        } else if glob.get(g) == Some(&name[n]) {
            g += 1;
            n += 1;
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            g = after_star;
            n = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

/// Whether `granted` allows no more requests than `held`, whatever the windows.
fn within(granted: Option<RateLimit>, held: Option<RateLimit>) -> bool {
    match (granted, held) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(granted), Some(held)) => {
            let per = |a: RateLimit, b: RateLimit| u64::from(a.count) * u64::from(b.window_seconds);
            per(granted, held) <= per(held, granted) && granted.count <= held.count
        }
    }
}

fn within_count(granted: Option<u32>, held: Option<u32>) -> bool {
    match (granted, held) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(granted), Some(held)) => granted <= held,
    }
}

#[cfg(test)]
mod tests;
