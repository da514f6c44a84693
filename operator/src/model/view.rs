//! What two states are compared by.

use std::collections::BTreeSet;

use coffer_crds::{EnvelopeScope, SlotRecipient};
use kube::ResourceExt as _;

use super::{
    CONNECTIONS,
    state::{Decided, Sealed, State},
};
use crate::{cache::Key, connection, vault, world::World};

/// Taken out, or kept to `job`.
pub(super) fn scope(world: &mut World, name: &str) {
    world.edit_connection(name, "alice", |connection| {
        connection.spec.members = Some(vec![String::from("job")])
    });
}

pub(super) fn is_ready(connection: &coffer_crds::Connection) -> bool {
    let status = connection.status.clone().unwrap_or_default();
    status.observed_generation == connection.metadata.generation
        && status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(super) fn sealed(world: &World, name: &str) -> Sealed {
    let spec = world.envelope(name).spec.clone();
    let custodian = spec.slots.iter().find(|slot| slot.to == SlotRecipient::Custodian);
    Sealed {
        custodian: custodian.map(|slot| slot.wrap.kid.clone()).unwrap_or_default(),
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
pub(super) fn decided(world: &World, decided: &Decided) -> Vec<String> {
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
                    format!("keyring {epochs:?} {} {} {members:?}", spec.current, spec.root_generation)
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
                    let custodian = &spec.slots[0].wrap.kid;
                    let slots = spec.slots.len();
                    format!("{} {} {:?} {slots} {custodian}", spec.epoch, spec.version, spec.members)
                }
                OfConnection::Status(status) => format!("{:?} {:?}", status.phase, status.key_epoch),
            };
            said.push(format!("{name} {what} {}", world.fits_connection(name, write)));
        }
    }
    said
}

/// Whether the protocol depends on when a write is made.
pub(super) fn is_of_protocol(write: &vault::plan::Write) -> bool {
    use vault::plan::Write;
    matches!(write, Write::CreateKeyring(_) | Write::ReplaceKeyring(_) | Write::MemberStatus(_))
}

/// Who is out: removed from the register, or named as the cause of an epoch and not in force.
pub(super) fn outsiders(state: &State) -> BTreeSet<String> {
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
