//! Who may open an Envelope: its owner, its scope, and the members that get a slot of their own.

use crate::error::SealError;
use crate::register;
use coffer_crds::{EnvelopeMember, EnvelopeScope, EnvelopeSpec, RegisteredMember, Slot, SlotRecipient};
use coffer_keys::FormatError;
use coffer_keys::digest::MembersDigest;
use coffer_keys::member_key::MemberPublicKey;
use std::collections::BTreeSet;

/// Who may open what is sealed. The custodian always gets a slot; the vault key gets one for `*` and only then.
#[derive(Debug, Clone)]
pub struct Access<'a> {
    /// The owning member.
    pub owner: EnvelopeMember,
    /// Everybody, or the listed members, owner included; see [`listed_scope`].
    pub scope: EnvelopeScope,
    /// The members that get a slot of their own. Listed scope: those of the list that may use or read. `*`: the
    /// members whose role covers only some Connections, this one among them; the others have the vault slot.
    pub recipients: Vec<Recipient<'a>>,
}

/// A member that gets a slot, as the register has it.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// The member's entry in the register.
    pub member: &'a RegisteredMember,
    /// The public key of a Self member, which must be the register's; `None` for Brokered members.
    pub key: Option<&'a MemberPublicKey>,
}

/// What an Envelope needs so that its slots say what an [`Access`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Other slots beside the same items: someone gains access and nobody loses it.
    Reslot,
    /// A new data key: someone loses access, or the owner, the epoch or someone's key is another.
    Reseal,
}

/// A listed scope in its one form: sorted by name, nobody twice.
///
/// # Errors
/// [`FormatError::Malformed`] when the list is empty or names someone with two uids.
pub fn listed_scope(members: impl IntoIterator<Item = EnvelopeMember>) -> Result<EnvelopeScope, FormatError> {
    let members: BTreeSet<EnvelopeMember> = members.into_iter().collect();
    let scope = EnvelopeScope::Listed(members.into_iter().collect());
    digest(&scope)?;
    Ok(scope)
}

/// Whether a member, by name and uid, is in a scope. An empty uid is nobody's.
pub fn scope_contains(scope: &EnvelopeScope, name: &str, uid: &str) -> bool {
    match scope {
        EnvelopeScope::All(_) => true,
        EnvelopeScope::Listed(members) => {
            !uid.is_empty() && members.iter().any(|member| member.name == name && member.uid == uid)
        }
    }
}

/// The digest of a scope, refusing lists that are not in their one form.
pub(crate) fn digest(scope: &EnvelopeScope) -> Result<MembersDigest, FormatError> {
    match scope {
        EnvelopeScope::All(_) => Ok(MembersDigest::all()),
        EnvelopeScope::Listed(members) => {
            MembersDigest::listed(members.iter().map(|member| (member.name.as_str(), member.uid.as_str())))
        }
    }
}

impl Access<'_> {
    /// What an Envelope needs to give exactly this access in `epoch`.
    ///
    /// # Errors
    /// [`SealError`] when a recipient is outside the scope or has no key.
    pub(crate) fn change(
        &self,
        spec: &EnvelopeSpec,
        epoch: i64,
        custodian_kid: &str,
        branch: u64,
    ) -> Result<Change, SealError> {
        let wanted = self.wanted(epoch, custodian_kid, branch)?;
        let present: BTreeSet<SlotId> = spec.slots.iter().map(SlotId::of).collect();
        let narrower = match (&spec.members, &self.scope) {
            (EnvelopeScope::All(_) | EnvelopeScope::Listed(_), EnvelopeScope::All(_)) => false,
            (EnvelopeScope::All(_), EnvelopeScope::Listed(_)) => true,
            (EnvelopeScope::Listed(before), EnvelopeScope::Listed(_)) => {
                before.iter().any(|member| !self.keeps(member))
            }
        };
        // With `*` a listed member's own slot may go: it has the vault slot instead.
        let opened_up =
            matches!((&spec.members, &self.scope), (EnvelopeScope::Listed(_), EnvelopeScope::All(_)));
        let loses = present.difference(&wanted).any(|slot| match slot.to {
            To::Custodian => false,
            To::Vault => true,
            To::Member => !opened_up || wanted.iter().any(|other| other.name == slot.name),
        });
        Ok(if narrower || loses || self.owner != spec.owner || epoch != spec.epoch {
            Change::Reseal
        } else if self.scope != spec.members || wanted != present || spec.slots.len() != present.len() {
            Change::Reslot
        } else {
            Change::None
        })
    }

    /// Whether a member that was listed still is. One that had no uid yet may have gained one.
    fn keeps(&self, before: &EnvelopeMember) -> bool {
        match &self.scope {
            EnvelopeScope::All(_) => true,
            EnvelopeScope::Listed(members) => members.iter().any(|member| {
                member.name == before.name && (before.uid.is_empty() || member.uid == before.uid)
            }),
        }
    }

    fn wanted(&self, epoch: i64, custodian_kid: &str, branch: u64) -> Result<BTreeSet<SlotId>, SealError> {
        let mut wanted = BTreeSet::from([SlotId::new(To::Custodian, custodian_kid.to_owned())]);
        if matches!(self.scope, EnvelopeScope::All(_)) {
            wanted.insert(SlotId::new(To::Vault, format!("epoch/{epoch}")));
        }
        for Recipient { member, .. } in &self.recipients {
            if !scope_contains(&self.scope, &member.name, &member.uid) {
                return Err(SealError::RecipientOutsideScope(member.name.clone()));
            }
            wanted.insert(SlotId {
                name: member.name.clone(),
                uid: member.uid.clone(),
                ..SlotId::new(To::Member, register::kid(branch, member)?.to_string())
            });
        }
        Ok(wanted)
    }
}

/// What tells two slots apart without opening them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SlotId {
    to: To,
    name: String,
    uid: String,
    kid: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Custodian,
    Vault,
    Member,
}

impl SlotId {
    fn new(to: To, kid: String) -> Self {
        Self { to, name: String::new(), uid: String::new(), kid }
    }

    fn of(slot: &Slot) -> Self {
        let to = match slot.to {
            SlotRecipient::Custodian => To::Custodian,
            SlotRecipient::Vault => To::Vault,
            SlotRecipient::Member => To::Member,
        };
        Self {
            name: slot.name.clone().unwrap_or_default(),
            uid: slot.uid.clone().unwrap_or_default(),
            ..Self::new(to, slot.wrap.kid.clone())
        }
    }
}
