//! The custodian root is turned over: every vault's keys go to the newest, and old sealed input opens as long as its root is
//! held. Issue 6 §1, C25.

use super::*;

/// A vault with two Connections, one for everybody and one for a list.
fn world() -> World {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    world.add_connection("everybody", None, &[("token", "1")], "alice");
    world.add_connection("listed", Some(&["web"]), &[("token", "2")], "alice");
    world.settle();
    world
}

fn step(world: &mut World) {
    for write in world.plan_vault().writes {
        world.apply_vault(write);
    }
}

fn custodian(world: &World, name: &str) -> String {
    world.envelope(name).spec.slots[0].wrap.kid.clone()
}

fn needing(world: &World) -> Option<i64> {
    world.vault().status.clone().unwrap().sealed_to_older_roots
}

fn value(text: &str) -> Vec<(String, String)> {
    vec![(String::from("token"), String::from(text))]
}

#[test]
fn a_new_root_turns_a_vaults_keys_over_from_the_first_write_to_the_last() {
    let mut world = world();
    let (before, key) = (world.keyring().spec.clone(), world.vault().status.clone().unwrap().custodian_key);
    world.grow_root(2);

    let plan = world.plan_vault();
    assert_eq!(kinds(&plan.writes)[0], "replace keyring");
    let Write::ReplaceKeyring(keyring) = &plan.writes[0] else { panic!("a Keyring") };
    assert_eq!((keyring.spec.root_generation, keyring.spec.current), (2, 1), "in the write that begins");
    assert!(keyring.spec.epochs.iter().all(|epoch| epoch.wrapped.kid == "custodian/2"));
    let roots: Vec<_> = keyring.spec.intake_generations.iter().map(|it| (it.root, it.generation)).collect();
    assert_eq!(roots, [(1, 1), (2, 2)]);
    let cause = &keyring.spec.epochs[1].causes[0];
    assert_eq!((cause.reason.as_str(), &cause.member), ("RootGeneration", &None));
    step(&mut world);
    let status = world.vault().status.clone().unwrap();
    assert_eq!(condition(&status.conditions, "Rotating").reason, "RootGeneration");
    assert_eq!(status.intake_key.unwrap().kid, "intake/2/2");
    assert_eq!(status.custodian_key, key, "what clients pinned");

    // While the epoch waits nothing is written for a custodian's slot of before, and everything opens.
    for (name, held) in [("everybody", "1"), ("listed", "2")] {
        assert!(world.plan_connection(name).writes.is_empty(), "{name}");
        assert_eq!((world.values(name), custodian(&world, name)), (value(held), String::from("custodian/1")));
    }
    step(&mut world);
    assert_eq!((world.keys().current(), needing(&world)), (2, Some(2)));
    for write in world.plan_connection("listed").writes {
        world.apply_connection("listed", write);
    }
    assert_eq!(custodian(&world, "listed"), "custodian/2");
    world.settle();
    let keyring = world.keyring();
    assert_eq!((keyring.spec.epochs.len(), keyring.spec.current, keyring.spec.root_generation), (1, 2, 2));
    for (name, held) in [("everybody", "1"), ("listed", "2")] {
        assert_eq!((world.values(name), custodian(&world, name)), (value(held), String::from("custodian/2")));
        let spec = world.envelope(name).spec.clone();
        assert_eq!(
            (spec.epoch, spec.version, spec.advised),
            (2, 1, Vec::new()),
            "{name}: nobody lost access"
        );
    }
    assert_ne!(keyring.spec.signing_key, before.signing_key);
    assert_eq!(world.settle(), 0, "once");
}

/// A crash after any write leaves a state from which the same end is reached, under one root and one epoch more.
#[test]
fn a_turn_over_of_the_root_that_is_interrupted_after_any_write_ends_the_same() {
    for interrupted_after in 0..5 {
        let mut world = world();
        world.grow_root(2);
        for write in world.plan_vault().writes.into_iter().take(interrupted_after) {
            world.apply_vault(write);
        }
        world.settle();
        let keys = world.keys();
        assert_eq!((keys.root_generation(), keys.oldest(), keys.newest()), (2, 2, 2), "{interrupted_after}");
        assert_eq!(world.keyring().spec.intake_generations.len(), 2, "{interrupted_after}");
    }
}

/// Whoever asked for it may have lost the older one: it does not wait for the end of another turn-over.
#[test]
fn a_new_root_joins_a_turn_over_that_is_under_way() {
    let mut world = world();
    world.delete_member("web");
    step(&mut world);
    assert_eq!(world.keys().newest(), 2);
    world.grow_root(2);
    step(&mut world);
    let keyring = world.keyring();
    assert_eq!((keyring.spec.root_generation, keyring.spec.current), (2, 1));
    let reasons: Vec<_> = keyring.spec.epochs[1].causes.iter().map(|cause| cause.reason.as_str()).collect();
    assert_eq!(reasons, ["MemberRemoved", "RootGeneration"]);
    world.settle();
    assert_eq!((world.keys().oldest(), world.keys().root_generation()), (3, 2));
    assert_eq!(world.envelope("everybody").spec.advised[0].member, "web");
}

/// C25: a manifest in Git is applied years later.
#[test]
fn input_sealed_to_an_older_root_is_applied_counted_and_sealed_again_without_a_new_version() {
    let mut world = world();
    let kept = world.seal("github", "alice", "token", "from Git");
    world.grow_root(2);
    world.settle();
    assert_eq!(needing(&world), Some(2), "both were sealed before");
    world.add_connection("github", None, &[("token", "another")], "alice");
    world.settle();
    assert_eq!(needing(&world), Some(2), "the new one was not");
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), kept.clone());
    });
    world.settle();
    assert_eq!(world.values("github"), value("from Git"));
    assert_eq!((needing(&world), world.envelope("github").spec.version), (Some(3), 2));

    for (name, held) in [("github", "from Git"), ("everybody", "1"), ("listed", "2")] {
        let before = world.envelope(name).spec.clone();
        let again = world.seal(name, "alice", "token", held);
        world.edit_connection(name, "alice", |connection| {
            connection.spec.sealed_data.insert(String::from("token"), again);
        });
        world.settle();
        let after = world.envelope(name).spec.clone();
        assert_eq!((after.version, &after.commitment), (before.version, &before.commitment), "{name}");
        assert_eq!(world.values(name), value(held));
    }
    assert_eq!(needing(&world), None);
}

/// The guide's last step, and what it says about what was forgotten.
#[test]
fn without_an_older_root_all_goes_on_but_what_needs_it_which_says_so() {
    let mut world = world();
    let kept = world.seal("github", "alice", "token", "from Git");
    world.grow_root(2);
    world.settle();
    world.lose_root(1);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.values("everybody"), value("1"));
    world.add_connection("github", None, &[("token", "another")], "alice");
    world.settle();
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), kept);
    });
    world.settle();
    let status = world.connection("github").status.clone().unwrap();
    let ready = condition(&status.conditions, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "SealedDataUnreadable"));
    assert!(ready.message.contains("spec.sealedData[token]"), "{}", ready.message);
    assert!(ready.message.contains("custodian root generation 1"), "{}", ready.message);
    assert_eq!(world.values("github"), value("another"), "the last good values stay");
}

#[test]
fn a_keyring_whose_root_is_gone_is_left_alone_and_says_which_it_is() {
    let mut world = world();
    let before = world.keyring();
    world.grow_root(2);
    world.lose_root(1);
    world.settle();
    let status = world.vault().status.clone().unwrap();
    assert_eq!(ready_of_vault(&status), ("False", "KeyringInvalid"));
    let message = &condition(&status.conditions, "Ready").message;
    assert!(message.contains("custodian root generation 1"), "{message}");
    assert_eq!(world.keyring().spec, before.spec);
}

/// No turn-over waits for what cannot be released. It needs its root from then on, which is counted, and comes right with it.
#[test]
fn an_envelope_that_stayed_behind_its_invalid_connection_says_which_root_it_needs() {
    let mut world = world();
    let reason = |world: &World| {
        let status = world.connection("listed").status.clone().unwrap();
        let ready = condition(&status.conditions, "Ready");
        (ready.reason.clone(), ready.message.clone())
    };
    world.edit_connection("listed", "alice", |it| it.spec.alias = Some(String::from("everybody")));
    world.settle();
    assert_eq!(reason(&world).0, "Duplicate");
    world.grow_root(2);
    world.settle();
    assert_eq!(
        (custodian(&world, "everybody").as_str(), custodian(&world, "listed").as_str()),
        ("custodian/2", "custodian/1")
    );
    assert_eq!(world.keyring().spec.epochs.len(), 1, "the turn-over has ended");
    for name in ["everybody", "listed"] {
        let again = world.seal(name, "alice", "token", if name == "listed" { "2" } else { "1" });
        world.edit_connection(name, "alice", |it| {
            it.spec.sealed_data.insert(String::from("token"), again);
        });
    }
    world.settle();
    assert_eq!(needing(&world), Some(1));

    let both = world.custody.clone();
    world.lose_root(1);
    world.edit_connection("listed", "alice", |it| it.spec.alias = None);
    world.settle();
    let (why, message) = reason(&world);
    assert_eq!(why, "EnvelopeInvalid");
    assert!(message.contains("custodian root generation 1"), "{message}");
    world.custody = both;
    world.keyrings.forget();
    world.settle();
    assert_eq!(
        (reason(&world).0.as_str(), custodian(&world, "listed").as_str()),
        ("Available", "custodian/2")
    );
    assert_eq!((world.values("listed"), needing(&world)), (value("2"), None));
}
