//! May this author make this difference?
//!
//! The webhook asks with live objects before a write is stored; the operator asks again, with what the Keyring and the
//! Envelopes record, before a wrap, slot, role, owner or scope takes effect. Both get the same answer from the same
//! functions. `spec.lastWriter`, `invitedBy` and `acceptance.by` are stamps, never differences.

mod access_token;
mod connection;
mod member;
mod vault;

pub use access_token::access_token;
pub use connection::{connection, connection_recorded, owner_for};
pub use member::{grant_changed, is_last_owner, member, member_recorded, member_resumed};
pub use vault::{vault, vault_recorded};

use crate::break_glass::BreakGlass;
use crate::identity::{Caller, MemberState, MemberView, memberships};
use crate::roles::{Role, role, verb_name};
use coffer_crds::{Vault, Verb};

/// A vault as a write is judged: its spec before the write, and who is in it.
#[derive(Clone, Copy, Debug)]
pub struct VaultView<'a> {
    /// The vault as it is recorded, that is, before the write that is judged.
    pub vault: &'a Vault,
    /// Its memberships: [`crate::identity::from_status`] in the webhook, [`crate::identity::from_register`] in the operator.
    pub members: &'a [MemberView],
    /// The operator's user name, whose own writes pass.
    pub operator: Option<&'a str>,
    /// Who may do what an owner may where no membership allows it; `None` where only memberships are asked about.
    pub break_glass: Option<&'a BreakGlass>,
}

/// A write that its author may not make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The field that changed, such as `spec.members`; empty where it is about the whole object.
    pub field: String,
    /// One sentence for the author, which says what would be accepted or whom to ask.
    pub message: String,
}

impl Refusal {
    fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

/// An author's membership with its role: what the author may do.
#[derive(Clone, Debug)]
struct Standing<'a> {
    member: &'a MemberView,
    role: Role,
}

impl<'a> VaultView<'a> {
    fn is_operator(&self, author: &Caller) -> bool {
        self.operator.is_some_and(|operator| !operator.is_empty() && operator == author.username)
    }

    fn name(&self) -> &'a str {
        self.vault.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &'a str {
        self.vault.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn member(&self, name: &str) -> Option<&'a MemberView> {
        self.members.iter().find(|m| m.name == name)
    }

    /// The author's Active memberships, the direct one first.
    fn standings(&self, author: &Caller) -> Result<Vec<Standing<'a>>, Refusal> {
        let own = memberships(author, self.members);
        if let Some(direct) = own.first().filter(|m| !m.is_active() && !m.is_group()) {
            let state = if direct.state == MemberState::Suspended { "suspended" } else { "expired" };
            let message = format!(
                "member '{}' of vault '{}' is {state}. {}",
                direct.name,
                self.name(),
                self.ask_an_owner("to resume it")
            );
            return Err(Refusal::new("", message));
        }
        let standings: Vec<_> = own
            .into_iter()
            .filter(|m| m.is_active())
            .filter_map(|member| Some(Standing { member, role: role(&self.vault.spec, &member.role)? }))
            .collect();
        if standings.is_empty() {
            return Err(Refusal::new("", self.stranger(author)));
        }
        Ok(standings)
    }

    /// The first membership that `allows`, else break glass, or the refusal of the first.
    fn first_allowed(
        &self,
        author: &Caller,
        allows: impl Fn(&Standing<'a>) -> Result<(), Refusal>,
    ) -> Result<Standing<'a>, Refusal> {
        self.first_member(author, &allows).or_else(|refusal| {
            let broken = self.broken(author).filter(|standing| allows(standing).is_ok());
            broken.ok_or(refusal)
        })
    }

    /// The standing of an owner, for whoever may break glass.
    fn broken(&self, author: &Caller) -> Option<Standing<'a>> {
        let glass = self.break_glass?;
        glass.group_of(author)?;
        Some(Standing { member: glass.owner(), role: crate::roles::owner() })
    }

    /// [`Self::first_allowed`] for what only a member can do: to own something.
    fn first_member(
        &self,
        author: &Caller,
        allows: impl Fn(&Standing<'a>) -> Result<(), Refusal>,
    ) -> Result<Standing<'a>, Refusal> {
        let mut first = None;
        for standing in self.standings(author)? {
            match allows(&standing) {
                Ok(()) => return Ok(standing),
                Err(refusal) => {
                    first.get_or_insert(refusal);
                }
            }
        }
        Err(first.unwrap_or_else(|| Refusal::new("", self.stranger(author))))
    }

    fn lacks(&self, standing: &Standing<'_>, verb: Verb, field: &str) -> Refusal {
        let message = format!(
            "role '{}' of member '{}' does not allow '{}' in vault '{}'. {}",
            standing.role.name(),
            standing.member.name,
            verb_name(verb),
            self.name(),
            self.ask_an_owner("")
        );
        Refusal::new(field, message)
    }

    /// What somebody who is no member is told.
    fn stranger(&self, author: &Caller) -> String {
        if !author.is_identified() {
            return "no identity: authenticate to the API server first".to_owned();
        }
        format!(
            "'{}' is no member of vault '{}'. {}",
            author.username,
            self.name(),
            self.ask_an_owner(&format!("to invite you: {}", self.invitation(author)))
        )
    }

    /// The command by which an owner invites this author.
    fn invitation(&self, author: &Caller) -> String {
        let subject = match author.service_account() {
            Some((namespace, name)) => format!("sa:{namespace}/{name}"),
            None => format!("user:{}", author.username),
        };
        let subject = shell_word(&subject);
        format!("kubectl coffer invite {subject} --vault {} -n {}", self.name(), self.namespace())
    }

    fn ask_an_owner(&self, what: &str) -> String {
        let owners: Vec<_> =
            self.members.iter().filter(|m| m.is_active() && m.role == crate::roles::OWNER).collect();
        let names: Vec<_> = owners.iter().map(|m| m.name.as_str()).collect();
        let what = if what.is_empty() { String::new() } else { format!(" {what}") };
        if names.is_empty() {
            return format!(
                "The vault has no Active owner: see kubectl get vaultmembers -n {}",
                self.namespace()
            );
        }
        format!("Ask an owner ({}){what}", names.join(", "))
    }
}

/// A text as one word of a command that somebody pastes into a shell: user names are what an identity provider says.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
