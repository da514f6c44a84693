//! The turning over of a vault's keys, checked exhaustively (C6, C7, T3): every order in which people act, the operator
//! looks and sends its writes one by one, and is killed between any two of them.
//!
//! The steps are the operator's own: the model's states hold real objects, and what is written next is what
//! [`vault::plan`] and [`connection::plan`] decide. Two states are the same if everything that a decision depends on is
//! the same in them, whatever their random bytes, uids and resourceVersions.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use coffer_crds::{EnvelopeScope, MemberPhase};
use coffer_envelope::{OpenKeyring, scope_contains};
use kube::ResourceExt as _;
use stateright::{Checker as _, Model, Property};

use crate::{cache::Key, connection, vault, world::World};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Do(Deed),
    /// The operator decides about the vault.
    Look,
    /// It sends the next of the writes that it decided on.
    Send,
    /// It decides about a Connection.
    LookAt(usize),
    SendOf(usize),
    /// It is killed, and another starts with nothing but what is stored.
    Crash,
}

/// What the operator has decided and not sent.
#[derive(Clone, Default)]
struct Decided {
    vault: VecDeque<vault::plan::Write>,
    connections: [VecDeque<connection::plan::Write>; 2],
}

/// Everything that decisions and promises depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct View {
    done: BTreeSet<Deed>,
    crashes: u8,
    epochs: Vec<i64>,
    current: i64,
    register: BTreeSet<String>,
    /// Phase and wrapped epochs of each VaultMember.
    members: BTreeMap<String, (Option<String>, Vec<i64>)>,
    envelopes: BTreeMap<String, Sealed>,
    /// Whether a Connection says that all of its spec is in effect.
    ready: BTreeMap<String, bool>,
    /// What is decided and not sent, each write by what it would make of its object, and whether it still can.
    decided: Vec<String>,
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
    slots: Vec<String>,
    advised: Vec<String>,
}

#[derive(Clone)]
struct State {
    view: View,
    world: Arc<World>,
    decided: Decided,
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

/// The deeds of one check, and how often the operator is killed in it.
struct Rotation {
    deeds: Vec<Deed>,
    crashes: u8,
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
            epochs: Vec::new(),
            current: 0,
            register: BTreeSet::new(),
            members: BTreeMap::new(),
            envelopes: BTreeMap::new(),
            ready: BTreeMap::new(),
            decided: Vec::new(),
            known: BTreeMap::new(),
            outsiders: BTreeMap::new(),
        };
        Self { view, world: Arc::new(world), decided: Decided::default(), next: Arc::default() }.seen()
    }

    /// With the view brought up to date.
    fn seen(mut self) -> Self {
        let (world, view) = (&self.world, &mut self.view);
        let keyring = world.keyring();
        view.epochs = keyring.spec.epochs.iter().map(|epoch| epoch.epoch).collect();
        view.current = keyring.spec.current;
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

    /// Sends the next write that the protocol is about, and those before it that it is not about.
    fn send(&self) -> Self {
        let mut rest = self.decided.vault.clone();
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
        next.decided.vault = rest;
        next.seen()
    }

    fn send_of(&self, at: usize) -> Self {
        let name = CONNECTIONS[at];
        let before = self.world.envelope(name).spec.commitment.clone();
        let mut next = self.with(|world| {
            for write in self.decided.connections[at].clone() {
                if !world.fits_connection(name, &write) {
                    return;
                }
                world.apply_connection(name, write);
            }
        });
        next.decided.connections[at].clear();
        if next.world.envelope(name).spec.commitment != before {
            next.view.outsiders.insert(String::from(name), outsiders(&next));
        }
        next.seen()
    }

    fn crash(&self) -> Self {
        let mut next = self.with(|_| {});
        next.view.crashes += 1;
        next.decided = Decided::default();
        next.seen()
    }
}

/// Taken out, or kept to `job`.
fn scope(world: &mut World, name: &str) {
    world.edit_connection(name, "alice", |connection| {
        connection.spec.members = Some(vec![String::from("job")])
    });
}

fn is_ready(connection: &coffer_crds::Connection) -> bool {
    let status = connection.status.clone().unwrap_or_default();
    status.observed_generation == connection.metadata.generation
        && status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn sealed(world: &World, name: &str) -> Sealed {
    let spec = world.envelope(name).spec.clone();
    Sealed {
        epoch: spec.epoch,
        version: spec.version,
        listed: match spec.members {
            EnvelopeScope::All(_) => None,
            EnvelopeScope::Listed(members) => Some(members.into_iter().map(|member| member.name).collect()),
        },
        slots: spec
            .slots
            .into_iter()
            .map(|slot| format!("{:?} {}", slot.to, slot.name.unwrap_or_default()))
            .collect(),
        advised: spec.advised.into_iter().map(|advised| advised.member).collect(),
    }
}

/// What is decided, without what is random in it.
fn decided(world: &World, decided: &Decided) -> Vec<String> {
    use connection::plan::Write as OfConnection;
    use vault::plan::Write as OfVault;
    let mut said: Vec<String> = decided
        .vault
        .iter()
        .map(|write| {
            let what = match write {
                OfVault::CreateKeyring(keyring) | OfVault::ReplaceKeyring(keyring) => {
                    let spec = &keyring.spec;
                    let epochs: Vec<i64> = spec.epochs.iter().map(|epoch| epoch.epoch).collect();
                    let members: Vec<&str> = spec.members.iter().map(|member| member.name.as_str()).collect();
                    format!("keyring {epochs:?} {} {members:?}", spec.current)
                }
                OfVault::MemberStatus(change) => {
                    let (member, status) = change.as_ref();
                    let epochs: Vec<i64> = status.wrapped_keys.iter().map(|wrapped| wrapped.epoch).collect();
                    format!("status {} {:?} {epochs:?}", member.name_any(), status.phase)
                }
                OfVault::CreateMember(_)
                | OfVault::RaiseOwner(_)
                | OfVault::DeleteMember(_)
                | OfVault::CreateBinding(_)
                | OfVault::ApplyBinding(_)
                | OfVault::DeleteBinding(_)
                | OfVault::VaultStatus(_) => format!("{:?}", std::mem::discriminant(write)),
            };
            format!("{what} {}", world.fits(write))
        })
        .collect();
    for (name, writes) in CONNECTIONS.iter().zip(&decided.connections) {
        for write in writes {
            let what = match write {
                OfConnection::CreateEnvelope(envelope) | OfConnection::ReplaceEnvelope(envelope) => {
                    let spec = &envelope.spec;
                    format!("{} {} {:?} {}", spec.epoch, spec.version, spec.members, spec.slots.len())
                }
                OfConnection::Status(status) => format!("{:?} {:?}", status.phase, status.key_epoch),
            };
            said.push(format!("{name} {what} {}", world.fits_connection(name, write)));
        }
    }
    said
}

/// Whether the protocol depends on when a write is made.
fn is_of_protocol(write: &vault::plan::Write) -> bool {
    use vault::plan::Write;
    matches!(write, Write::CreateKeyring(_) | Write::ReplaceKeyring(_) | Write::MemberStatus(_))
}

/// Who is out: removed from the register, or named as the cause of an epoch and not in force.
fn outsiders(state: &State) -> BTreeSet<String> {
    let keyring = state.world.keyring();
    let causes = keyring.spec.epochs.iter().flat_map(|epoch| &epoch.causes);
    let causes = causes.filter_map(|cause| cause.member.as_ref().map(|member| member.name.clone()));
    let suspended = |name: &String| {
        let member = state.world.caches.members.get(&Key::new("team-a", name));
        member.is_none_or(|member| member.spec.suspended)
    };
    let removed =
        state.view.known.keys().filter(|name| !keyring.spec.members.iter().any(|entry| entry.name == **name));
    let invited = |name: &&String| state.world.caches.members.get(&Key::new("team-a", *name)).is_none();
    removed.filter(invited).cloned().chain(causes.filter(suspended)).collect()
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
        let sealing = state.decided.connections.iter().any(|writes| !writes.is_empty());
        if state.decided.vault.is_empty() {
            if !next.vault.writes.is_empty() {
                actions.push(Action::Look);
            }
        } else {
            // The vault's gate: see `gates`.
            let turns = matches!(state.decided.vault.front(), Some(vault::plan::Write::ReplaceKeyring(_)));
            if !(turns && sealing) {
                actions.push(Action::Send);
            }
        }
        for at in 0..CONNECTIONS.len() {
            if !state.decided.connections[at].is_empty() {
                actions.push(Action::SendOf(at));
            } else if !next.connections[at].writes.is_empty() {
                actions.push(Action::LookAt(at));
            }
        }
        if state.view.crashes < self.crashes && !state.view.decided.is_empty() {
            actions.push(Action::Crash);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(match action {
            Action::Do(deed) => return state.people(deed),
            Action::Look => state.look(),
            Action::Send => state.send(),
            Action::LookAt(at) => state.look_at(at),
            Action::SendOf(at) => state.send_of(at),
            Action::Crash => state.crash(),
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no reader meets what it should open and cannot", |_, state: &State| {
                state.view.envelopes.iter().all(|(name, sealed)| everybody_opens(state, name, sealed))
            }),
            Property::always(
                "who is out opens nothing that was sealed after that was recorded",
                |_, state: &State| shuts_out(state),
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

fn everybody_opens(state: &State, name: &str, sealed: &Sealed) -> bool {
    let envelope = state.world.envelope(name);
    state.world.caches.members.all().iter().all(|member| {
        let status = member.status.clone().unwrap_or_default();
        let uid = member.uid().unwrap();
        let active = status.phase == Some(MemberPhase::Active) && !member.spec.suspended;
        if !active || !scope_contains(&envelope.spec.members, &member.name_any(), &uid) {
            return true;
        }
        let has_slot = sealed.slots.contains(&format!("Member {}", member.name_any()));
        match sealed.listed {
            None => has_slot || status.wrapped_keys.iter().any(|wrapped| wrapped.epoch == sealed.epoch),
            // One that has just come back gets its slot next; one that is confined is to have none.
            Some(_) => {
                let done = |deed| state.view.done.contains(&deed) && member.name_any() == "job";
                has_slot || done(Deed::Resume) || done(Deed::Confine)
            }
        }
    })
}

fn shuts_out(state: &State) -> bool {
    state.view.outsiders.iter().all(|(name, outsiders)| {
        let sealed = &state.view.envelopes[name];
        // Whoever has come back is in again.
        let active = |name: &str| {
            state.view.members.get(name).is_some_and(|(phase, _)| phase.as_deref() == Some("Active"))
        };
        outsiders.iter().filter(|out| !active(out)).all(|out| {
            let knows = state.view.known.get(out).is_some_and(|known| known.contains(&sealed.epoch));
            let through_the_vault = sealed.listed.is_none() && knows;
            !through_the_vault && !sealed.slots.contains(&format!("Member {out}"))
        })
    })
}

/// C7: who could read the present value and cannot any more.
fn named(state: &State) -> bool {
    let done = |deed| state.view.done.contains(&deed);
    let everybody = &state.view.envelopes[CONNECTIONS[0]];
    let removed =
        !done(Deed::Remove) || everybody.version > 1 || everybody.advised.contains(&String::from("web"));
    let listed = &state.view.envelopes[CONNECTIONS[1]];
    let narrowed =
        !(done(Deed::Remove) || done(Deed::Narrow)) || listed.advised.contains(&String::from("web"));
    removed && narrowed
}

fn values_are_there(state: &State) -> bool {
    let set = state.view.done.contains(&Deed::Set);
    let wanted = [if set { "two" } else { "one" }, "one"];
    CONNECTIONS.iter().zip(wanted).all(|(name, value)| {
        state.view.ready[*name] && state.world.values(name) == [(String::from("token"), String::from(value))]
    })
}

fn is_settled(state: &State) -> bool {
    let keys: OpenKeyring = state.world.keys();
    let one = keys.oldest() == keys.newest() && keys.oldest() == keys.current();
    let sealed = state.view.envelopes.values().all(|sealed| sealed.epoch == keys.current());
    let confined = |name: &str| keys.member(name).is_some_and(|entry| entry.role == "narrow");
    let held = state.view.members.iter().all(|(name, (phase, epochs))| match phase.as_deref() {
        Some("Active") if !confined(name) => *epochs == [keys.current()],
        _ => epochs.is_empty(),
    });
    one && sealed && held
}

fn check(deeds: &[Deed], crashes: u8) {
    let model = Rotation { deeds: deeds.to_vec(), crashes };
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

#[test]
fn new_keys_on_request_while_somebody_joins_and_a_value_is_set() {
    check(&[Deed::Request, Deed::Invite, Deed::Set], 1);
}
