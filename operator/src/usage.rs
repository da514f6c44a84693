//! What still needs a generation of the custodian root: Keyrings that it wraps, Envelopes whose custodian's slot is under
//! it, and Connections whose `sealedData` is sealed to an intake key of it. Each object is found by the generations that it
//! names, which it is asked for once, when a cache takes it in.

use std::{collections::BTreeSet, fmt::Display};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{Connection, Envelope, Keyring, KeyringSpec, SlotRecipient};
use coffer_envelope::Custodian;
use coffer_keys::{Kid, intake::sealed_to};

use crate::{cache::Key, caches::Caches, meters::Meters};

/// Kinds that need a root, as the metric names them and in the order in which they are counted.
pub const KINDS: [&str; 3] = ["Keyring", "Envelope", "Connection"];

/// Term of what needs this generation.
fn term(root: impl Display) -> String {
    format!("root:{root}")
}

/// Terms of a Keyring.
pub fn of_keyring(keyring: &Keyring) -> Vec<String> {
    vec![term(keyring.spec.root_generation)]
}

/// Terms of an Envelope.
pub fn of_envelope(envelope: &Envelope) -> Vec<String> {
    let slots = envelope.spec.slots.iter().filter(|slot| slot.to == SlotRecipient::Custodian);
    let kids = slots.filter_map(|slot| Kid::parse(&slot.wrap.kid).ok());
    kids.filter_map(|kid| if let Kid::Custodian(root) = kid { Some(term(root)) } else { None }).collect()
}

/// Terms of a Connection: one for each root that something in it is sealed to. What is no sealed input needs none.
pub fn of_connection(connection: &Connection) -> Vec<String> {
    let sealed = connection.spec.sealed_data.values().filter_map(|text| STANDARD.decode(text).ok());
    let kids = sealed.filter_map(|bytes| sealed_to(&bytes).ok());
    let roots = kids.filter_map(|kid| if let Kid::Intake { root, .. } = kid { Some(root) } else { None });
    roots.collect::<BTreeSet<u64>>().into_iter().map(term).collect()
}

/// How many Connections of a vault need an older root than the one that its Keyring is wrapped under: they, or the
/// Envelopes beside them, are sealed to it.
pub fn on_older_roots(caches: &Caches, vault: &Key, keyring: &KeyringSpec) -> usize {
    let known = keyring.intake_generations.iter().map(|intake| intake.root);
    let older: BTreeSet<i64> = known.filter(|root| *root < keyring.root_generation).collect();
    if older.is_empty() {
        return 0;
    }
    let mut needing = BTreeSet::new();
    for term in older.into_iter().map(term) {
        needing.extend(caches.connections.keys_having(&term));
        needing.extend(caches.envelopes.keys_having(&term));
    }
    if needing.is_empty() {
        return 0;
    }
    caches.connections_of(vault).intersection(&needing).count()
}

/// Counts, for every generation that is held, what needs it, wherever it is.
pub fn count(caches: &Caches, custodian: &Custodian, meters: &Meters) {
    let counted = custodian.root_generations().map(|root| {
        let term = term(root);
        let counts = [
            caches.keyrings.count_having(&term),
            caches.envelopes.count_having(&term),
            caches.connections.count_having(&term),
        ];
        (root, counts)
    });
    meters.roots_needed(&counted.collect());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

    use coffer_runtime::Metrics;

    use super::*;
    use crate::{installation::custody::Custody, world::World};

    fn counted(world: &World) -> Vec<String> {
        let metrics = Metrics::new();
        let meters = Meters::new(&metrics);
        let Custody::Open(opened) = &world.custody else { panic!("no custodian") };
        // A generation that was held before and is not any more leaves nothing behind.
        meters.roots_needed(&[(9, [1, 1, 1])].into());
        count(&world.caches, &opened.custodian, &meters);
        let text = metrics.encode().unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("coffer_operator_root_needed_by{"));
        let mut lines: Vec<String> = lines.map(String::from).collect();
        lines.sort();
        lines
    }

    #[test]
    fn each_generation_that_is_held_is_counted_by_what_needs_it() {
        let mut world = World::with_vault();
        world.add_connection("github", None, &[("token", "1"), ("user", "2")], "alice");
        world.settle();
        let one = |root: u64, counts: [usize; 3]| -> Vec<String> {
            let mut lines: Vec<String> = KINDS
                .iter()
                .zip(counts)
                .map(|(kind, count)| format!("generation=\"{root}\",kind=\"{kind}\"}} {count}"))
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(counted(&world), one(1, [1, 1, 1]));
        world.grow_root(2);
        world.settle();
        assert_eq!(counted(&world), [one(1, [0, 0, 1]), one(2, [1, 1, 0])].concat());
        world.lose_root(1);
        assert_eq!(counted(&world), one(2, [1, 1, 0]));
    }

    #[test]
    fn what_is_no_sealed_input_needs_no_root() {
        let mut world = World::with_vault();
        world.add_connection("github", None, &[("token", "1")], "alice");
        world.edit_connection("github", "alice", |connection| {
            connection.spec.sealed_data.insert(String::from("odd"), String::from("c2VhbGVk"));
            connection.spec.sealed_data.insert(String::from("no base64"), String::from("?"));
        });
        assert_eq!(of_connection(&world.connection("github")), ["root:1"]);
    }
}
