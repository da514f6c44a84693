//! May this caller look into the audit log of a vault?
//!
//! The order of reasons is part of the contract: authenticated → the operator, or an Active member of the vault → role
//! verb `audit`. Callers who are no member get the answer of an absent vault (T28). Whose role covers only some
//! Connections sees the records about these only.

use crate::identity::{Caller, MemberView, memberships};
use crate::roles::{Role, role, verb_name};
use coffer_crds::{Vault, Verb};

/// One question about one vault.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// Who asks, as authenticated; `None` = no identity.
    pub caller: Option<&'a Caller>,
    /// The operator's user name: it asks who read what before it says so of a Connection.
    pub operator: &'a str,
    /// The vault's name, as the caller wrote it; all that a not-found answer repeats.
    pub name: &'a str,
    /// The vault and the caller's memberships of it; `None` = there is no such vault.
    pub vault: Option<(&'a Vault, &'a [MemberView])>,
}

/// Who may look, and at what.
#[derive(Clone, Debug, PartialEq)]
pub enum Auditor<'a> {
    /// The operator: at all of it.
    Operator,
    /// A member: at what its role covers.
    Member(&'a MemberView, Role),
}

impl Auditor<'_> {
    /// The member's name.
    pub fn member(&self) -> Option<&str> {
        match self {
            Self::Operator => None,
            Self::Member(member, _) => Some(&member.name),
        }
    }

    /// The role, where it covers only some Connections.
    pub fn narrowed_to(&self) -> Option<&Role> {
        match self {
            Self::Operator => None,
            Self::Member(_, role) => Some(role).filter(|role| !role.covers_all()),
        }
    }
}

/// Why nothing of the log is shown. [`std::fmt::Display`] is what the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAuditor {
    /// No identity.
    #[error("No identity: authenticate first")]
    Unauthenticated,
    /// Absent, or to look so.
    #[error("Vault '{name}' not found")]
    NotFound {
        /// The caller's word for it.
        name: String,
    },
    /// The role lacks the verb.
    #[error("Role '{role}' of member '{member}' does not allow '{}'", verb_name(Verb::Audit))]
    Verb {
        /// The role's name.
        role: String,
        /// The member.
        member: String,
    },
}

impl NoAuditor {
    /// The HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            Self::Unauthenticated => 401,
            Self::NotFound { .. } => 404,
            Self::Verb { .. } => 403,
        }
    }

    /// One of a fixed few words, for audit and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "Unauthenticated",
            Self::NotFound { .. } => "NotFound",
            Self::Verb { .. } => "Verb",
        }
    }
}

/// Decides.
///
/// # Errors
/// The first [`NoAuditor`] of the first membership, unless a later one allows.
pub fn may_audit<'a>(inquiry: &Inquiry<'a>) -> Result<Auditor<'a>, NoAuditor> {
    let caller = inquiry.caller.filter(|caller| caller.is_identified()).ok_or(NoAuditor::Unauthenticated)?;
    if caller.username == inquiry.operator {
        return Ok(Auditor::Operator);
    }
    let not_found = || NoAuditor::NotFound { name: inquiry.name.to_owned() };
    let (vault, members) = inquiry.vault.ok_or_else(not_found)?;
    let mut refused = None;
    for member in memberships(caller, members) {
        if !member.is_active() {
            // A suspended or expired direct membership denies; a group's is passed over.
            if member.is_group() {
                continue;
            }
            return Err(not_found());
        }
        match role(&vault.spec, &member.role).filter(|role| role.allows(Verb::Audit)) {
            Some(role) => return Ok(Auditor::Member(member, role)),
            None => {
                let verb = NoAuditor::Verb { role: member.role.clone(), member: member.name.clone() };
                refused.get_or_insert(verb);
            }
        }
    }
    Err(refused.unwrap_or_else(not_found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{OPERATOR, account, keyring, member, now, registered, user, user_of, vault};
    use crate::identity::from_register;
    use serde_json::json;

    /// The vault, and its members by the register.
    fn team() -> (Vault, Vec<MemberView>) {
        let vault = vault(json!({"roles": [
            {"name": "auditor", "verbs": ["audit"]},
            {"name": "gh", "verbs": ["audit"], "connections": ["gh-*"]},
        ]}));
        let accepted = |name: &str, role: &str, more: serde_json::Value| {
            let mut spec = json!({"role": role, "acceptance": {}});
            crate::fixtures::merge(&mut spec, more);
            member(name, spec)
        };
        let people = [
            ("alice", "owner"),
            ("anna", "admin"),
            ("bob", "member"),
            ("ada", "auditor"),
            ("gus", "gh"),
            ("sue", "auditor"),
            ("zed", "gone"),
        ];
        let mut members: Vec<_> = people
            .iter()
            .map(|(name, role)| accepted(name, role, json!({"suspended": *name == "sue"})))
            .collect();
        let group = |name: &str| json!({"subject": {"group": {"name": name}}});
        members.push(accepted("devs", "member", group("devs")));
        members.push(accepted("ops", "auditor", group("ops")));
        members.push(accepted("late", "auditor", json!({})));
        let mut register: Vec<_> = people.iter().map(|(name, role)| registered(name, role)).collect();
        for (name, role) in [("devs", "member"), ("ops", "auditor")] {
            let mut entry = registered(name, role);
            entry["subject"] = json!({"group": {"name": name}});
            register.push(entry);
        }
        let views = from_register(&vault, Some(&keyring(json!(register))), &members, now());
        (vault, views)
    }

    fn decided(caller: Option<&Caller>) -> Result<String, (u16, String)> {
        let (vault, members) = team();
        let inquiry = Inquiry { caller, operator: OPERATOR, name: "v", vault: Some((&vault, &members)) };
        may_audit(&inquiry)
            .map(|auditor| match &auditor {
                Auditor::Operator => "everything".to_owned(),
                Auditor::Member(member, role) => match auditor.narrowed_to() {
                    None => format!("{} sees all", member.name),
                    Some(_) => format!(
                        "{} sees gh-a: {}, aws: {}",
                        member.name,
                        role.covers("gh-a"),
                        role.covers("aws")
                    ),
                },
            })
            .map_err(|why| (why.code(), why.to_string()))
    }

    /// C9, C20, T25: who may look into the log, by who they are.
    #[test]
    fn only_the_operator_and_active_members_with_the_verb_look_into_the_log() {
        let not_found = || Err((404, "Vault 'v' not found".to_owned()));
        let verb = |role: &str, member: &str| {
            Err((403, format!("Role '{role}' of member '{member}' does not allow 'audit'")))
        };
        let sees = |who: &str| Ok(who.to_owned());
        let table = [
            (user(OPERATOR), sees("everything")),
            (user("alice"), sees("alice sees all")),
            (user("anna"), sees("anna sees all")),
            (user("ada"), sees("ada sees all")),
            (user("gus"), sees("gus sees gh-a: true, aws: false")),
            (user("bob"), verb("member", "bob")),
            (user("zed"), verb("gone", "zed")),
            (user("sue"), not_found()),
            (user("late"), not_found()),
            (user("mallory"), not_found()),
            (account("team", "alice", "u"), not_found()),
            (user_of("mallory", &["devs"]), verb("member", "devs")),
            (user_of("mallory", &["devs", "ops"]), sees("ops sees all")),
            (user_of("bob", &["ops"]), sees("ops sees all")),
            (user_of("sue", &["ops"]), not_found()),
            (user(""), Err((401, "No identity: authenticate first".to_owned()))),
            (user("system:anonymous"), Err((401, "No identity: authenticate first".to_owned()))),
        ];
        for (caller, expected) in table {
            assert_eq!(decided(Some(&caller)), expected, "{caller:?}");
        }
        assert_eq!(decided(None).map_err(|(code, _)| code), Err(401));
    }

    /// T28: a vault that is not there is told of as one that is another's.
    #[test]
    fn an_absent_vault_looks_as_one_of_others() {
        let caller = user("mallory");
        let inquiry = Inquiry { caller: Some(&caller), operator: OPERATOR, name: "v", vault: None };
        let absent = may_audit(&inquiry).map(drop).map_err(|why| (why.code(), why.to_string()));
        assert_eq!(absent, decided(Some(&caller)).map(drop));
        let operator = user(OPERATOR);
        assert_eq!(may_audit(&Inquiry { caller: Some(&operator), ..inquiry }), Ok(Auditor::Operator));
    }

    /// Without the operator's name nobody is the operator.
    #[test]
    fn nobody_is_an_operator_without_a_name() {
        let nobody = user("");
        let inquiry = Inquiry { caller: Some(&nobody), operator: "", name: "v", vault: None };
        assert_eq!(may_audit(&inquiry), Err(NoAuditor::Unauthenticated));
    }
}
