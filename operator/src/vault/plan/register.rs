//! Who is a member: the register as it should be, and what there is to say about everybody who is not in it.

use std::collections::{BTreeMap, BTreeSet};

use coffer_crds::{
    Custody, KeyringSpec, MemberPhase, RegisteredMember, VaultMember, VaultMemberSpec, conditions::reason,
};
use coffer_envelope::{OpenKeyring, key_hash};
use coffer_keys::member_key::MemberPublicKey;
use coffer_policy::{
    MemberState, MemberView,
    identity::{ends_at, from_register, on_hold, stands, with_namespace},
    names::{OwnerMember, owner_members},
    roles::{self, Role, role},
    writes::{VaultView, member_recorded, member_resumed, vault_recorded},
};
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, api::ObjectMeta};

use super::{super::fetch::Facts, owner_reference};
use crate::{
    apply::{MANAGED_BY, MANAGER},
    report::{Wanted, sooner},
    standing::{Out, by_spec, in_force, key_in_force, over, unknown_role},
};

/// What was found about one VaultMember.
pub(super) struct Verdict {
    /// The entry that the register is to hold; `None` = it is not in the register.
    pub(super) entry: Option<RegisteredMember>,
    /// The role, if the member is in force, else why it is not.
    pub(super) standing: Result<Role, Out>,
    /// What the member changed and may not change; the entry is as it was.
    pub(super) refused: Option<Out>,
    /// The key that it brought, as far as the entry names it.
    pub(super) key: Option<MemberPublicKey>,
}

/// The register as it should be.
pub(super) struct Register {
    /// By the VaultMember's name.
    pub(super) verdicts: BTreeMap<String, Verdict>,
    /// Entries whose VaultMember is gone.
    pub(super) removed: Vec<RegisteredMember>,
    /// Members to make for `Vault.spec.owners`.
    pub(super) missing: Vec<VaultMember>,
    /// Members to make owners.
    pub(super) raise: Vec<VaultMember>,
    /// Members that the operator made for owners that are listed no more.
    pub(super) former_owners: Vec<VaultMember>,
    /// When time alone changes something.
    pub(super) next: Option<Timestamp>,
    ready: Wanted,
}

impl Register {
    /// The entries.
    pub(super) fn entries(&self) -> Vec<RegisteredMember> {
        self.verdicts.values().filter_map(|verdict| verdict.entry.clone()).collect()
    }

    /// How many changes are not applied because of their authors.
    pub(super) fn refused(&self) -> usize {
        let out = |verdict: &Verdict| {
            let standing = verdict.standing.as_ref().err();
            standing.into_iter().chain(&verdict.refused).any(|out| out.reason == reason::NOT_AUTHORIZED)
        };
        self.verdicts.values().filter(|verdict| out(verdict)).count()
            + usize::from(self.ready.reason == reason::NOT_AUTHORIZED)
    }

    /// The Vault's readiness as far as owners and members go.
    pub(super) fn ready(&self) -> Wanted {
        self.ready.clone()
    }
}

/// The VaultMembers to make for a new vault's owners.
pub(super) fn missing_owners(facts: &Facts) -> Vec<VaultMember> {
    let owners = owner_members(&facts.vault, &facts.neighbours);
    owners.iter().filter(|owner| !owner.exists).map(|owner| new_owner(facts, owner)).collect()
}

/// Decides about every member.
pub(super) fn decide(facts: &Facts, keys: &OpenKeyring, now: Timestamp) -> Register {
    let owners = owner_members(&facts.vault, &facts.neighbours);
    let judge = Judge { facts, keys, owners: &owners, now };
    let spec = facts.keyring.as_ref().map(|keyring| keyring.spec.clone());
    let removed = judge.removed();
    let mut register = Register {
        verdicts: BTreeMap::new(),
        removed,
        missing: Vec::new(),
        raise: Vec::new(),
        former_owners: Vec::new(),
        next: None,
        ready: Wanted::yes(coffer_crds::conditions::READY, reason::AVAILABLE, ""),
    };
    judge.owners(&mut register, spec.as_ref());
    judge.members(&mut register, spec);
    for member in facts.members() {
        let entry = register.verdicts.get(&member.name_any()).and_then(|verdict| verdict.entry.as_ref());
        register.next = sooner(register.next, judge.changes_at(member, entry));
    }
    register
}

/// One look at the members of one vault.
pub(super) struct Judge<'a> {
    pub(super) facts: &'a Facts,
    pub(super) keys: &'a OpenKeyring,
    owners: &'a [OwnerMember],
    pub(super) now: Timestamp,
}

impl Judge<'_> {
    /// Entries without a VaultMember of their name and uid.
    fn removed(&self) -> Vec<RegisteredMember> {
        let lives = |entry: &&RegisteredMember| {
            self.facts.members().any(|member| {
                member.name_any() == entry.name && member.metadata.uid.as_ref() == Some(&entry.uid)
            })
        };
        self.keys.members().iter().filter(|entry| !lives(entry)).cloned().collect()
    }

    /// Brings the owners' objects in line with `Vault.spec.owners`, if its author may.
    fn owners(&self, register: &mut Register, spec: Option<&KeyringSpec>) {
        // Judged by who is registered: a VaultMember that merely claims to be an owner vouches for nothing.
        let views = self.views(spec);
        let registered: Vec<MemberView> = views
            .into_iter()
            .filter(|view| self.keys.member(&view.name).is_some_and(|entry| entry.uid == view.uid))
            .collect();
        let view = self.view(&registered);
        if let Err(refusal) = vault_recorded(&view, &self.facts.vault) {
            let message = format!("{}: {}", refusal.field, refusal.message);
            register.ready = Wanted::not_ready(reason::NOT_AUTHORIZED, message);
            return;
        }
        register.missing = missing_owners(self.facts);
        if !register.missing.is_empty() {
            register.ready = Wanted::not_ready(reason::PENDING, "owners are being made members");
        }
        let in_force = self.owner_in_force();
        for member in self.facts.members() {
            let listed = self.is_listed(member);
            if listed && (member.spec.role != roles::OWNER || (member.spec.suspended && !in_force)) {
                register.raise.push(member.clone());
            }
            if !listed && member.spec.role == roles::OWNER && self.made_by_us(member) {
                register.former_owners.push(member.clone());
            }
        }
    }

    /// Decides about each member. Whoever becomes a member in one round may have invited others: they come in the
    /// next one.
    fn members(&self, register: &mut Register, mut spec: Option<KeyringSpec>) {
        let pending = !register.missing.is_empty() && self.keys.members().is_empty();
        let authorized = register.ready.reason != reason::NOT_AUTHORIZED;
        for _ in 0..MAX_ROUNDS {
            let views = self.views(spec.as_ref());
            register.verdicts = self
                .facts
                .members()
                .map(|member| {
                    (member.name_any(), self.verdict(member, &views, pending, authorized, spec.as_ref()))
                })
                .collect();
            let entries = register.entries();
            let Some(spec) = spec.as_mut().filter(|spec| spec.members != entries) else { break };
            spec.members = entries;
        }
    }

    fn verdict(
        &self,
        member: &VaultMember,
        views: &[MemberView],
        pending: bool,
        authorized: bool,
        spec: Option<&KeyringSpec>,
    ) -> Verdict {
        let recorded = self
            .keys
            .member(&member.name_any())
            .filter(|entry| Some(&entry.uid) == member.metadata.uid.as_ref());
        // An owner that the Vault's author may not make is not treated as one.
        let owner = authorized && self.is_listed(member);
        match recorded {
            Some(entry) => self.of_registered(member, entry, views, owner),
            None if pending => Verdict::out(Out::new(
                MemberPhase::Invited,
                reason::PENDING,
                "waiting for the vault's owners",
            )),
            None => match self.admit(member, views, owner, spec) {
                Ok((entry, key)) => self.in_register(member, entry, key, None),
                Err(out) => Verdict::out(out),
            },
        }
    }

    /// A member that is in the register: what of its present spec takes effect.
    fn of_registered(
        &self,
        member: &VaultMember,
        entry: &RegisteredMember,
        views: &[MemberView],
        owner: bool,
    ) -> Verdict {
        let state = stands(member, &entry.role, Some(entry.accepted_at.0), &self.facts.vault, self.now);
        if state == MemberState::Declined
            && let Some(out) = over(state, String::new)
        {
            return Verdict::out(out);
        }
        let mut next = entry.clone();
        let mut refused = None;
        let role = if owner { roles::OWNER } else { &member.spec.role };
        if role != entry.role {
            match self.may_have_role(member, entry, views) {
                Ok(()) => role.clone_into(&mut next.role),
                Err(out) => refused = Some(out),
            }
        }
        let mut key = None;
        match self.key_of_registered(member, &next.role, entry, views) {
            Ok(Some(own)) => {
                next.custody = Custody::Own;
                next.key_hash = Some(key_hash(&own));
                key = Some(own);
            }
            Ok(None) => {}
            Err(out) => {
                refused = refused.or(Some(out));
                key = key_in_force(member, entry);
            }
        }
        self.accept_account_again(member, &mut next);
        let mut verdict = self.in_register(member, next, key, refused);
        if let Err(out) = self.may_come_back(member, entry, &verdict, views, owner) {
            verdict.standing = Err(out);
        }
        verdict
    }

    /// A member that was Suspended or Expired comes back by a grant. Until somebody who may make it does, the phase
    /// stays: it is what remembers, for the next look, that the grant is not judged yet.
    fn may_come_back(
        &self,
        member: &VaultMember,
        entry: &RegisteredMember,
        verdict: &Verdict,
        views: &[MemberView],
        owner: bool,
    ) -> Result<(), Out> {
        let Some(hold) = on_hold(member) else { return Ok(()) };
        let ended = [MemberPhase::Suspended, MemberPhase::Expired, MemberPhase::Declined];
        if verdict.standing.as_ref().is_err_and(|out| ended.contains(&out.phase)) {
            return Ok(());
        }
        // The operator itself resumes a listed owner where no other is in force.
        if owner && hold.phase == MemberPhase::Suspended && !self.owner_in_force() {
            return Ok(());
        }
        let judged = match role(&self.facts.vault.spec, &member.spec.role) {
            Some(_) => member_resumed(&self.view(views), entry, member).map_err(not_authorized),
            None => Err(unknown_role(&member.spec.role)),
        };
        judged.map_err(|out| Out { phase: hold.phase, ..out })
    }

    fn in_register(
        &self,
        member: &VaultMember,
        entry: RegisteredMember,
        key: Option<MemberPublicKey>,
        refused: Option<Out>,
    ) -> Verdict {
        let standing = by_spec(&self.facts.vault, member, &entry, self.facts.account(member), self.now);
        Verdict { entry: Some(entry), standing, refused, key }
    }

    fn may_have_role(
        &self,
        member: &VaultMember,
        entry: &RegisteredMember,
        views: &[MemberView],
    ) -> Result<(), Out> {
        if role(&self.facts.vault.spec, &member.spec.role).is_none() {
            return Err(unknown_role(&member.spec.role));
        }
        member_recorded(&self.view(views), Some(entry), member).map_err(not_authorized)
    }

    /// When the passing of time changes something about a member.
    fn changes_at(&self, member: &VaultMember, entry: Option<&RegisteredMember>) -> Option<Timestamp> {
        let role = entry.map_or(member.spec.role.as_str(), |entry| entry.role.as_str());
        let since = entry.map(|entry| entry.accepted_at.0);
        ends_at(member, role, since, &self.facts.vault).filter(|end| *end > self.now)
    }

    fn views(&self, spec: Option<&KeyringSpec>) -> Vec<MemberView> {
        from_register(&self.facts.vault, spec, &self.facts.neighbours, self.now)
    }

    pub(super) fn view<'v>(&'v self, members: &'v [MemberView]) -> VaultView<'v> {
        VaultView {
            vault: &self.facts.vault,
            members,
            operator: Some(&self.facts.operator),
            break_glass: Some(&self.facts.break_glass),
        }
    }

    fn is_listed(&self, member: &VaultMember) -> bool {
        let subject = with_namespace(&member.spec.subject, &member.namespace().unwrap_or_default());
        let name = member.name_any();
        self.owners.iter().any(|owner| owner.name == name && owner.subject == subject)
    }

    fn made_by_us(&self, member: &VaultMember) -> bool {
        let references = member.metadata.owner_references.iter().flatten();
        let mut of_vault =
            references.filter(|reference| Some(&reference.uid) == self.facts.vault.metadata.uid.as_ref());
        of_vault.any(|reference| reference.controller == Some(true))
    }

    fn owner_in_force(&self) -> bool {
        let owners: BTreeSet<&str> = self
            .keys
            .members()
            .iter()
            .filter(|entry| entry.role == roles::OWNER)
            .map(|entry| entry.name.as_str())
            .collect();
        self.facts.members().any(|member| {
            let name = member.name_any();
            let entry = self.keys.member(&name).filter(|_| owners.contains(name.as_str()));
            entry.is_some_and(|entry| {
                in_force(&self.facts.vault, member, entry, self.facts.account(member), self.now).is_ok()
            })
        })
    }
}

/// Chains of invites within one look are short; what is left over comes with the next look.
const MAX_ROUNDS: usize = 4;

impl Verdict {
    fn out(out: Out) -> Self {
        Self { entry: None, standing: Err(out), refused: None, key: None }
    }
}

pub(super) fn not_authorized(refusal: coffer_policy::Refusal) -> Out {
    let field = if refusal.field.is_empty() { String::new() } else { format!("{}: ", refusal.field) };
    Out::new(MemberPhase::Invited, reason::NOT_AUTHORIZED, format!("{field}{}", refusal.message))
}

fn new_owner(facts: &Facts, owner: &OwnerMember) -> VaultMember {
    let vault = facts.vault.metadata.name.clone().unwrap_or_default();
    VaultMember {
        metadata: ObjectMeta {
            name: Some(owner.name.clone()),
            namespace: facts.vault.metadata.namespace.clone(),
            labels: Some([(String::from(MANAGED_BY), String::from(MANAGER))].into()),
            owner_references: Some(vec![owner_reference(&facts.vault)]),
            ..ObjectMeta::default()
        },
        spec: VaultMemberSpec {
            vault,
            subject: owner.subject.clone(),
            role: String::from(roles::OWNER),
            expires_at: None,
            ttl: None,
            invite_ttl: None,
            key_fingerprint: None,
            rate_limit: None,
            suspended: false,
            invited_by: None,
            acceptance: None,
            declined: false,
            key_change: None,
            last_writer: None,
        },
        status: None,
    }
}
