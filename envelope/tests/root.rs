//! The custodian root is turned over: a Keyring goes to the newest, and what was sealed before opens as long as its root
//! is held. Issue 6 §1, C25, T40.
#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails its test")]

mod story;

use coffer_crds::EnvelopeSpec;
use coffer_envelope::custody::{open_custodian, seal_new_root, seal_secrets};
use coffer_envelope::{Change, Custodian, EnvelopeError, KeyringError};
use coffer_keys::Kid;
use coffer_keys::acceptance::{Acceptance, ProofError, decode_challenge};
use coffer_keys::hierarchy::SubjectRef;
use coffer_keys::intake::{InputContext, sealed_to};
use story::{Drbg, Scope, Vault, data, now, values};

/// The custodian with another root, or without one that it has, as if its Secret had been changed so.
fn changed(vault: &Vault, add: Option<u64>, without: Option<u64>) -> Custodian {
    let rng = &mut Drbg::new("changed custody");
    let mut sealed = seal_secrets(&vault.custodian, &vault.root, rng).unwrap();
    if let Some(generation) = add {
        sealed.custodian.extend([seal_new_root(generation, &vault.root, rng).unwrap()]);
    }
    if let Some(generation) = without {
        assert!(sealed.custodian.remove(&format!("generation-{generation}")).is_some());
    }
    open_custodian(&vault.root, data(&sealed.custodian), data(&sealed.brokered)).unwrap()
}

/// Gives the custodian root 2, without anything being wrapped under it yet.
fn grow(vault: &mut Vault) {
    vault.custodian = changed(vault, Some(2), None);
    vault.keyring = vault.custodian.open_keyring(&vault.keyring.to_spec()).unwrap();
}

/// Takes a root out for good.
fn lose(vault: &mut Vault, generation: u64) {
    vault.custodian = changed(vault, None, Some(generation));
}

fn reads(vault: &Vault, spec: &EnvelopeSpec) -> Result<(), EnvelopeError> {
    let items = vault.keyring.open_envelope("team-a", "github", spec)?.items()?;
    assert_eq!(items.len(), values("github").len());
    Ok(())
}

fn github(vault: &Vault) -> InputContext<'static> {
    let vault_id = vault.keyring.vault_id();
    InputContext { vault_id, namespace: "team-a", connection: "github", owner: "alice", item: "token" }
}

#[test]
fn a_keyring_goes_to_the_newest_root_with_the_same_keys_inside() {
    let mut vault = Vault::new("root");
    let envelope = vault.seal("github", Scope::All, &["ci"]);
    let (key, intake) = (vault.keyring.custodian_key(), vault.keyring.intake_key().unwrap());
    assert!(!vault.keyring.is_behind_root());
    grow(&mut vault);
    assert!(vault.keyring.is_behind_root() && !vault.keyring.changed());
    assert_eq!(vault.keyring.root_generation(), 1);

    vault.keyring.rewrap(&mut Drbg::new("rewrap"));
    assert!(!vault.keyring.is_behind_root());
    let spec = vault.keyring.to_spec();
    let said: Vec<_> = spec.intake_generations.iter().map(|it| (it.root, it.generation)).collect();
    assert_eq!((spec.root_generation, said), (2, vec![(1, 1), (2, 2)]));
    assert!(spec.epochs.iter().all(|epoch| epoch.wrapped.kid == "custodian/2"));
    assert_eq!(spec.signing_key.kid, "custodian/2");
    vault.keyring = vault.custodian.open_keyring(&spec).unwrap();
    assert_eq!(vault.keyring.custodian_key(), key, "what clients pinned is the same");
    let now = vault.keyring.intake_key().unwrap();
    assert_eq!((intake.kid.as_str(), now.kid.as_str()), ("intake/1/1", "intake/2/2"));
    let id = vault.keyring.vault_id();
    assert!(coffer_envelope::intake_public_key(&id, vault.keyring.public_key(), &now).is_ok());
    assert_eq!(reads(&vault, &envelope), Ok(()), "through the slot of before");
    vault.keyring.rewrap(&mut Drbg::new("again"));
    assert!(!vault.keyring.changed(), "there is no way on from the newest");
}

#[test]
fn without_its_root_a_keyring_says_which_and_afterwards_it_needs_the_old_one_no_more() {
    let mut vault = Vault::new("without");
    let old = vault.seal("github", Scope::Listed(&["alice", "web"]), &["alice", "web"]);
    grow(&mut vault);
    let before = vault.keyring.to_spec();
    vault.keyring.rewrap(&mut Drbg::new("rewrap"));
    let access = vault.access(Scope::Listed(&["alice", "web"]), &["alice", "web"]);
    let open = vault.keyring.open_envelope("team-a", "github", &old).unwrap();
    let new = open.reseal(&access, &[], &mut Drbg::new("reseal")).unwrap();
    assert_eq!(new.slots[0].wrap.kid, "custodian/2");

    lose(&mut vault, 1);
    let refused = vault.custodian.open_keyring(&before).err().unwrap();
    assert!(refused.to_string().contains("custodian root generation 1"), "{refused}");
    vault.keyring = vault.custodian.open_keyring(&vault.keyring.to_spec()).unwrap();
    assert_eq!(reads(&vault, &new), Ok(()));
    assert_eq!(reads(&vault, &old), Err(EnvelopeError::UnknownRoot(1)));
}

/// C25: what lies in Git keeps opening, and what is sealed from now on is to the newest root.
#[test]
fn sealed_input_opens_as_long_as_its_root_is_held() {
    let mut vault = Vault::new("input");
    let old = vault.input("github", "alice", "token", b"s3cr3t");
    grow(&mut vault);
    vault.keyring.rewrap(&mut Drbg::new("rewrap"));
    let new = vault.input("github", "alice", "token", b"s3cr3t");
    let named = |bytes: &[u8]| sealed_to(bytes).unwrap();
    assert_eq!(named(&old), Kid::Intake { root: 1, generation: 1 });
    assert_eq!(named(&new), Kid::Intake { root: 2, generation: 2 });
    for bytes in [&old, &new] {
        assert_eq!(vault.keyring.open_sealed(&github(&vault), bytes).unwrap().expose(), b"s3cr3t");
    }
    lose(&mut vault, 1);
    vault.keyring = vault.custodian.open_keyring(&vault.keyring.to_spec()).unwrap();
    assert_eq!(vault.keyring.open_sealed(&github(&vault), &new).unwrap().expose(), b"s3cr3t");
    let gone = KeyringError::UnknownGeneration { branch: "custodian root", generation: 1 };
    assert_eq!(vault.keyring.open_sealed(&github(&vault), &old).err(), Some(gone));
}

/// Who has the root of before, and all of etcd from before and after, opens nothing that was sealed since.
#[test]
fn a_root_that_was_stolen_opens_what_was_before_and_nothing_since() {
    let mut vault = Vault::new("thief");
    let old = vault.seal("github", Scope::All, &[]);
    let before = vault.keyring.to_spec();
    // The thief's copy.
    let stolen = changed(&vault, None, None);
    grow(&mut vault);
    vault.keyring.rewrap(&mut Drbg::new("rewrap"));
    vault.turn_over();
    let access = vault.access(Scope::All, &[]);
    let open = vault.keyring.open_envelope("team-a", "github", &old).unwrap();
    let new = open.reseal(&access, &[], &mut Drbg::new("reseal")).unwrap();

    let thief = stolen.open_keyring(&before).unwrap();
    assert!(thief.open_envelope("team-a", "github", &old).unwrap().items().is_ok());
    assert_eq!(thief.open_envelope("team-a", "github", &new).err(), Some(EnvelopeError::UnknownRoot(2)));
    let mut after = vault.keyring.to_spec();
    let refused = stolen.open_keyring(&after).err();
    assert_eq!(refused, Some(KeyringError::UnknownGeneration { branch: "custodian root", generation: 2 }));
    after.root_generation = 1;
    assert!(stolen.open_keyring(&after).is_err());
    assert!(vault.custodian.open_keyring(&after).is_err(), "nor is it taken back");
    let input = vault.input("github", "alice", "token", b"s3cr3t");
    assert!(thief.open_sealed(&github(&vault), &input).is_err());
}

/// The epoch that goes with a new root brings every Envelope under it: until it is current, nothing is written for that.
#[test]
fn a_custodians_slot_of_before_is_left_alone_while_an_epoch_waits_and_goes_with_it() {
    let mut vault = Vault::new("slots");
    let (scope, slots) = (Scope::Listed(&["alice", "web"]), ["alice", "web"]);
    let old = vault.seal("github", scope, &slots);
    grow(&mut vault);
    vault.keyring.rewrap(&mut Drbg::new("rewrap"));
    let change = |vault: &Vault, spec: &EnvelopeSpec| {
        vault.keyring.open_envelope("team-a", "github", spec).unwrap().change(&vault.access(scope, &slots))
    };
    assert_eq!(change(&vault, &old), Ok(Change::Reslot), "no epoch waits");
    let epoch = vault.keyring.add_epoch([], now(), &mut Drbg::new("epoch"));
    assert_eq!(change(&vault, &old), Ok(Change::None));
    // Somebody gains access meanwhile.
    let wider = vault.access(Scope::Listed(&["alice", "intern", "web"]), &["alice", "intern", "web"]);
    let open = vault.keyring.open_envelope("team-a", "github", &old).unwrap();
    let shared = open.reslot(&wider, &mut Drbg::new("reslot")).unwrap();
    assert_eq!((shared.slots[0].wrap.kid.as_str(), &shared.items), ("custodian/2", &old.items));
    assert_eq!(reads(&vault, &shared), Ok(()));
    vault.keyring.set_current(epoch).unwrap();
    assert_eq!(change(&vault, &old), Ok(Change::Reseal));
}

/// §3: nobody is asked twice because the root was turned over in between.
#[test]
fn a_challenge_of_before_is_answered_as_long_as_its_root_is_held() {
    let mut vault = Vault::new("challenge");
    let key = vault.secrets.remove("carol").unwrap().key;
    let acceptance = Acceptance {
        vault_id: vault.keyring.vault_id(),
        namespace: "team-a",
        name: "carol",
        uid: "u",
        subject: SubjectRef::User("carol"),
        public_key: key.public(),
    };
    let challenge = vault.keyring.challenge(&acceptance, &mut Drbg::new("asked")).unwrap();
    let proof = acceptance.answer(&key, &decode_challenge(&challenge).unwrap()).unwrap();
    grow(&mut vault);
    vault.keyring.rewrap(&mut Drbg::new("rewrap"));
    assert_eq!(vault.keyring.check_proof(&acceptance, &proof), Ok(()));
    let another = Acceptance { uid: "v", ..acceptance };
    assert_eq!(vault.keyring.check_proof(&another, &proof), Err(ProofError::DoesNotHold));
    lose(&mut vault, 1);
    vault.keyring = vault.custodian.open_keyring(&vault.keyring.to_spec()).unwrap();
    assert_eq!(vault.keyring.check_proof(&acceptance, &proof), Err(ProofError::DoesNotHold));
}

/// The schema allows 64 intake generations; those of roots that are gone make room first.
#[test]
fn intake_generations_stay_within_their_schema_and_what_still_opens_stays_listed() {
    let mut vault = Vault::new("many");
    let old = vault.input("github", "alice", "token", b"s3cr3t");
    for root in 2..=80 {
        // Root 1 is kept, and the last two.
        vault.custodian = changed(&vault, Some(root), Some(root - 2).filter(|gone| *gone > 1));
        vault.keyring = vault.custodian.open_keyring(&vault.keyring.to_spec()).unwrap();
        vault.keyring.rewrap(&mut Drbg::new("rewrap"));
    }
    let listed = vault.keyring.to_spec().intake_generations;
    assert_eq!(listed.len(), 64);
    assert_eq!(listed.last().map(|newest| (newest.root, newest.generation)), Some((80, 80)));
    assert_eq!(vault.keyring.open_sealed(&github(&vault), &old).unwrap().expose(), b"s3cr3t");
}
