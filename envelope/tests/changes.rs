//! What the operator makes of an Envelope when scope, recipients, owner, values or epoch change. C13, C33.
#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails its test")]

mod story;

use coffer_crds::{EnvelopeMember, EnvelopeSpec, SlotRecipient};
use coffer_envelope::{Access, Change, EnvelopeError, NewVersion, SealError, listed_scope, open_as_brokered};
use coffer_keys::OpenError;
use coffer_keys::signature::CheckedSignatures;
use story::{Drbg, EVERYBODY, Scope, Vault, connection, now, uid};

fn can_open(vault: &Vault, name: &str, spec: &EnvelopeSpec) -> Result<(), EnvelopeError> {
    let at = connection("github");
    let place = vault.place(&at, vault.keyring.public_key());
    let wrapped = vault.wrapped.get(name).cloned().unwrap_or_default();
    open_as_brokered(
        vault.custodian.branches(),
        vault.keyring.member(name).unwrap(),
        &wrapped,
        &place,
        spec,
        None,
        &CheckedSignatures::default(),
    )
    .map(|items| assert_eq!(items.len(), 2))
}

fn slots(spec: &EnvelopeSpec) -> Vec<String> {
    spec.slots
        .iter()
        .map(|slot| match slot.to {
            SlotRecipient::Custodian => "custodian".into(),
            SlotRecipient::Vault => "vault".into(),
            SlotRecipient::Member => slot.name.clone().unwrap(),
        })
        .collect()
}

fn rng() -> Drbg {
    Drbg::new("changes")
}

#[test]
fn slots_are_made_for_the_custodian_and_the_recipients_and_the_vault_key_only_with_a_star() {
    let mut vault = Vault::new("slots");
    assert_eq!(slots(&vault.seal("github", Scope::All, &[])), ["custodian", "vault"]);
    assert_eq!(
        slots(&vault.seal("github", Scope::All, &["ci", "carol"])),
        ["custodian", "vault", "carol", "ci"]
    );
    let listed = vault.seal("github", Scope::Listed(&["web", "alice", "ci"]), &["web", "alice"]);
    assert_eq!(slots(&listed), ["custodian", "alice", "web"]);
    assert_eq!(can_open(&vault, "web", &listed), Ok(()));
    assert_eq!(can_open(&vault, "ci", &listed), Err(EnvelopeError::NoSlot), "listed, but given no slot");
    assert_eq!(can_open(&vault, "intern", &listed), Err(EnvelopeError::OutsideScope));
}

/// C13: sharing with one more adds a slot and leaves the items byte for byte.
#[test]
fn adding_to_the_scope_keeps_the_items_and_removing_makes_a_new_data_key() {
    let mut vault = Vault::new("scopes");
    let one = vault.seal("github", Scope::Listed(&["alice", "web"]), &["alice", "web"]);
    let open = vault.keyring.open_envelope("team-a", "github", &one).unwrap();

    let more = vault.access(Scope::Listed(&["alice", "intern", "web"]), &["alice", "intern", "web"]);
    assert_eq!(open.change(&more), Ok(Change::Reslot));
    let two = open.reslot(&more, &mut rng()).unwrap();
    assert_eq!((&two.items, &two.commitment), (&one.items, &one.commitment));
    assert_eq!((two.version, two.revision), (one.version, one.revision + 1));
    assert_eq!(can_open(&vault, "intern", &two), Ok(()));

    let open = vault.keyring.open_envelope("team-a", "github", &two).unwrap();
    assert_eq!(open.change(&more), Ok(Change::None));
    let fewer = vault.access(Scope::Listed(&["alice", "web"]), &["alice", "web"]);
    assert_eq!(open.change(&fewer), Ok(Change::Reseal));
    assert_eq!(open.reslot(&fewer, &mut rng()).err(), Some(SealError::NeedsNewKey));
    let three = open.reseal(&fewer, &[], &mut rng()).unwrap();
    assert_ne!(three.commitment, two.commitment);
    assert!(three.items.iter().all(|(name, item)| item.ct != two.items[name].ct));
    assert!(three.items.iter().all(|(name, item)| item.sealed_sha256 == two.items[name].sealed_sha256));
    assert_eq!((three.version, three.revision), (two.version, two.revision + 1));
    assert_eq!(can_open(&vault, "intern", &three), Err(EnvelopeError::OutsideScope));
    assert_eq!(can_open(&vault, "web", &three), Ok(()));

    // The slot of before, put back by someone who can write but not sign.
    let mut forged = three.clone();
    forged.slots.extend(two.slots.iter().filter(|slot| slot.name.as_deref() == Some("intern")).cloned());
    forged.members = two.members.clone();
    forged.members_digest = two.members_digest.clone();
    assert_eq!(can_open(&vault, "intern", &forged), Err(EnvelopeError::Open(OpenError)));
}

#[test]
fn opening_a_listed_scope_to_everybody_keeps_the_items_and_closing_it_does_not() {
    let mut vault = Vault::new("to all");
    let listed = vault.seal("github", Scope::Listed(&["alice", "ci", "web"]), &["alice", "ci", "web"]);
    let open = vault.keyring.open_envelope("team-a", "github", &listed).unwrap();
    let all = vault.access(Scope::All, &["ci"]);
    assert_eq!(open.change(&all), Ok(Change::Reslot));
    let opened_up = open.reslot(&all, &mut rng()).unwrap();
    assert_eq!(opened_up.items, listed.items);
    assert_eq!(slots(&opened_up), ["custodian", "vault", "ci"]);
    for name in ["ci", "intern", "web"] {
        assert_eq!(can_open(&vault, name, &opened_up), Ok(()), "{name}");
    }
    let open = vault.keyring.open_envelope("team-a", "github", &opened_up).unwrap();
    assert_eq!(open.change(&all), Ok(Change::None));
    let closed = vault.access(Scope::Listed(&EVERYBODY), &EVERYBODY);
    assert_eq!(open.change(&closed), Ok(Change::Reseal), "those who join later lose it");
    let without_ci = vault.access(Scope::All, &[]);
    assert_eq!(open.change(&without_ci), Ok(Change::Reseal));
}

/// §4: a name whose recorded uid differs gains nothing until it is delisted and listed again.
#[test]
fn a_listed_name_gains_its_uid_once_and_another_uid_is_another_member() {
    let mut vault = Vault::new("uids");
    let alice = EnvelopeMember { name: "alice".into(), uid: uid("alice") };
    let web = |uid: String| EnvelopeMember { name: "web".into(), uid };
    let scope = |web| listed_scope([alice.clone(), web]).unwrap();
    let before = {
        let mut rng = rng();
        let mut access = vault.access(Scope::Listed(&["alice"]), &["alice"]);
        access.scope = scope(web(String::new()));
        let first = vault_seal(&vault, access, &mut rng);
        assert_eq!(can_open(&vault, "web", &first), Err(EnvelopeError::OutsideScope));
        first
    };
    let open = vault.keyring.open_envelope("team-a", "github", &before).unwrap();
    let active = vault.access(Scope::Listed(&["alice", "web"]), &["alice", "web"]);
    assert_eq!(open.change(&active), Ok(Change::Reslot));
    let after = open.reslot(&active, &mut rng()).unwrap();
    assert_eq!(after.items, before.items);
    assert_eq!(can_open(&vault, "web", &after), Ok(()));

    let mut again = vault.keyring.member("web").unwrap().clone();
    again.uid = uid("web made again");
    vault.keyring.register(again).unwrap();
    assert_eq!(can_open(&vault, "web", &after), Err(EnvelopeError::OutsideScope));
    let open = vault.keyring.open_envelope("team-a", "github", &after).unwrap();
    let mut access = vault.access(Scope::Listed(&["alice"]), &["alice", "web"]);
    access.scope = after.members.clone();
    assert_eq!(open.reslot(&access, &mut rng()).err(), Some(SealError::RecipientOutsideScope("web".into())));
    access.scope = scope(web(uid("web made again")));
    assert_eq!(open.change(&access), Ok(Change::Reseal));
}

fn vault_seal(vault: &Vault, access: Access<'_>, rng: &mut Drbg) -> EnvelopeSpec {
    let new = coffer_envelope::NewEnvelope {
        connection: connection("github"),
        version: 1,
        created_by: "alice".into(),
        writer: story::author(),
        now: now(),
        access,
        items: Vault::items("github"),
    };
    vault.keyring.seal_envelope(new, rng).unwrap()
}

/// C7: whoever could read a value, came back, did read it and went again, is named for that.
#[test]
fn a_member_that_did_read_after_all_is_named_for_it_and_stays_so() {
    let mut vault = Vault::new("raised");
    let old = vault.seal("github", Scope::All, &["ci"]);
    let access = vault.access(Scope::All, &["ci"]);
    let advised = |reason: &str| coffer_crds::Advised {
        member: "intern".into(),
        reason: reason.into(),
        at: now().into(),
    };
    let mut spec = old;
    for (now, expected) in [
        ("MemberCouldRead", "MemberCouldRead"),
        ("MemberDidRead", "MemberDidRead"),
        ("MemberCouldRead", "MemberDidRead"),
    ] {
        let open = vault.keyring.open_envelope("team-a", "github", &spec).unwrap();
        let next = open.reseal(&access, &[advised(now)], &mut rng()).unwrap();
        assert_eq!(next.advised, [advised(expected)]);
        spec = next;
    }
}

/// The turn-over of issue 6: the same values under a new data key in the new epoch; who was left out opens no more.
#[test]
fn resealing_in_a_new_epoch_keeps_the_version_and_shuts_out_who_has_no_key_of_it() {
    let mut vault = Vault::new("epochs");
    let old = vault.seal("github", Scope::All, &["ci"]);
    assert_eq!(can_open(&vault, "intern", &old), Ok(()));
    vault.turn_over();
    assert_eq!(can_open(&vault, "web", &old), Ok(()), "readers go on in the old epoch");
    let open = vault.keyring.open_envelope("team-a", "github", &old).unwrap();
    let access = vault.access(Scope::All, &["ci"]);
    assert_eq!(open.change(&access), Ok(Change::Reseal));
    let intern =
        coffer_crds::Advised { member: "intern".into(), reason: "MemberCouldRead".into(), at: now().into() };
    let lost = [intern.clone(), intern.clone()];
    let new = open.reseal(&access, &lost, &mut rng()).unwrap();
    assert_eq!((new.epoch, new.version, new.revision), (2, old.version, old.revision + 1));
    assert_eq!(new.advised, [intern], "once, however often");
    assert_ne!(new.commitment, old.commitment);
    for name in ["web", "ci"] {
        assert_eq!(can_open(&vault, name, &new), Ok(()), "{name}");
    }
    assert_eq!(can_open(&vault, "intern", &new), Err(EnvelopeError::NoSlot));

    vault.keyring.drop_epochs_before(2);
    let reread = vault.custodian.open_keyring(&vault.keyring.to_spec()).unwrap();
    assert_eq!(reread.epochs().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [2]);
    assert!(reread.open_envelope("team-a", "github", &new).is_ok());
}

#[test]
fn new_values_raise_version_and_revision_and_end_the_advice() {
    let mut vault = Vault::new("versions");
    let mut spec = vault.seal("github", Scope::All, &[]);
    assert_eq!((spec.version, spec.revision, spec.history.len()), (3, 1, 1));
    for round in 0..25 {
        let open = vault.keyring.open_envelope("team-a", "github", &spec).unwrap();
        let advised = open
            .touch(|notes| {
                notes.advised.push(coffer_crds::Advised {
                    member: "bob".into(),
                    reason: "MemberCouldRead".into(),
                    at: now().into(),
                });
            })
            .unwrap();
        assert_eq!(
            (&advised.items, &advised.slots, advised.version),
            (&spec.items, &spec.slots, spec.version)
        );
        let open = vault.keyring.open_envelope("team-a", "github", &advised).unwrap();
        let new = NewVersion {
            writer: story::author(),
            now: now(),
            access: vault.access(Scope::All, &[]),
            items: Vault::items(&format!("round {round}")),
        };
        let next = open.next_version(new, &mut rng()).unwrap();
        assert_eq!((next.version, next.revision), (spec.version + 1, spec.revision + 2));
        assert!(next.advised.is_empty());
        assert_eq!(next.history.last().unwrap().version, next.version);
        assert_eq!(next.created_at, spec.created_at);
        spec = next;
    }
    assert_eq!(spec.history.len(), 20);
}

#[test]
fn another_owner_needs_a_new_data_key_and_opens_under_the_new_owners_name() {
    let mut vault = Vault::new("owners");
    let spec = vault.seal("github", Scope::All, &[]);
    let open = vault.keyring.open_envelope("team-a", "github", &spec).unwrap();
    let mut access = vault.access(Scope::All, &[]);
    access.owner = EnvelopeMember { name: "bob".into(), uid: uid("bob") };
    assert_eq!(open.change(&access), Ok(Change::Reseal));
    let moved = open.reseal(&access, &[], &mut rng()).unwrap();
    assert_eq!(moved.owner, access.owner);
    assert_eq!(can_open(&vault, "web", &moved), Ok(()));
}

#[test]
fn a_listed_scope_without_its_owner_is_not_sealed() {
    let mut vault = Vault::new("owner in scope");
    let spec = vault.seal("github", Scope::Listed(&["alice", "web"]), &["alice", "web"]);
    let open = vault.keyring.open_envelope("team-a", "github", &spec).unwrap();
    let access = vault.access(Scope::Listed(&["web"]), &["web"]);
    let refused = SealError::OwnerOutsideScope("alice".into());
    assert_eq!(open.reseal(&access, &[], &mut rng()).err(), Some(refused));
}

#[test]
fn touching_changes_notes_and_nothing_else() {
    let mut vault = Vault::new("notes");
    let spec = vault.seal("github", Scope::All, &["ci"]);
    let open = vault.keyring.open_envelope("team-a", "github", &spec).unwrap();
    let touched = open
        .touch(|notes| {
            notes.sealed_sha256.insert("token".into(), [1; 32]);
        })
        .unwrap();
    assert_eq!(touched.items["token"].ct, spec.items["token"].ct);
    assert_ne!(touched.items["token"].sealed_sha256, spec.items["token"].sealed_sha256);
    assert_eq!(can_open(&vault, "ci", &touched), Ok(()));
    let extra = open.touch(|notes| {
        notes.sealed_sha256.insert("other".into(), [1; 32]);
    });
    assert_eq!(extra.err(), Some(SealError::OtherItems));
    let restored = open.adopted_by(&uid("restored")).touch(|_| ()).unwrap();
    assert_eq!(can_open(&vault, "web", &restored), Err(EnvelopeError::Displaced), "until it lies there");
}

#[test]
fn a_self_member_is_wrapped_for_with_the_registers_key_only() {
    let mut vault = Vault::new("keys");
    let mut access = vault.access(Scope::All, &["carol"]);
    access.recipients[0].key = None;
    let spec = vault_seal(&vault, vault.access(Scope::All, &[]), &mut rng());
    let open = vault.keyring.open_envelope("team-a", "github", &spec).unwrap();
    assert_eq!(open.reslot(&access, &mut rng()).err(), Some(SealError::WrongMemberKey("carol".into())));
    access.recipients[0].key = Some(vault.secrets["alice"].key.public());
    assert_eq!(open.reslot(&access, &mut rng()).err(), Some(SealError::WrongMemberKey("carol".into())));
    let (alice, web) = (vault.keyring.member("alice").unwrap(), vault.keyring.member("web").unwrap());
    assert!(vault.keyring.wrap_vault_key(alice, None, 1, &mut rng()).is_err());
    assert!(
        vault.keyring.wrap_vault_key(web, Some(vault.secrets["alice"].key.public()), 1, &mut rng()).is_err()
    );
    let unknown = vault.keyring.wrap_vault_key(web, None, 9, &mut rng()).err();
    assert_eq!(unknown, Some(SealError::UnknownEpoch(9)));
    // Another key of the same member: what was wrapped for the old one is not good any more.
    let mut changed = alice.clone();
    changed.key_hash = Some(coffer_envelope::key_hash(vault.secrets["bob"].key.public()));
    let wrapped = vault.wrapped["alice"][0].clone();
    assert!(vault.keyring.is_wrapped(alice, &wrapped));
    assert!(!vault.keyring.is_wrapped(&changed, &wrapped));
    vault.keyring.register(changed).unwrap();
}

#[test]
fn a_keyring_is_written_when_something_changed_and_reads_back_the_same() {
    let vault = Vault::new("keyrings");
    let spec = vault.keyring.to_spec();
    assert_eq!((spec.revision, vault.keyring.changed()), (1, true));
    let mut reread = vault.custodian.open_keyring(&spec).unwrap();
    assert!(!reread.changed());
    let web = reread.member("web").unwrap().clone();
    reread.register(web.clone()).unwrap();
    assert!(!reread.changed(), "the same entry again is no change");
    assert!(reread.deregister("web"));
    assert!(reread.changed());
    assert_eq!(reread.to_spec().revision, 2);
    assert_eq!(reread.intake_key().unwrap(), vault.keyring.intake_key().unwrap());
    assert!(reread.set_current(5).is_err());
    let cause = |reason: &str| coffer_crds::EpochCause { reason: reason.into(), member: None };
    assert_eq!(reread.add_epoch([cause("Requested")], now(), &mut rng()), 2);
    assert_eq!(reread.add_epoch([cause("Interval"), cause("Requested")], now(), &mut rng()), 3);
    let held: Vec<_> = reread.epochs().map(|epoch| (epoch.epoch, epoch.causes.len())).collect();
    assert_eq!(held, [(1, 0), (3, 2)], "an epoch that never became current makes room, and leaves its cause");
    reread.set_current(3).unwrap();
    assert!(reread.set_current(1).is_err(), "an epoch never goes back");
    let mut nameless = web;
    nameless.subject = coffer_crds::Subject::ServiceAccount(coffer_crds::ServiceAccountSubject {
        namespace: None,
        name: "web".into(),
    });
    assert!(reread.register(nameless).is_err());
}

/// C16: after a restore the vault goes on above every epoch that anybody may have seen, and knows its members again.
#[test]
fn a_keyring_that_is_adopted_begins_an_epoch_by_the_clock_and_remembers_who_its_members_were() {
    let mut vault = Vault::new("restored");
    let web = vault.keyring.member("web").unwrap().clone();
    let cause = coffer_crds::EpochCause { reason: "Restored".into(), member: None };
    assert_eq!(vault.keyring.restored_epoch(), None);
    let epoch = vault.keyring.adopt("another vault object", [cause.clone()], now(), &mut rng());
    assert_eq!(epoch, now().as_second());
    vault.keyring.rebind("web", "web-again");
    vault.keyring.rebind("nobody", "somebody");
    let spec = vault.keyring.to_spec();
    assert_eq!((spec.vault_uid.as_str(), spec.restored_epoch), ("another vault object", Some(epoch)));
    let mut reread = vault.custodian.open_keyring(&spec).unwrap();
    assert_eq!(reread.restored_epoch(), Some(epoch));
    assert_eq!(reread.member("web").unwrap().uid, "web-again");
    assert_eq!(reread.member("web").unwrap().former_uids, std::slice::from_ref(&web.uid));
    assert_eq!(reread.present_uid("web", &web.uid), "web-again");
    assert_eq!(reread.present_uid("web", "a stranger's"), "a stranger's");
    assert_eq!(reread.present_uid("ci", &web.uid), web.uid, "another member's uid says nothing");
    reread.rebind("web", "web-again");
    assert!(!reread.changed(), "bound already");
    let again = reread.adopt("a third", [cause], now(), &mut rng());
    assert_eq!(again, epoch + 1, "twice within a second, and still above");
    for number in 0..20 {
        reread.rebind("web", &format!("web-{number}"));
    }
    assert_eq!(reread.member("web").unwrap().former_uids.len(), coffer_crds::limits::MAX_FORMER_UIDS);
    assert_eq!(reread.present_uid("web", "web-18"), "web-19");
}
