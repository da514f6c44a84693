//! What is so at one moment, and what each action makes of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use kube::ResourceExt as _;

use super::{
    CONNECTIONS, Deed, Operator,
    view::{decided, is_of_protocol, is_ready, outsiders, scope, sealed},
};
use crate::{connection, vault, world::World};

/// What an operator has decided and not sent.
#[derive(Clone, Default)]
pub(super) struct Decided {
    pub(super) vault: VecDeque<vault::plan::Write>,
    pub(super) connections: [VecDeque<connection::plan::Write>; 2],
}

impl Decided {
    pub(super) fn is_sealing(&self) -> bool {
        self.connections.iter().any(|writes| !writes.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.vault.is_empty() && !self.is_sealing()
    }
}

/// Everything that decisions and promises depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct View {
    pub(super) done: BTreeSet<Deed>,
    pub(super) crashes: u8,
    pub(super) takeovers: u8,
    pub(super) epochs: Vec<i64>,
    pub(super) current: i64,
    /// The newest custodian root that is held, and the one that the Keyring is wrapped under.
    pub(super) roots: (u64, i64),
    pub(super) register: BTreeSet<String>,
    /// Phase and wrapped epochs of each VaultMember.
    pub(super) members: BTreeMap<String, (Option<String>, Vec<i64>)>,
    pub(super) envelopes: BTreeMap<String, Sealed>,
    /// Whether a Connection says that all of its spec is in effect.
    pub(super) ready: BTreeMap<String, bool>,
    /// What is decided and not sent, each write by what it would make of its object, and whether it still can.
    pub(super) decided: Vec<String>,
    /// The same of the operator that leads no more.
    pub(super) late: Vec<String>,
    /// The epochs that each member was ever given.
    pub(super) known: BTreeMap<String, BTreeSet<i64>>,
    /// By Connection, who was out, as the operator had recorded, when the present values were sealed.
    pub(super) outsiders: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sealed {
    pub(super) epoch: i64,
    pub(super) version: i64,
    pub(super) listed: Option<Vec<String>>,
    /// The key that the custodian's slot is under.
    pub(super) custodian: String,
    pub(super) slots: Vec<String>,
    pub(super) advised: Vec<String>,
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) view: View,
    pub(super) world: Arc<World>,
    pub(super) decided: Decided,
    /// What an operator had decided that leads no more.
    pub(super) late: Decided,
    /// What the operator would decide now, worked out once.
    pub(super) next: Arc<OnceLock<Next>>,
}

/// What the operator would decide.
pub(super) struct Next {
    pub(super) vault: vault::plan::Plan,
    pub(super) connections: [connection::plan::Plan; 2],
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

impl State {
    pub(super) fn first() -> Self {
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
    pub(super) fn seen(mut self) -> Self {
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
    pub(super) fn with(&self, change: impl FnOnce(&mut World)) -> Self {
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

    pub(super) fn next(&self) -> &Next {
        self.next.get_or_init(|| Next {
            vault: self.world.plan_vault(),
            connections: CONNECTIONS.map(|name| self.world.plan_connection(name)),
        })
    }

    /// Whether the operator has nothing to send and nothing to decide.
    pub(super) fn rests(&self) -> bool {
        let next = self.next();
        self.view.decided.is_empty()
            && self.view.late.is_empty()
            && next.vault.writes.is_empty()
            && next.connections.iter().all(|plan| plan.writes.is_empty())
    }

    pub(super) fn people(&self, deed: Deed) -> Option<Self> {
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

    pub(super) fn look(&self) -> Self {
        let mut next = self.clone();
        let plan = &self.next().vault;
        next.decided.vault = plan.writes.iter().cloned().collect();
        next.seen()
    }

    pub(super) fn look_at(&self, at: usize) -> Self {
        let mut next = self.clone();
        next.decided.connections[at] = self.next().connections[at].writes.iter().cloned().collect();
        next.seen()
    }

    pub(super) fn of(&mut self, operator: Operator) -> &mut Decided {
        match operator {
            Operator::Leading => &mut self.decided,
            Operator::Former => &mut self.late,
        }
    }

    /// Sends the next write that the protocol is about, and those before it that it is not about.
    pub(super) fn send(&self, operator: Operator) -> Self {
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

    pub(super) fn send_of(&self, operator: Operator, at: usize) -> Self {
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

    pub(super) fn take_over(&self) -> Self {
        let mut next = self.with(|_| {});
        next.view.takeovers += 1;
        next.late = std::mem::take(&mut next.decided);
        next.seen()
    }

    pub(super) fn crash(&self) -> Self {
        let mut next = self.with(|_| {});
        next.view.crashes += 1;
        next.decided = Decided::default();
        next.seen()
    }
}
