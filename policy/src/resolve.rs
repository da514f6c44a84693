//! Which Connection does a word mean?

use crate::identity::{Caller, MemberView, memberships};
use crate::release::alias;
use crate::scope::Scope;
use coffer_crds::{Connection, Sharing, Vault};
use std::fmt;

/// How near a Connection is to the caller; nearer ones are meant first (C12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The caller's own.
    Own,
    /// Another's, in whose scope the caller is.
    InScope,
    /// Known to the caller as a member of its vault, but not for it.
    OutOfScope,
}

/// A Connection as the caller may know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// Its alias.
    pub alias: String,
    /// The member that owns it; shown in the list of candidates.
    pub owner: String,
    /// How near it is.
    pub relation: Relation,
}

/// A Connection's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl fmt::Display for ConnectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A word resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The caller's word; messages repeat it.
    pub reference: String,
    /// What it means.
    pub key: ConnectionKey,
}

/// Why a list of references means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A word that is no name at all.
    #[error(
        "'{word}' names no credential: write aliases or namespace/name, separated by commas, such as github, team-a/slack"
    )]
    Malformed {
        /// The word, cut after 64 characters.
        word: String,
    },
    /// No such credential, as far as the caller may know. The text is that of [`crate::Denial::NotFound`].
    #[error("Credential '{word}' not found")]
    NotFound {
        /// The word.
        word: String,
    },
    /// Several are meant equally well; nothing is guessed (T10).
    #[error("Credential '{word}' is ambiguous. Name one of: {}", candidates.join(", "))]
    Ambiguous {
        /// The word.
        word: String,
        /// `namespace/name (owner alice)` of each, sorted.
        candidates: Vec<String>,
    },
}

/// The Connections of one vault as the caller may know of them: none for callers who are no Active member, and in a
/// vault of `sharing: Owner` none that was never shared.
pub fn candidates<'a>(
    caller: &Caller,
    vault: &Vault,
    members: &[MemberView],
    connections: impl IntoIterator<Item = &'a Connection>,
) -> Vec<Candidate> {
    let own = memberships(caller, members);
    let denied = own.first().is_some_and(|m| !m.is_active() && !m.is_group());
    let own: Vec<_> = own.into_iter().filter(|m| m.is_active() && !denied).collect();
    if own.is_empty() {
        return Vec::new();
    }
    let sharing = vault.spec.sharing;
    let relation = |connection: &Connection| {
        let owner = connection.spec.owner.as_deref().unwrap_or_default();
        let scope = Scope::of_connection(connection, sharing);
        if own.iter().any(|m| m.name == owner) {
            Some(Relation::Own)
        } else if own.iter().any(|m| scope.holds(&m.name, owner)) {
            Some(Relation::InScope)
        } else {
            (sharing == Sharing::All || !scope.is_owner_only(owner)).then_some(Relation::OutOfScope)
        }
    };
    connections.into_iter().filter_map(|connection| candidate(connection, relation(connection)?)).collect()
}

/// The Connections of one vault as somebody may know of them who breaks glass: all.
pub fn all_candidates<'a>(connections: impl IntoIterator<Item = &'a Connection>) -> Vec<Candidate> {
    connections.into_iter().filter_map(|connection| candidate(connection, Relation::InScope)).collect()
}

fn candidate(connection: &Connection, relation: Relation) -> Option<Candidate> {
    Some(Candidate {
        namespace: connection.metadata.namespace.clone()?,
        name: connection.metadata.name.clone()?,
        alias: alias(connection).to_owned(),
        owner: connection.spec.owner.clone().unwrap_or_default(),
        relation,
    })
}

/// Reads the annotation `coffer.dev/connections`: `github, team-a/slack`. Bare words mean an alias, else an object's
/// name; one's own first, then what is shared with the caller, then what is not (so that the denial can say so).
/// A word with a namespace means that object. Each Connection once, in the order of the text; an empty text is nobody.
///
/// # Errors
/// [`ResolveError`] for the first word that is malformed, unknown or ambiguous.
pub fn connection_refs(text: &str, view: &[Candidate]) -> Result<Vec<Resolved>, ResolveError> {
    let mut resolved: Vec<Resolved> = Vec::new();
    if text.trim().is_empty() {
        return Ok(resolved);
    }
    for word in text.split(',').map(str::trim) {
        let key = connection_ref(word, view)?;
        if !resolved.iter().any(|r| r.key == key) {
            resolved.push(Resolved { reference: word.to_owned(), key });
        }
    }
    Ok(resolved)
}

/// Reads one word of [`connection_refs`].
///
/// # Errors
/// [`ResolveError`].
pub fn connection_ref(word: &str, view: &[Candidate]) -> Result<ConnectionKey, ResolveError> {
    let malformed = || ResolveError::Malformed { word: word.chars().take(64).collect() };
    let not_found = || ResolveError::NotFound { word: word.to_owned() };
    let is_word = |w: &str| {
        let plain = w.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        plain && !w.is_empty() && w.len() <= 64
    };
    if let Some((namespace, name)) = word.split_once('/') {
        if !is_word(namespace) || !is_word(name) {
            return Err(malformed());
        }
        let found = view.iter().find(|c| c.namespace == namespace && c.name == name);
        return found.map(key).ok_or_else(not_found);
    }
    if !is_word(word) {
        return Err(malformed());
    }
    for visible in [true, false] {
        for by_alias in [true, false] {
            let nearest = nearest(view, |c| {
                let named = if by_alias { c.alias == word } else { c.name == word };
                named && (c.relation != Relation::OutOfScope) == visible
            });
            match nearest.as_slice() {
                [] => {}
                [only] => return Ok(key(only)),
                several => {
                    let mut candidates: Vec<_> =
                        several.iter().map(|c| format!("{} (owner {})", key(c), c.owner)).collect();
                    candidates.sort();
                    return Err(ResolveError::Ambiguous { word: word.to_owned(), candidates });
                }
            }
        }
    }
    Err(not_found())
}

fn nearest(view: &[Candidate], means: impl Fn(&Candidate) -> bool) -> Vec<&Candidate> {
    let meant: Vec<_> = view.iter().filter(|c| means(c)).collect();
    let best = meant.iter().map(|c| c.relation).min();
    meant.into_iter().filter(|c| Some(c.relation) == best).collect()
}

fn key(candidate: &Candidate) -> ConnectionKey {
    ConnectionKey { namespace: candidate.namespace.clone(), name: candidate.name.clone() }
}

#[cfg(test)]
mod tests;
