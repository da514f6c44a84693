//! The turning over of a vault's keys, checked exhaustively (C6, C7, T3): every order in which people act, the operator
//! looks and sends its writes one by one, and is killed between any two of them.
//!
//! The steps are the operator's own: the model's states hold real objects, and what is written next is what
//! [`vault::plan`] and [`connection::plan`] decide. Two states are the same if everything that a decision depends on is
//! the same in them, whatever their random bytes, uids and resourceVersions.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod promises;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use kube::ResourceExt as _;
use stateright::{Checker as _, Model, Property};

use crate::{connection, vault, world::World};
use promises::{everybody_opens, is_settled, named, shuts_out, values_are_there};
use view::{decided, is_of_protocol, is_ready, outsiders, scope, sealed};

/// One Connection for everybody, one for a list.
const CONNECTIONS: [&str; 2] = ["everybody", "listed"];

/// What people do, each once, whenever they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Deed {
    /// `web`, which is in both scopes, is removed.
    Remove,
    /// `job`, which is in both scopes, is suspended.
    Suspend,
    /// `job` comes back.
    Resume,
    /// `ci` is invited, and accepted at once.
    Invite,
    /// The Connection for everybody gets another value.
    Set,
    /// `web` is taken out of the list of the other.
    Narrow,
    /// The Connection for everybody becomes one for `job` alone.
    Close,
    /// `job` is given a role that covers the Connection for everybody and not the other.
    Confine,
    /// New keys are asked for.
    Request,
    /// The custodian root is turned over.
    Root,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Do(Deed),
    /// The operator decides about the vault.
    Look,
    /// It decides about a Connection.
    LookAt(usize),
    /// The next of the writes that were decided on is sent.
    Send(Operator),
    SendOf(Operator, usize),
    /// It is killed, and another starts with nothing but what is stored.
    Crash,
    /// Another takes over from one that lives and has writes under way, which a Lease does not stop.
    TakeOver,
}

/// Whose writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    /// The one that leads.
    Leading,
    /// The one that does no more, and sends what it had decided.
    Former,
}

/// What an operator has decided and not sent.
#[derive(Clone, Default)]
struct Decided {
    vault: VecDeque<vault::plan::Write>,
    connections: [VecDeque<connection::plan::Write>; 2],
}

impl Decided {
    fn is_sealing(&self) -> bool {
        self.connections.iter().any(|writes| !writes.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.vault.is_empty() && !self.is_sealing()
    }
}

/// Everything that decisions and promises depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct View {
    done: BTreeSet<Deed>,
    crashes: u8,
    takeovers: u8,
    epochs: Vec<i64>,
    current: i64,
    /// The newest custodian root that is held, and the one that the Keyring is wrapped under.
    roots: (u64, i64),
    register: BTreeSet<String>,
    /// Phase and wrapped epochs of each VaultMember.
    members: BTreeMap<String, (Option<String>, Vec<i64>)>,
    envelopes: BTreeMap<String, Sealed>,
    /// Whether a Connection says that all of its spec is in effect.
    ready: BTreeMap<String, bool>,
    /// What is decided and not sent, each write by what it would make of its object, and whether it still can.
    decided: Vec<String>,
    /// The same of the operator that leads no more.
    late: Vec<String>,
    /// The epochs that each member was ever given.
    known: BTreeMap<String, BTreeSet<i64>>,
    /// By Connection, who was out, as the operator had recorded, when the present values were sealed.
    outsiders: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Sealed {
    epoch: i64,
    version: i64,
    listed: Option<Vec<String>>,
    /// The key that the custodian's slot is under.
    custodian: String,
    slots: Vec<String>,
    advised: Vec<String>,
}

#[derive(Clone)]
struct State {
    view: View,
    world: Arc<World>,
    decided: Decided,
    /// What an operator had decided that leads no more.
    late: Decided,
    /// What the operator would decide now, worked out once.
    next: Arc<OnceLock<Next>>,
}

/// What the operator would decide.
struct Next {
    vault: vault::plan::Plan,
    connections: [connection::plan::Plan; 2],
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.view == other.view
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view.hash(state);
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.view)
    }
}

/// The deeds of one check, how often the operator is killed in it, and how often another takes over from one that lives.
struct Rotation {
    deeds: Vec<Deed>,
    crashes: u8,
    takeovers: u8,
}

impl State {
    fn first() -> Self {
        let mut world = World::with_vault();
        world.edit_vault("alice", |vault| {
            let narrow = serde_json::json!([{"name": "narrow", "verbs": ["use"], "connections": ["every*"]}]);
            vault.spec.roles = serde_json::from_value(narrow).unwrap();
        });
        for name in ["web", "job"] {
            world.add_account("team-a", name);
            world.invite_account(name, "member", "alice");
        }
        world.add_account("team-a", "ci");
        world.settle();
        world.add_connection(CONNECTIONS[0], Some(&["*"]), &[("token", "one")], "alice");
        world.add_connection(CONNECTIONS[1], Some(&["web", "job"]), &[("token", "one")], "alice");
        world.settle();
        let view = View {
            done: BTreeSet::new(),
            crashes: 0,
            takeovers: 0,
            epochs: Vec::new(),
            current: 0,
            roots: (0, 0),
            register: BTreeSet::new(),
            members: BTreeMap::new(),
            envelopes: BTreeMap::new(),
            ready: BTreeMap::new(),
            decided: Vec::new(),
            late: Vec::new(),
            known: BTreeMap::new(),
            outsiders: BTreeMap::new(),
        };
        let (decided, late) = Default::default();
        Self { view, world: Arc::new(world), decided, late, next: Arc::default() }.seen()
    }

    /// With the view brought up to date.
    fn seen(mut self) -> Self {
        let (world, view) = (&self.world, &mut self.view);
        let keyring = world.keyring();
        view.epochs = keyring.spec.epochs.iter().map(|epoch| epoch.epoch).collect();
        view.current = keyring.spec.current;
        view.roots = (world.newest_root(), keyring.spec.root_generation);
        view.register = keyring.spec.members.iter().map(|entry| entry.name.clone()).collect();
        view.members = world
            .caches
            .members
            .all()
            .iter()
            .map(|member| {
                let status = member.status.clone().unwrap_or_default();
                let epochs: Vec<i64> = status.wrapped_keys.iter().map(|wrapped| wrapped.epoch).collect();
                view.known.entry(member.name_any()).or_default().extend(&epochs);
                (member.name_any(), (status.phase.map(|phase| format!("{phase:?}")), epochs))
            })
            .collect();
        let connections = world.caches.connections.all();
        view.ready = connections.iter().map(|found| (found.name_any(), is_ready(found))).collect();
        view.envelopes = CONNECTIONS.iter().map(|name| (String::from(*name), sealed(world, name))).collect();
        view.decided = decided(world, &self.decided);
        view.late = decided(world, &self.late);
        self.next = Arc::default();
        self
    }

    /// Another state, in which the world is changed and what is decided is still to be sent.
    fn with(&self, change: impl FnOnce(&mut World)) -> Self {
        let mut world = self.world.fork();
        change(&mut world);
        Self {
            view: self.view.clone(),
            world: Arc::new(world),
            decided: self.decided.clone(),
            late: self.late.clone(),
            next: Arc::default(),
        }
    }

    fn next(&self) -> &Next {
        self.next.get_or_init(|| Next {
            vault: self.world.plan_vault(),
            connections: CONNECTIONS.map(|name| self.world.plan_connection(name)),
        })
    }

    /// Whether the operator has nothing to send and nothing to decide.
    fn rests(&self) -> bool {
        let next = self.next();
        self.view.decided.is_empty()
            && self.view.late.is_empty()
            && next.vault.writes.is_empty()
            && next.connections.iter().all(|plan| plan.writes.is_empty())
    }

    fn people(&self, deed: Deed) -> Option<Self> {
        let missing = deed == Deed::Resume && !self.view.done.contains(&Deed::Suspend);
        let gone = deed == Deed::Narrow && self.view.done.contains(&Deed::Close);
        if missing || gone {
            return None;
        }
        let mut next = self.with(|world| match deed {
            Deed::Remove => world.delete_member("web"),
            Deed::Suspend => world.edit_member("job", "alice", |member| member.spec.suspended = true),
            Deed::Resume => world.edit_member("job", "alice", |member| member.spec.suspended = false),
            Deed::Invite => world.invite_account("ci", "member", "alice"),
            Deed::Set => {
                let sealed = world.seal(CONNECTIONS[0], "alice", "token", "two");
                world.edit_connection(CONNECTIONS[0], "alice", |connection| {
                    connection.spec.sealed_data.insert(String::from("token"), sealed);
                });
            }
            Deed::Narrow => scope(world, CONNECTIONS[1]),
            Deed::Close => scope(world, CONNECTIONS[0]),
            Deed::Confine => {
                world.edit_member("job", "alice", |member| member.spec.role = String::from("narrow"));
            }
            Deed::Root => world.grow_root(2),
            Deed::Request => {
                world.now += k8s_openapi::jiff::SignedDuration::from_secs(5);
                let now = world.now;
                world.edit_vault("alice", |vault| {
                    vault.spec.rotation =
                        Some(coffer_crds::RotationSpec { interval: None, requested_at: Some(now.into()) });
                });
            }
        });
        next.view.done.insert(deed);
        Some(next.seen())
    }

    fn look(&self) -> Self {
        let mut next = self.clone();
        let plan = &self.next().vault;
        next.decided.vault = plan.writes.iter().cloned().collect();
        next.seen()
    }

    fn look_at(&self, at: usize) -> Self {
        let mut next = self.clone();
        next.decided.connections[at] = self.next().connections[at].writes.iter().cloned().collect();
        next.seen()
    }

    fn of(&mut self, operator: Operator) -> &mut Decided {
        match operator {
            Operator::Leading => &mut self.decided,
            Operator::Former => &mut self.late,
        }
    }

    /// Sends the next write that the protocol is about, and those before it that it is not about.
    fn send(&self, operator: Operator) -> Self {
        let mut rest = self.clone().of(operator).vault.clone();
        let mut next = self.with(|world| {
            while let Some(write) = rest.pop_front() {
                if !world.fits(&write) {
                    rest.clear();
                    return;
                }
                let matters = is_of_protocol(&write);
                world.apply_vault(write);
                if matters {
                    return;
                }
            }
        });
        next.of(operator).vault = rest;
        next.seen()
    }

    fn send_of(&self, operator: Operator, at: usize) -> Self {
        let name = CONNECTIONS[at];
        let before = self.world.envelope(name).spec.commitment.clone();
        let writes = std::mem::take(&mut self.clone().of(operator).connections[at]);
        let mut next = self.with(|world| {
            for write in writes {
                if !world.fits_connection(name, &write) {
                    return;
                }
                world.apply_connection(name, write);
            }
        });
        next.of(operator).connections[at].clear();
        if next.world.envelope(name).spec.commitment != before {
            next.view.outsiders.insert(String::from(name), outsiders(&next));
        }
        next.seen()
    }

    fn take_over(&self) -> Self {
        let mut next = self.with(|_| {});
        next.view.takeovers += 1;
        next.late = std::mem::take(&mut next.decided);
        next.seen()
    }

    fn crash(&self) -> Self {
        let mut next = self.with(|_| {});
        next.view.crashes += 1;
        next.decided = Decided::default();
        next.seen()
    }
}

impl Model for Rotation {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let left = self.deeds.iter().filter(|deed| !state.view.done.contains(deed));
        actions.extend(left.map(|deed| Action::Do(*deed)));
        let next = state.next();
        if state.decided.vault.is_empty() {
            if !next.vault.writes.is_empty() {
                actions.push(Action::Look);
            }
        } else {
            // The vault's gate: see `gates`.
            let turns = matches!(state.decided.vault.front(), Some(vault::plan::Write::ReplaceKeyring(_)));
            if !(turns && state.decided.is_sealing()) {
                actions.push(Action::Send(Operator::Leading));
            }
        }
        if !state.late.vault.is_empty() {
            actions.push(Action::Send(Operator::Former));
        }
        for at in 0..CONNECTIONS.len() {
            if !state.late.connections[at].is_empty() {
                actions.push(Action::SendOf(Operator::Former, at));
            }
            if !state.decided.connections[at].is_empty() {
                actions.push(Action::SendOf(Operator::Leading, at));
            } else if !next.connections[at].writes.is_empty() {
                actions.push(Action::LookAt(at));
            }
        }
        if state.view.crashes < self.crashes && !state.view.decided.is_empty() {
            actions.push(Action::Crash);
        }
        if state.view.takeovers < self.takeovers && !state.decided.is_empty() && state.late.is_empty() {
            actions.push(Action::TakeOver);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(match action {
            Action::Do(deed) => return state.people(deed),
            Action::Look => state.look(),
            Action::LookAt(at) => state.look_at(at),
            Action::Send(operator) => state.send(operator),
            Action::SendOf(operator, at) => state.send_of(operator, at),
            Action::Crash => state.crash(),
            Action::TakeOver => state.take_over(),
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no reader meets what it should open and cannot", |_, state: &State| {
                state.view.envelopes.iter().all(|(name, sealed)| everybody_opens(state, name, sealed))
            }),
            Property::always(
                "who is out opens nothing that was sealed after that was recorded",
                // Between two operators that is for the Lease's times to see to; it is so in the end.
                |_, state: &State| {
                    let is_over = state.view.takeovers == 0 || state.rests();
                    !is_over || shuts_out(state)
                },
            ),
            Property::always(
                "whoever lost access is named until the value is another",
                |_, state: &State| !state.rests() || named(state),
            ),
            Property::always("no credential is lost", |_, state: &State| {
                !state.rests() || values_are_there(state)
            }),
            Property::always(
                "it ends in one epoch, with nobody keeping keys who is not to",
                |_, state: &State| !state.rests() || is_settled(state),
            ),
            Property::always("it ends", |_, state: &State| {
                // Each write counts a revision: what never ends has no bound.
                let keyring = state.world.keyring().spec.revision;
                let envelopes = CONNECTIONS.map(|name| state.world.envelope(name).spec.revision);
                keyring < 40 && envelopes.iter().all(|revision| *revision < 40)
            }),
            Property::sometimes("a new epoch is current", |_, state: &State| state.view.current > 1),
            Property::sometimes("everything is turned over", |_, state: &State| {
                state.rests() && state.view.epochs.first().is_some_and(|oldest| *oldest > 1)
            }),
        ]
    }
}

fn check(deeds: &[Deed], crashes: u8) {
    check_all(Rotation { deeds: deeds.to_vec(), crashes, takeovers: 0 });
}

fn check_all(model: Rotation) {
    let (deeds, crashes) = (model.deeds.clone(), model.crashes);
    let checker = model.checker().threads(2).spawn_dfs().join();
    tracing::info!(?deeds, crashes, states = checker.unique_state_count(), "checked");
    checker.assert_properties();
    assert!(checker.is_done(), "every state was seen");
}

#[test]
fn a_removal_while_a_value_is_set_and_somebody_joins() {
    check(&[Deed::Remove, Deed::Set, Deed::Invite], 1);
}

#[test]
fn a_removal_while_scopes_are_narrowed() {
    check(&[Deed::Remove, Deed::Narrow, Deed::Close], 1);
}

#[test]
fn a_removal_while_another_is_suspended_and_a_value_is_set() {
    check(&[Deed::Remove, Deed::Suspend], 2);
    check(&[Deed::Remove, Deed::Suspend, Deed::Set], 0);
}

#[test]
fn a_suspension_and_its_end_while_a_value_is_set() {
    check(&[Deed::Suspend, Deed::Resume, Deed::Set], 1);
}

#[test]
fn a_role_is_narrowed_while_a_value_is_set() {
    check(&[Deed::Confine, Deed::Set], 1);
}

/// C25.
#[test]
fn another_custodian_root_while_somebody_joins_and_a_value_is_set() {
    check(&[Deed::Root, Deed::Invite, Deed::Set], 1);
}

#[test]
fn another_custodian_root_while_somebody_is_removed_and_a_scope_narrowed() {
    check(&[Deed::Root, Deed::Remove], 2);
    check(&[Deed::Root, Deed::Remove, Deed::Narrow], 0);
}

#[test]
fn new_keys_on_request_while_somebody_joins_and_a_value_is_set() {
    check(&[Deed::Request, Deed::Invite, Deed::Set], 1);
}

/// A Lease does not fence: an operator that was stopped for a while goes on with what it had decided, while another leads
/// already. Nothing is lost, nobody meets what it should open and cannot, and it ends as it should.
#[test]
fn a_removal_while_two_operators_write() {
    for deeds in [vec![Deed::Remove, Deed::Set], vec![Deed::Suspend]] {
        check_all(Rotation { deeds, crashes: 0, takeovers: 1 });
    }
}
