//! A reader whose copies lag, as a broker's: it has each object from a watch of its own, and where nothing opens with what
//! it has it reads them again one after the other, while people act and the operator writes.
//!
//! It decides and opens with what the broker decides and opens with; when it looks again is [`Looks`]' word.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use coffer_crds::{Connection, EnvelopeConnection, Keyring, VaultMember, Verb};
use coffer_envelope::{Looks, Place, open_as_brokered};
use coffer_keys::signature::{CheckedSignatures, VaultPublicKey};
use coffer_policy::{
    Caller, MemberView,
    release::{Asked, Denial, Target, judge},
};
use kube::ResourceExt as _;
use stateright::{Model, Property};

use super::{
    Action, CONNECTIONS, Rotation,
    state::{Sealed, State},
    view::sealed,
};
use crate::{cache::Key, world::World};

/// Turn-overs while a member reads a Connection, once, beginning and going on whenever it likes.
pub(super) struct Watched {
    pub(super) rotation: Rotation,
    /// The member.
    pub(super) who: &'static str,
    /// Which of the Connections.
    pub(super) at: usize,
    /// Whether the member may open it from the first state to the last.
    pub(super) stays: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Connection,
    Keyring,
    Member,
    Envelope,
}

const KINDS: [Kind; 4] = [Kind::Connection, Kind::Keyring, Kind::Member, Kind::Envelope];
/// Those that a look past the watches reads.
const READ_AGAIN: [Kind; 3] = [Kind::Keyring, Kind::Member, Kind::Envelope];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// People and operators go on.
    Goes(Action),
    /// The reader takes a copy of an object as it is now.
    Takes(Kind),
}

/// How a reading ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    /// It has the value.
    Opened {
        right: bool,
        /// Whether the operator had recorded, before that was sealed, that the member is out.
        sealed_without: bool,
    },
    /// It looked as often as it may, or long enough to know.
    DoesNotOpen,
    /// It is told that it has no right to it.
    Denied(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    /// What decides, of the object.
    said: String,
    /// Whether the object is still that.
    is_current: bool,
    /// Whether it is as in the look before; known once it was read in this one.
    is_as_before: Option<bool>,
}

#[derive(Clone, Default)]
struct Copies {
    connection: Option<Arc<Connection>>,
    keyring: Option<Arc<Keyring>>,
    member: Option<Arc<VaultMember>>,
    envelope: Option<Arc<coffer_crds::Envelope>>,
    sealed: Option<Sealed>,
    sealed_without: bool,
}

/// resourceVersions by kind; of what is absent none.
type Versions = BTreeMap<Kind, Option<String>>;

#[derive(Clone)]
pub(super) struct Reading {
    state: State,
    copies: Copies,
    /// Taken in this look.
    taken: Vec<Kind>,
    looks: Option<Looks<Versions>>,
    before: Versions,
    outcome: Option<Outcome>,
    /// What two readings are compared by.
    view: (u8, BTreeMap<Kind, Seen>),
}

impl PartialEq for Reading {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state && self.outcome == other.outcome && self.view == other.view
    }
}

impl Hash for Reading {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.state.hash(state);
        self.outcome.hash(state);
        self.view.hash(state);
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}\nreader: {:?} {:?}", self.state, self.view, self.outcome)
    }
}

impl Copies {
    fn take(&mut self, kind: Kind, watched: &Watched, state: &State) {
        let (world, name) = (&state.world, CONNECTIONS[watched.at]);
        match kind {
            Kind::Connection => self.connection = Some(world.connection(name)),
            Kind::Keyring => self.keyring = Some(world.keyring()),
            Kind::Member => self.member = world.caches.members.get(&Key::new("team-a", watched.who)),
            Kind::Envelope => {
                self.envelope = Some(world.envelope(name));
                self.sealed = Some(sealed(world, name));
                let outsiders = state.view.outsiders.get(name);
                self.sealed_without = outsiders.is_some_and(|out| out.contains(watched.who));
            }
        }
    }

    fn versions(&self) -> Versions {
        let keyring = self.keyring.as_ref().and_then(|it| it.resource_version());
        let member = self.member.as_ref().and_then(|it| it.resource_version());
        let envelope = self.envelope.as_ref().and_then(|it| it.resource_version());
        BTreeMap::from([(Kind::Keyring, keyring), (Kind::Member, member), (Kind::Envelope, envelope)])
    }

    /// What decides, of one of them.
    fn said(&self, kind: Kind, who: &str) -> String {
        match kind {
            Kind::Connection => format!("{:?}", self.connection.as_ref().map(|it| &it.spec.members)),
            Kind::Keyring => {
                let entry =
                    |keyring: &Arc<Keyring>| keyring.spec.members.iter().any(|entry| entry.name == who);
                format!("{:?}", self.keyring.as_ref().map(entry))
            }
            Kind::Member => {
                let said = |member: &Arc<VaultMember>| {
                    let status = member.status.clone().unwrap_or_default();
                    let epochs: Vec<i64> = status.wrapped_keys.iter().map(|wrapped| wrapped.epoch).collect();
                    (member.spec.suspended, member.spec.role.clone(), status.phase, epochs)
                };
                format!("{:?}", self.member.as_ref().map(said))
            }
            Kind::Envelope => format!("{:?} {}", self.sealed, self.sealed_without),
        }
    }

    /// Decides and opens. `None` where the copies do not fit together.
    fn open(&self, watched: &Watched, world: &World) -> Option<Outcome> {
        let (vault, connection) = (world.vault(), self.connection.as_ref().unwrap());
        let (keyring, envelope) = (self.keyring.as_ref().unwrap(), self.envelope.as_ref().unwrap());
        let entry = keyring.spec.members.iter().find(|entry| entry.name == watched.who);
        let views: Vec<MemberView> = self
            .member
            .iter()
            .map(|member| MemberView::registered(member, entry, &vault, world.now))
            .collect();
        let account = world.caches.accounts.get(&Key::new("team-a", watched.who)).unwrap();
        let caller = Caller {
            username: format!("system:serviceaccount:team-a:{}", watched.who),
            uid: account.metadata.uid.clone(),
            groups: Vec::new(),
        };
        let target = Target { vault: &vault, members: &views, connection, envelope: Some(&envelope.spec) };
        let asked = Asked { reference: CONNECTIONS[watched.at], target: Some(target) };
        match judge(Some(&caller), Verb::Use, world.now, &asked) {
            Ok(_) => {}
            Err(Denial::NotReady { .. }) => return None,
            Err(denial) => return Some(Outcome::Denied(denial.reason())),
        }
        let status = vault.status.as_ref().unwrap();
        let custodian_key = VaultPublicKey::parse(status.custodian_key.as_ref().unwrap()).unwrap();
        let here = EnvelopeConnection {
            namespace: connection.namespace().unwrap(),
            name: connection.name_any(),
            uid: connection.uid().unwrap(),
        };
        let vault_id = coffer_keys::VaultId::parse(&keyring.spec.vault_id).unwrap();
        let place = Place { vault_id, custodian_key: &custodian_key, connection: &here };
        let member = self.member.as_ref()?;
        let wrapped = member.status.as_ref().map(|status| status.wrapped_keys.as_slice()).unwrap_or_default();
        let checked = CheckedSignatures::default();
        let opened =
            open_as_brokered(&world.branches(), entry?, wrapped, &place, &envelope.spec, None, &checked)
                .ok()?;
        let value = if envelope.spec.version == 1 { "one" } else { "two" };
        let right = opened.len() == 1 && opened["token"].expose() == value.as_bytes();
        Some(Outcome::Opened { right, sealed_without: self.sealed_without })
    }
}

impl Watched {
    fn wants(&self, reading: &Reading) -> impl Iterator<Item = Kind> {
        let kinds: &[Kind] = match (&reading.outcome, &reading.looks) {
            (Some(_), _) => &[],
            (None, None) => &KINDS,
            (None, Some(_)) => &READ_AGAIN,
        };
        let taken = reading.taken.clone();
        kinds.iter().copied().filter(move |kind| !taken.contains(kind))
    }

    fn take(&self, from: &Reading, kind: Kind) -> Reading {
        let mut next = from.clone();
        next.copies.take(kind, self, &next.state);
        next.taken.push(kind);
        if self.wants(&next).next().is_none() {
            self.conclude(&mut next);
        }
        self.seen(next)
    }

    /// After a whole look.
    fn conclude(&self, reading: &mut Reading) {
        let versions = reading.copies.versions();
        let is_new = reading.looks.as_mut().is_none_or(|looks| looks.saw(versions.clone()));
        let opened = if is_new { reading.copies.open(self, &reading.state.world) } else { None };
        let looks = reading.looks.get_or_insert_with(|| Looks::after(versions.clone()));
        if opened.is_some() {
            reading.outcome = opened;
        } else if !looks.is_worth_another() {
            reading.outcome = Some(Outcome::DoesNotOpen);
        }
        reading.taken.clear();
        reading.before = versions;
        if reading.outcome.is_some() {
            reading.copies = Copies::default();
        }
    }

    /// With the view brought up to date.
    fn seen(&self, mut reading: Reading) -> Reading {
        let mut now = Copies::default();
        KINDS.into_iter().for_each(|kind| now.take(kind, self, &reading.state));
        let (versions, live) = (reading.copies.versions(), now.versions());
        let mut view = BTreeMap::new();
        if reading.outcome.is_none() {
            for kind in KINDS {
                let was_taken = reading.taken.contains(&kind);
                let is_as_before = (reading.looks.is_some() && was_taken)
                    .then(|| versions.get(&kind) == reading.before.get(&kind));
                // A Connection is what it says: it is not read again.
                let is_current = versions.get(&kind) == live.get(&kind);
                let is_there = was_taken || reading.looks.is_some();
                let said = if is_there { reading.copies.said(kind, self.who) } else { String::new() };
                view.insert(kind, Seen { said, is_current: is_there && is_current, is_as_before });
            }
        }
        reading.view = (reading.looks.as_ref().map_or(0, |looks| 1 + looks.taken()), view);
        reading
    }
}

impl Model for Watched {
    type State = Reading;
    type Action = Step;

    fn init_states(&self) -> Vec<Reading> {
        let state = State::first();
        let (copies, taken) = Default::default();
        let (looks, outcome) = (None, None);
        let reading = Reading {
            state,
            copies,
            taken,
            looks,
            before: Versions::new(),
            outcome,
            view: Default::default(),
        };
        vec![self.seen(reading)]
    }

    fn actions(&self, reading: &Reading, steps: &mut Vec<Step>) {
        // What comes after is the other checks' to look at.
        if reading.outcome.is_some() {
            return;
        }
        let mut actions = Vec::new();
        self.rotation.actions(&reading.state, &mut actions);
        steps.extend(actions.into_iter().map(Step::Goes));
        steps.extend(self.wants(reading).map(Step::Takes));
    }

    fn next_state(&self, reading: &Reading, step: Step) -> Option<Reading> {
        match step {
            Step::Goes(action) => {
                let state = self.rotation.next_state(&reading.state, action)?;
                Some(self.seen(Reading { state, ..reading.clone() }))
            }
            Step::Takes(kind) => Some(self.take(reading, kind)),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "who may open it all the time does, with whatever copies",
                |watched: &Watched, reading: &Reading| {
                    let failed = matches!(reading.outcome, Some(Outcome::DoesNotOpen | Outcome::Denied(_)));
                    !watched.stays || !failed
                },
            ),
            Property::always("what opens is what was set", |_, reading: &Reading| {
                !matches!(reading.outcome, Some(Outcome::Opened { right: false, .. }))
            }),
            Property::always(
                "who is out opens nothing that was sealed after that was recorded",
                |_, reading: &Reading| {
                    !matches!(reading.outcome, Some(Outcome::Opened { sealed_without: true, .. }))
                },
            ),
            Property::sometimes("copies did not fit together", |_, reading: &Reading| {
                reading.looks.is_some()
            }),
            Property::sometimes("it opened", |_, reading: &Reading| {
                matches!(reading.outcome, Some(Outcome::Opened { .. }))
            }),
        ]
    }
}
