//! Break glass: people who may do what an owner may without being members, named by group where Coffer is installed.
//!
//! It is asked about last, after every membership of the caller has said no, so that whoever is a member acts as one. What
//! is done by it is done by an owner who owns no Connection and stands in no list: what an owner may not do, nobody may.

use crate::identity::{Caller, Evidence, MemberState, MemberView};
use coffer_crds::{ExternalSubject, Subject};

/// The groups, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    groups: Vec<String>,
    owner: MemberView,
}

/// Why a text names no group that may break glass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' cannot be a break-glass group: write one group's own name; never '*', and none of Kubernetes' own (system:…), \
     which hold whoever the cluster puts there"
)]
pub struct NoSuchGroup(String);

/// Reads the name of a group that may break glass.
///
/// # Errors
/// [`NoSuchGroup`].
pub fn group(text: &str) -> Result<String, NoSuchGroup> {
    if text.is_empty() || text.contains('*') || text.starts_with("system:") {
        return Err(NoSuchGroup(text.to_owned()));
    }
    Ok(text.to_owned())
}

impl Default for BreakGlass {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl BreakGlass {
    /// These groups, each read by [`group`].
    pub fn new(groups: Vec<String>) -> Self {
        let owner = MemberView {
            // No VaultMember can be called so.
            name: "(break glass)".to_owned(),
            uid: String::new(),
            subject: Subject::External(ExternalSubject {}),
            subject_uid: None,
            role: crate::roles::OWNER.to_owned(),
            state: MemberState::Active,
            rate_limit: None,
            evidence: Evidence::Claim,
        };
        Self { groups, owner }
    }

    /// The group by which a caller may break glass. People only: a ServiceAccount's groups are Kubernetes' own.
    pub fn group_of(&self, caller: &Caller) -> Option<&str> {
        if !caller.is_identified() || caller.service_account().is_some() {
            return None;
        }
        self.groups.iter().find(|group| caller.groups.contains(group)).map(String::as_str)
    }

    /// The owner that whoever breaks glass acts as.
    pub(crate) fn owner(&self) -> &MemberView {
        &self.owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{account, user, user_of};

    #[test]
    fn only_people_of_a_named_group_may_break_glass() {
        let glass = BreakGlass::new(vec!["oncall".to_owned(), "root".to_owned()]);
        assert_eq!(glass.group_of(&user_of("eve", &["devs", "root"])), Some("root"));
        assert_eq!(glass.group_of(&user("oncall")), None, "a user of that name");
        let bot = Caller { groups: vec!["oncall".to_owned()], ..account("ci", "bot", "u") };
        for nobody in [user_of("eve", &["devs"]), user_of("", &["oncall"]), bot] {
            assert_eq!(glass.group_of(&nobody), None, "{nobody:?}");
        }
        assert_eq!(BreakGlass::default().group_of(&user_of("eve", &["oncall"])), None);
    }

    #[test]
    fn everybody_is_no_group() {
        assert_eq!(group("coffer-break-glass"), Ok("coffer-break-glass".to_owned()));
        for text in ["", "*", "on*", "system:masters", "system:authenticated"] {
            assert!(group(text).is_err_and(|error| error.to_string().contains("own name")), "{text}");
        }
    }
}
