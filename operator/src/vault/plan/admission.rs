//! Acceptance: how somebody comes into the register.

use coffer_crds::{
    Custody, CustodyPolicy, KeyringSpec, MemberPhase, RegisteredMember, Subject, VaultMember,
    conditions::reason,
};
use coffer_envelope::key_hash;
use coffer_keys::member_key::MemberPublicKey;
use coffer_policy::{
    MemberState, MemberView,
    identity::{ends_at, stands, with_namespace},
    roles::{self, role},
    writes::member_recorded,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{
    keys::{ANOTHERS, is_anothers},
    register::{Judge, not_authorized},
};
use crate::{
    report::to_seconds,
    standing::{Out, custody_refused, over, unknown_role, utc},
};

impl Judge<'_> {
    /// A ServiceAccount that was made again is accepted again by its annotation, once nothing is wrapped any more for
    /// the one before: its wraps are under a key that only the register's uid tells from the new one's.
    pub(super) fn accept_account_again(&self, member: &VaultMember, entry: &mut RegisteredMember) {
        let Some(account) = self.facts.account(member) else { return };
        let same = !matches!(entry.subject, Subject::ServiceAccount(_))
            || entry.subject_uid.as_deref() == Some(account.uid.as_str());
        if same || !account.accepts.contains(&self.facts.key()) {
            return;
        }
        let wrapped = member.status.as_ref().is_some_and(|status| !status.wrapped_keys.is_empty());
        let slots = self.facts.envelopes.iter().flat_map(|envelope| &envelope.spec.slots);
        let mut own = slots.filter(|slot| {
            slot.name.as_deref() == Some(entry.name.as_str())
                && slot.uid.as_deref() == Some(entry.uid.as_str())
        });
        if !wrapped && own.next().is_none() {
            entry.subject_uid = Some(account.uid.clone());
            entry.accepted_at = Time(to_seconds(self.now));
        }
    }

    /// Whether somebody who is not in the register comes into it, and as what.
    pub(super) fn admit(
        &self,
        member: &VaultMember,
        views: &[MemberView],
        owner: bool,
        spec: Option<&KeyringSpec>,
    ) -> Result<(RegisteredMember, Option<MemberPublicKey>), Out> {
        let subject = with_namespace(&member.spec.subject, &member.namespace().unwrap_or_default());
        let role = if owner { roles::OWNER } else { member.spec.role.as_str() };
        valid_subject(&subject)?;
        self.no_twin(member, &subject)?;
        self.still_open(member, role, owner)?;
        if !owner {
            member_recorded(&self.view(views), None, member).map_err(not_authorized)?;
        }
        let mut entry = RegisteredMember {
            name: member.name_any(),
            uid: member.metadata.uid.clone().unwrap_or_default(),
            subject_uid: self.accepted(member, &subject, owner)?,
            subject,
            role: String::from(role),
            custody: Custody::Brokered,
            key_hash: None,
            accepted_at: Time(to_seconds(self.now)),
            former_uids: Vec::new(),
        };
        let acceptance = member.spec.acceptance.as_ref();
        if acceptance.is_none_or(|acceptance| acceptance.public_key.is_none()) {
            return self.without_key(member, entry).map(|entry| (entry, None));
        }
        let key = self.brought_key(member, &entry.role, None, views)?;
        entry.custody = Custody::Own;
        entry.key_hash = Some(key_hash(&key));
        if is_anothers(spec.iter().flat_map(|spec| &spec.members), &entry) {
            return Err(invited(reason::KEY_REFUSED, ANOTHERS));
        }
        Ok((entry, Some(key)))
    }

    /// Whether the invite can still be accepted.
    fn still_open(&self, member: &VaultMember, role_name: &str, owner: bool) -> Result<(), Out> {
        let vault = &self.facts.vault;
        let state = stands(member, role_name, None, vault, self.now);
        let ended = || {
            let end = ends_at(member, role_name, None, vault).map(utc).unwrap_or_default();
            format!("the invite expired at {end}; delete it and invite again")
        };
        // A listed owner waits for no answer, and so for no time.
        match over(state, ended).filter(|_| !(owner && state == MemberState::Expired)) {
            Some(out) => return Err(out),
            None if role(&vault.spec, role_name).is_none() => {
                return Err(Out { phase: MemberPhase::Invited, ..unknown_role(role_name) });
            }
            None => {}
        }
        Ok(())
    }

    /// Whether the subject has accepted; for a ServiceAccount, its uid. One of the vault's own namespace is accepted at
    /// once, and so is an owner.
    fn accepted(&self, member: &VaultMember, subject: &Subject, owner: bool) -> Result<Option<String>, Out> {
        match subject {
            Subject::ServiceAccount(account) => {
                let missing = || invited(reason::SUBJECT_MISSING, "the ServiceAccount does not exist");
                let found = self.facts.account(member).ok_or_else(missing)?;
                let here = account.namespace == member.namespace();
                if !here && !owner && !found.accepts.contains(&self.facts.key()) {
                    let annotation = coffer_crds::annotations::ACCEPT;
                    let message = format!(
                        "waiting for the ServiceAccount's annotation {annotation}: {}",
                        self.facts.key()
                    );
                    return Err(invited(reason::INVITED, message));
                }
                Ok(Some(found.uid.clone()))
            }
            Subject::User(_) | Subject::Group(_) | Subject::External(_) => {
                if member.spec.acceptance.is_none() && !owner {
                    return Err(invited(reason::INVITED, "waiting for the subject to accept"));
                }
                Ok(None)
            }
        }
    }

    /// A member that brings no key, where that is possible.
    fn without_key(&self, member: &VaultMember, entry: RegisteredMember) -> Result<RegisteredMember, Out> {
        let accepted = member.spec.acceptance.is_some();
        if accepted && member.spec.key_fingerprint.is_some() {
            return Err(invited(reason::KEY_REFUSED, "the invite pins a key; accept with that one"));
        }
        if self.facts.vault.spec.custody == CustodyPolicy::SelfOnly {
            return Err(Out { phase: MemberPhase::Invited, ..custody_refused(member) });
        }
        if matches!(entry.subject, Subject::External(_)) {
            return Err(invited(reason::INVITED, "waiting for a public key or the first AccessToken"));
        }
        Ok(entry)
    }

    /// One VaultMember per subject: an older one, or one that is registered already, keeps it.
    fn no_twin(&self, member: &VaultMember, subject: &Subject) -> Result<(), Out> {
        if matches!(subject, Subject::External(_)) {
            return Ok(());
        }
        let namespace = member.namespace().unwrap_or_default();
        let age = |member: &VaultMember| (member.metadata.creation_timestamp.clone(), member.name_any());
        let twin = self.facts.members().find(|other| {
            let registered = self
                .keys
                .member(&other.name_any())
                .is_some_and(|entry| Some(&entry.uid) == other.metadata.uid.as_ref());
            other.name_any() != member.name_any()
                && with_namespace(&other.spec.subject, &namespace) == *subject
                && (registered || age(other) < age(member))
        });
        twin.map_or(Ok(()), |twin| {
            let message = format!("this subject is member '{}' already; delete one of both", twin.name_any());
            Err(Out::new(MemberPhase::Invited, reason::DUPLICATE, message))
        })
    }
}

fn invited(reason: &'static str, message: impl Into<String>) -> Out {
    Out::new(MemberPhase::Invited, reason, message)
}

fn valid_subject(subject: &Subject) -> Result<(), Out> {
    let invalid = |message: &str| Err(invited(reason::INVALID_SPEC, message));
    match subject {
        Subject::User(named) if named.name.starts_with("system:serviceaccount:") => {
            invalid("spec.subject.user: write a ServiceAccount as serviceAccount: {namespace, name}")
        }
        Subject::User(named) | Subject::Group(named) if named.name.is_empty() || named.name == "*" => {
            invalid("spec.subject: a name that is not empty and not *")
        }
        Subject::User(named) if named.name == "system:anonymous" => {
            invalid("spec.subject.user: nobody is no member")
        }
        Subject::Group(named) if named.name.starts_with("system:") => {
            invalid("spec.subject.group: groups of Kubernetes' own (system:…) cannot be members")
        }
        Subject::ServiceAccount(_) | Subject::User(_) | Subject::Group(_) | Subject::External(_) => Ok(()),
    }
}
