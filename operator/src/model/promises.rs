//! What is promised of every state.

use coffer_crds::MemberPhase;
use coffer_envelope::{OpenKeyring, scope_contains};
use kube::ResourceExt as _;

use super::{
    CONNECTIONS, Deed,
    state::{Sealed, State},
};

pub(super) fn everybody_opens(state: &State, name: &str, sealed: &Sealed) -> bool {
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

pub(super) fn shuts_out(state: &State) -> bool {
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
pub(super) fn named(state: &State) -> bool {
    let done = |deed| state.view.done.contains(&deed);
    let everybody = &state.view.envelopes[CONNECTIONS[0]];
    let removed =
        !done(Deed::Remove) || everybody.version > 1 || everybody.advised.contains(&String::from("web"));
    let listed = &state.view.envelopes[CONNECTIONS[1]];
    let narrowed =
        !(done(Deed::Remove) || done(Deed::Narrow)) || listed.advised.contains(&String::from("web"));
    removed && narrowed
}

pub(super) fn values_are_there(state: &State) -> bool {
    let set = state.view.done.contains(&Deed::Set);
    let wanted = [if set { "two" } else { "one" }, "one"];
    CONNECTIONS.iter().zip(wanted).all(|(name, value)| {
        state.view.ready[*name] && state.world.values(name) == [(String::from("token"), String::from(value))]
    })
}

pub(super) fn is_settled(state: &State) -> bool {
    let keys: OpenKeyring = state.world.keys();
    let newest = state.view.roots.0;
    let under_it =
        state.view.envelopes.values().all(|sealed| sealed.custodian == format!("custodian/{newest}"));
    let one = keys.oldest() == keys.newest() && keys.oldest() == keys.current();
    let sealed = state.view.envelopes.values().all(|sealed| sealed.epoch == keys.current());
    let confined = |name: &str| keys.member(name).is_some_and(|entry| entry.role == "narrow");
    let held = state.view.members.iter().all(|(name, (phase, epochs))| match phase.as_deref() {
        Some("Active") if !confined(name) => *epochs == [keys.current()],
        _ => epochs.is_empty(),
    });
    one && sealed && held && keys.root_generation() == newest && under_it
}
