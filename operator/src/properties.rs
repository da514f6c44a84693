//! What holds whatever people do, in whatever order: random histories of a vault, settled after each step.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::{BTreeMap, BTreeSet};

use coffer_crds::{EnvelopeScope, MemberPhase, SlotRecipient};
use coffer_envelope::{Place, open_as_brokered, scope_contains};
use coffer_keys::signature::CheckedSignatures;
use coffer_policy::{membership::leads, roles::role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::json;

use crate::{
    cache::Key,
    world::{World, main_vault},
};

const ACCOUNTS: [&str; 3] = ["web", "job", "ci"];
const CONNECTIONS: [&str; 2] = ["gh-a", "aws"];
const ROLES: [&str; 3] = ["member", "ci", "none"];

#[derive(Clone, Debug)]
enum Step {
    MakeAccount(usize),
    DropAccount(usize),
    AcceptAccount(usize),
    Invite(usize, usize),
    Remove(usize),
    Suspend(usize, bool),
    Decline(usize),
    End(usize, bool),
    Role(usize, usize),
    NarrowRole(bool),
    Sharing(bool),
    Apply(usize, u8),
    SealAgain(usize),
    Scope(usize, Option<Vec<usize>>),
    Drop(usize),
    LoseEnvelope(usize),
    Pass(i64),
    Stranger(usize),
    Root,
}

fn step() -> impl Strategy<Value = Step> {
    let (account, connection, role) = (0..ACCOUNTS.len(), 0..CONNECTIONS.len(), 0..ROLES.len());
    let scope = proptest::option::of(proptest::collection::vec(0..ACCOUNTS.len(), 0..3));
    prop_oneof![
        3 => account.clone().prop_map(Step::MakeAccount),
        1 => account.clone().prop_map(Step::DropAccount),
        1 => account.clone().prop_map(Step::AcceptAccount),
        4 => (account.clone(), role.clone()).prop_map(|(account, role)| Step::Invite(account, role)),
        2 => account.clone().prop_map(Step::Remove),
        2 => (account.clone(), any::<bool>()).prop_map(|(account, on)| Step::Suspend(account, on)),
        1 => account.clone().prop_map(Step::Decline),
        1 => (account.clone(), any::<bool>()).prop_map(|(account, over)| Step::End(account, over)),
        1 => (account, role).prop_map(|(account, role)| Step::Role(account, role)),
        1 => any::<bool>().prop_map(Step::NarrowRole),
        1 => any::<bool>().prop_map(Step::Sharing),
        4 => (connection.clone(), 0u8..3).prop_map(|(connection, value)| Step::Apply(connection, value)),
        1 => connection.clone().prop_map(Step::SealAgain),
        3 => (connection.clone(), scope).prop_map(|(connection, scope)| Step::Scope(connection, scope)),
        1 => connection.clone().prop_map(Step::Drop),
        1 => connection.clone().prop_map(Step::LoseEnvelope),
        1 => (1i64..60).prop_map(Step::Pass),
        1 => connection.prop_map(Step::Stranger),
        1 => Just(Step::Root),
    ]
}

/// The world, and the values that alice gave her Connections.
struct History {
    world: World,
    values: BTreeMap<&'static str, String>,
    current: i64,
    versions: BTreeMap<(String, String), (i64, i64)>,
    /// The newest epoch whose vault key a member, by uid, was ever given.
    known: BTreeMap<String, i64>,
    /// The phase in which each member, by uid, was last seen.
    phases: BTreeMap<String, MemberPhase>,
}

impl History {
    fn new() -> Self {
        let mut world = World::with_vault();
        world.edit_vault("alice", |vault| vault.spec.roles = roles(false));
        for name in ["web", "job"] {
            world.add_account("team-a", name);
            world.invite_account(name, "member", "alice");
        }
        world.settle();
        Self {
            world,
            values: BTreeMap::new(),
            current: 1,
            versions: BTreeMap::new(),
            known: BTreeMap::new(),
            phases: BTreeMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        let world = &mut self.world;
        let has_account =
            |world: &World, name: &str| world.caches.accounts.get(&Key::new("team-a", name)).is_some();
        let has_member =
            |world: &World, name: &str| world.caches.members.get(&Key::new("team-a", name)).is_some();
        let has =
            |world: &World, name: &str| world.caches.connections.get(&Key::new("team-a", name)).is_some();
        match step {
            Step::Root => world.grow_root(world.newest_root() + 1),
            Step::MakeAccount(at) if !has_account(world, ACCOUNTS[*at]) => {
                world.add_account("team-a", ACCOUNTS[*at])
            }
            Step::DropAccount(at) if has_account(world, ACCOUNTS[*at]) => {
                world.delete(|caches| &caches.accounts, &Key::new("team-a", ACCOUNTS[*at]));
            }
            Step::AcceptAccount(at) if has_account(world, ACCOUNTS[*at]) => {
                let found = world.caches.accounts.get(&Key::new("team-a", ACCOUNTS[*at])).unwrap();
                let mut account = found.as_ref().clone();
                account.annotations_mut().insert(String::from("coffer.dev/accept"), main_vault().to_string());
                world.update(|caches| &caches.accounts, account);
            }
            Step::Invite(at, role) if !has_member(world, ACCOUNTS[*at]) => {
                world.invite_account(ACCOUNTS[*at], ROLES[*role], "alice");
            }
            Step::Remove(at) if has_member(world, ACCOUNTS[*at]) => world.delete_member(ACCOUNTS[*at]),
            Step::Suspend(at, on) if has_member(world, ACCOUNTS[*at]) => {
                world.edit_member(ACCOUNTS[*at], "alice", |member| member.spec.suspended = *on);
            }
            Step::Decline(at) if has_member(world, ACCOUNTS[*at]) => {
                world.edit_member(ACCOUNTS[*at], ACCOUNTS[*at], |member| member.spec.declined = true);
            }
            Step::End(at, over) if has_member(world, ACCOUNTS[*at]) => {
                let end = over.then_some(Time(world.now));
                world.edit_member(ACCOUNTS[*at], "alice", |member| member.spec.expires_at = end);
            }
            Step::Role(at, role) if has_member(world, ACCOUNTS[*at]) => {
                world.edit_member(ACCOUNTS[*at], "alice", |member| {
                    member.spec.role = String::from(ROLES[*role])
                });
            }
            Step::NarrowRole(narrow) => world.edit_vault("alice", |vault| vault.spec.roles = roles(*narrow)),
            Step::Sharing(all) => world.edit_vault("alice", |vault| {
                vault.spec.sharing =
                    if *all { coffer_crds::Sharing::All } else { coffer_crds::Sharing::Owner };
            }),
            Step::Apply(at, value) => {
                let (name, value) = (CONNECTIONS[*at], format!("value {value}"));
                if has(world, name) {
                    let sealed = world.seal(name, "alice", "token", &value);
                    world.edit_connection(name, "alice", |connection| {
                        connection.spec.sealed_data.insert(String::from("token"), sealed);
                    });
                } else {
                    world.add_connection(name, None, &[("token", &value)], "alice");
                }
                self.values.insert(name, value);
            }
            Step::SealAgain(at) if has(world, CONNECTIONS[*at]) => {
                let sealed = world.seal(CONNECTIONS[*at], "alice", "token", &self.values[CONNECTIONS[*at]]);
                world.edit_connection(CONNECTIONS[*at], "alice", |connection| {
                    connection.spec.sealed_data.insert(String::from("token"), sealed);
                });
            }
            Step::Scope(at, scope) if has(world, CONNECTIONS[*at]) => {
                let names =
                    scope.as_ref().map(|names| names.iter().map(|at| String::from(ACCOUNTS[*at])).collect());
                world
                    .edit_connection(CONNECTIONS[*at], "alice", |connection| connection.spec.members = names);
            }
            Step::Drop(at) if has(world, CONNECTIONS[*at]) => {
                world.delete(|caches| &caches.connections, &Key::new("team-a", CONNECTIONS[*at]));
                self.values.remove(CONNECTIONS[*at]);
            }
            Step::LoseEnvelope(at) if has(world, CONNECTIONS[*at]) => {
                world.delete(|caches| &caches.envelopes, &Key::new("team-a", CONNECTIONS[*at]));
            }
            Step::Pass(hours) => world.pass(*hours),
            Step::Stranger(at) if has(world, CONNECTIONS[*at]) => {
                let before = world.connection(CONNECTIONS[*at]).as_ref().clone();
                world.edit_connection(CONNECTIONS[*at], "mallory", |connection| {
                    connection.spec.members = Some(vec![String::from("*")]);
                });
                world.settle();
                world.edit_connection(CONNECTIONS[*at], "alice", |connection| connection.spec = before.spec);
            }
            // A step that does not apply to this state.
            Step::MakeAccount(_)
            | Step::DropAccount(_)
            | Step::AcceptAccount(_)
            | Step::Invite(..)
            | Step::Remove(_)
            | Step::Suspend(..)
            | Step::Decline(_)
            | Step::End(..)
            | Step::Role(..)
            | Step::SealAgain(_)
            | Step::Scope(..)
            | Step::Drop(_)
            | Step::LoseEnvelope(_)
            | Step::Stranger(_) => {}
        }
    }

    /// The operator gets as far as the given number of writes of each plan, is killed, and starts again.
    fn settle_after_a_crash(&mut self, survived: usize) {
        for write in self.world.plan_vault().writes.into_iter().take(survived) {
            self.world.apply_vault(write);
        }
        for name in CONNECTIONS {
            if self.world.caches.connections.get(&Key::new("team-a", name)).is_some() {
                for write in self.world.plan_connection(name).writes.into_iter().take(survived) {
                    self.world.apply_connection(name, write);
                }
            }
        }
        self.world.keyrings.forget();
        self.world.settle();
    }

    fn check(&mut self) {
        let keyring = self.world.keyring();
        let keys = self.world.keys();
        assert!(keyring.spec.current >= self.current, "an epoch came back");
        self.current = keyring.spec.current;
        assert_eq!((keys.oldest(), keys.newest()), (keys.current(), keys.current()), "it ends in one epoch");
        let (mut in_force, mut holders) = (BTreeSet::new(), BTreeSet::new());
        for member in self.world.caches.members.all() {
            let status = member.status.clone().unwrap_or_default();
            if let Some(phase) = status.phase {
                let before = self.phases.insert(member.uid().unwrap(), phase).unwrap_or(MemberPhase::Invited);
                assert!(leads(before.into(), phase.into()), "{}: {before:?} to {phase:?}", member.name_any());
            }
            let entry = keys
                .member(&member.name_any())
                .filter(|entry| Some(&entry.uid) == member.metadata.uid.as_ref());
            if status.phase == Some(MemberPhase::Active) {
                in_force.insert((member.name_any(), member.uid().unwrap()));
            } else {
                assert!(
                    status.wrapped_keys.is_empty(),
                    "{} holds keys while {:?}",
                    member.name_any(),
                    status.phase
                );
            }
            for wrapped in &status.wrapped_keys {
                assert!(keys.is_wrapped(entry.unwrap(), wrapped));
                let known = self.known.entry(member.uid().unwrap()).or_default();
                *known = (*known).max(wrapped.epoch);
            }
            if !status.wrapped_keys.is_empty() {
                holders.insert(member.uid().unwrap());
            }
        }
        let newest = keys.epochs().map(|epoch| epoch.epoch).max().unwrap();
        for (uid, known) in &self.known {
            assert!(
                holders.contains(uid) || newest > *known,
                "{uid} knows epoch {known}, and none is to follow"
            );
        }
        for (name, value) in &self.values {
            assert_eq!(self.world.values(name), [(String::from("token"), value.clone())], "{name}");
            let envelope = self.world.envelope(name);
            let listed = matches!(envelope.spec.members, EnvelopeScope::Listed(_));
            for slot in &envelope.spec.slots {
                match slot.to {
                    SlotRecipient::Custodian => {}
                    SlotRecipient::Vault => assert!(!listed, "{name}: the vault key opens a listed scope"),
                    SlotRecipient::Member => {
                        let member = (slot.name.clone().unwrap(), slot.uid.clone().unwrap());
                        assert!(
                            in_force.contains(&member),
                            "{name}: a slot for {member:?}, who is not in force"
                        );
                    }
                }
            }
            assert_eq!(envelope.spec.epoch, keys.current(), "{name}");
            self.everybody_opens(name, value);
            let uid = (String::from(*name), envelope.spec.connection.uid.clone());
            let seen = (envelope.spec.version, envelope.spec.revision);
            let before = self.versions.insert(uid, seen).unwrap_or_default();
            assert!(
                seen.0 > before.0 || (seen.0 == before.0 && seen.1 >= before.1),
                "{name}: {before:?} then {seen:?}"
            );
        }
    }
}

impl History {
    /// Whoever is Active, in scope and allowed opens the Connection with what is wrapped for them, as the broker would.
    fn everybody_opens(&self, name: &str, value: &str) {
        let (keys, envelope, vault) = (self.world.keys(), self.world.envelope(name), self.world.vault());
        let place = Place {
            vault_id: keys.vault_id(),
            custodian_key: keys.public_key(),
            connection: &envelope.spec.connection,
        };
        for entry in keys.members() {
            let status = self.world.member_status(&entry.name);
            let role = role(&vault.spec, &entry.role).unwrap();
            let may = status.phase == Some(MemberPhase::Active)
                && role.opens()
                && role.covers(name)
                && scope_contains(&envelope.spec.members, &entry.name, &entry.uid);
            let opened = open_as_brokered(
                &self.world.branches(),
                entry,
                &status.wrapped_keys,
                &place,
                &envelope.spec,
                None,
                &CheckedSignatures::default(),
            );
            match opened {
                Ok(items) => {
                    assert!(may, "{} opens {name} and may not", entry.name);
                    assert_eq!(items["token"].expose(), value.as_bytes());
                }
                Err(error) => assert!(!may, "{} may open {name} and cannot: {error}", entry.name),
            }
        }
    }
}

fn roles(narrow: bool) -> Vec<coffer_crds::RoleSpec> {
    let globs = if narrow { json!(["gh-*"]) } else { json!(["*"]) };
    serde_json::from_value(json!([
        {"name": "ci", "verbs": ["use"], "connections": globs},
        {"name": "none", "verbs": ["list"]},
    ]))
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// After every step, and a crash after any number of writes (T3), the operator comes to rest (settle fails
    /// otherwise), and looking again writes nothing: nothing is lost, nobody out of force holds a key or slot, whoever
    /// knew a vault key has an epoch to follow it, and no version, revision or epoch goes back.
    #[test]
    fn every_history_comes_to_rest_with_nothing_lost_and_nothing_left_to_those_who_are_out(
        steps in proptest::collection::vec((step(), 0usize..5), 1..30),
    ) {
        let mut history = History::new();
        for (step, survived) in &steps {
            history.take(step);
            history.settle_after_a_crash(*survived);
            history.check();
        }
        history.world.keyrings.forget();
        prop_assert_eq!(history.world.settle(), 0);
    }

    /// `plan(observe(apply(plan(x))))` is empty for a Connection, from whatever state: one plan is enough.
    #[test]
    fn one_plan_of_a_connection_is_enough(steps in proptest::collection::vec(step(), 1..15), value in 0u8..3) {
        let mut history = History::new();
        for step in &steps {
            history.take(step);
            history.world.settle();
        }
        let world = &mut history.world;
        if world.caches.connections.get(&Key::new("team-a", "gh-a")).is_none() {
            world.add_connection("gh-a", Some(&["web"]), &[("token", "a")], "alice");
        } else {
            let sealed = world.seal("gh-a", "alice", "token", &format!("value {value}"));
            world.edit_connection("gh-a", "alice", |connection| {
                connection.spec.sealed_data.insert(String::from("token"), sealed);
                connection.spec.members = Some(vec![String::from("web"), String::from("ci")]);
            });
        }
        for write in world.plan_connection("gh-a").writes {
            world.apply_connection("gh-a", write);
        }
        prop_assert_eq!(world.plan_connection("gh-a").writes.len(), 0);
    }
}
