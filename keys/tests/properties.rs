//! Seal then open is identity; anything else does not open, with the one error that does not say which.
//! T1, T2, T22.
#![allow(clippy::unwrap_used, reason = "a property that cannot be set up fails")]

use coffer_keys::answer::{self, AnswerContext, EphemeralKey};
use coffer_keys::context::{ItemContext, RootContext, SlotContext, SlotTo, ValuesContext, VaultKeyContext};
use coffer_keys::data_key::DataKey;
use coffer_keys::digest::MembersDigest;
use coffer_keys::hierarchy::{
    BrokeredBranch, CustodianRoot, MemberIdentity, RootOfTrustKey, SubjectRef, VaultKey,
};
use coffer_keys::intake::InputContext;
use coffer_keys::lp::Lp;
use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};
use coffer_keys::signature::{Message, Signature, SignatureKind, VaultSigningKey};
use coffer_keys::wrap::{OpenWith, WrapParts, WrapTo, Wrapped, WrappingKey};
use coffer_keys::{OpenError, RootName, SecretBytes, SecretKey, VaultId};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use proptest::prelude::*;
use proptest::sample::Index;

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// The fields of a place, owned so that one of them can be swapped.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    vault: [u8; 16],
    texts: [String; 5],
    numbers: [u64; 2],
}

impl Place {
    fn vault_id(&self) -> VaultId {
        let hex: String = self.vault.iter().map(|byte| format!("{byte:02x}")).collect();
        VaultId::parse(&hex).unwrap()
    }

    fn values(&self) -> ValuesContext<'_> {
        let [namespace, connection, owner_name, owner_uid, _] = &self.texts;
        let version = self.numbers[0];
        ValuesContext { vault_id: self.vault_id(), namespace, connection, owner_name, owner_uid, version }
    }

    fn item(&self) -> ItemContext<'_> {
        ItemContext { values: self.values(), item: &self.texts[4] }
    }

    fn input(&self) -> InputContext<'_> {
        let [namespace, connection, owner, _, item] = &self.texts;
        InputContext { vault_id: self.vault_id(), namespace, connection, owner, item }
    }

    fn identity(&self) -> MemberIdentity<'_> {
        let [name, uid, namespace, account, subject_uid] = &self.texts;
        let subject = SubjectRef::ServiceAccount { namespace, name: account };
        MemberIdentity { vault_id: self.vault_id(), name, uid, subject, subject_uid }
    }

    fn vault_key<'a>(&'a self, signing: &'a VaultSigningKey) -> VaultKeyContext<'a> {
        VaultKeyContext {
            vault_id: self.vault_id(),
            epoch: self.numbers[1],
            signing_key: signing.public(),
            name: &self.texts[0],
            uid: &self.texts[1],
        }
    }

    fn answer<'a>(&'a self, request_sha256: &'a [u8; 32]) -> AnswerContext<'a> {
        let [door, request_id, requester_username, requester_uid, _] = &self.texts;
        AnswerContext { door, request_id, requester_username, requester_uid, request_sha256 }
    }
}

fn place() -> impl Strategy<Value = Place> {
    let texts = proptest::array::uniform5("[a-z*./-]{0,9}");
    (any::<[u8; 16]>(), texts, any::<[u64; 2]>()).prop_map(|(vault, texts, numbers)| Place {
        vault,
        texts,
        numbers,
    })
}

/// A place, and one that differs in exactly one of the fields that `counts` says are part of the context.
fn two_places(
    texts: &'static [usize],
    numbers: &'static [usize],
    vault: bool,
) -> impl Strategy<Value = (Place, Place)> {
    (place(), any::<Index>(), "[a-z]{1,3}").prop_map(move |(place, which, suffix)| {
        let mut other = place.clone();
        let fields = texts.len() + numbers.len() + usize::from(vault);
        match which.index(fields) {
            i if i < texts.len() => other.texts[texts[i]].push_str(&suffix),
            i if i < texts.len() + numbers.len() => {
                let number = &mut other.numbers[numbers[i - texts.len()]];
                *number = number.wrapping_add(1);
            }
            _ => other.vault[3] ^= 1,
        }
        (place, other)
    })
}

fn flip(bytes: &[u8], at: Index, bit: u8) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    let at = at.index(flipped.len());
    flipped[at] ^= 1 << (bit % 8);
    flipped
}

fn refused(opened: Result<SecretBytes, OpenError>) -> bool {
    opened.err() == Some(OpenError)
}

fn key_refused(opened: Result<SecretKey, OpenError>) -> bool {
    opened.err() == Some(OpenError)
}

/// The same wrap with one bit of its salt, encapsulated key or ciphertext flipped.
fn flipped(wrapped: &Wrapped, at: Index, bit: u8) -> Wrapped {
    let head = wrapped.salt().or(wrapped.enc()).unwrap();
    let all = flip(&[head, wrapped.ct()].concat(), at, bit);
    let (head, ct) = all.split_at(head.len());
    Wrapped::from_parts(&WrapParts {
        v: wrapped.v(),
        suite: wrapped.suite().as_str(),
        kid: &wrapped.kid().to_string(),
        salt: wrapped.salt().map(|_| head),
        enc: wrapped.enc().map(|_| head),
        ct,
    })
    .unwrap()
}

const KINDS: [MemberKeyKind; 3] = [MemberKeyKind::Ed25519, MemberKeyKind::X25519, MemberKeyKind::XWing];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn items_open_at_their_place_and_nowhere_else(
        (here, there) in two_places(&[0, 1, 2, 3, 4], &[0], true),
        plaintext in prop::collection::vec(any::<u8>(), 0..200), at: Index, bit: u8,
    ) {
        let key = DataKey::generate(&mut rng());
        let ct = key.seal_item(&here.item(), &plaintext);
        let opened = key.open_item(&here.item(), &ct).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext[..]);
        prop_assert!(refused(key.open_item(&there.item(), &ct)));
        prop_assert!(refused(key.open_item(&here.item(), &flip(&ct, at, bit))));
        prop_assert!(refused(DataKey::generate(&mut rng()).open_item(&here.item(), &ct)));
    }

    #[test]
    fn sealed_input_opens_at_its_place_and_under_its_generation_only(
        (here, there) in two_places(&[0, 1, 2, 4], &[], true),
        plaintext in prop::collection::vec(any::<u8>(), 0..200), at: Index, bit: u8,
    ) {
        let root = CustodianRoot::generate(1, &mut rng());
        let key = root.intake_key(&here.vault_id(), 1);
        let sealed = key.public().seal(&here.input(), &plaintext, &mut rng());
        let opened = key.open(&here.input(), &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext[..]);
        prop_assert!(refused(key.open(&there.input(), &sealed)));
        prop_assert!(refused(key.open(&here.input(), &flip(&sealed, at, bit))));
        prop_assert!(refused(root.intake_key(&here.vault_id(), 2).open(&here.input(), &sealed)));
        let other = CustodianRoot::generate(1, &mut rng());
        prop_assert!(refused(other.intake_key(&here.vault_id(), 1).open(&here.input(), &sealed)));
    }

    #[test]
    fn answers_open_for_their_request_only(
        (here, there) in two_places(&[0, 1, 2, 3], &[], false),
        digest: [u8; 32], plaintext in prop::collection::vec(any::<u8>(), 0..200), at: Index, bit: u8,
    ) {
        let key = EphemeralKey::generate(&mut rng());
        let sealed = answer::seal(key.public(), &here.answer(&digest), &plaintext, &mut rng());
        let opened = key.open(&here.answer(&digest), &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext[..]);
        prop_assert!(refused(key.open(&there.answer(&digest), &sealed)));
        prop_assert!(refused(key.open(&here.answer(&flip(&digest, at, bit).try_into().unwrap()), &sealed)));
        prop_assert!(refused(key.open(&here.answer(&digest), &flip(&sealed, at, bit))));
        prop_assert!(refused(EphemeralKey::generate(&mut rng()).open(&here.answer(&digest), &sealed)));
    }

    /// T1, T26: the key is another for another vault, member, object, subject or subject uid.
    #[test]
    fn a_brokered_members_wraps_open_for_exactly_that_member(
        (here, there) in two_places(&[0, 1, 2, 3, 4], &[], true), at: Index, bit: u8,
    ) {
        let branch = BrokeredBranch::generate(1, &mut rng());
        let (payload, context) = (SecretKey::generate(&mut rng()), RootContext { name: RootName::Brokered, generation: 1 });
        let key = branch.member_key(&here.identity());
        let wrapped = Wrapped::seal(WrapTo::Key(&key), &context, &payload, &mut rng());
        let opened = wrapped.open(OpenWith::Key(&key), &context).unwrap();
        prop_assert_eq!(opened.expose(), payload.expose());
        let other = branch.member_key(&there.identity());
        prop_assert!(key_refused(wrapped.open(OpenWith::Key(&other), &context)));
        prop_assert!(key_refused(flipped(&wrapped, at, bit).open(OpenWith::Key(&key), &context)));
        // The same bytes as another generation's name another key.
        let next = BrokeredBranch::generate(2, &mut rng()).member_key(&here.identity());
        prop_assert!(key_refused(wrapped.open(OpenWith::Key(&next), &context)));
    }

    #[test]
    fn vault_keys_open_for_their_member_epoch_and_vault_only(
        (here, there) in two_places(&[0, 1], &[1], true), at: Index, bit: u8, kind in 0_usize..4,
    ) {
        let signing = VaultSigningKey::generate(&mut rng());
        let other_signing = VaultSigningKey::generate(&mut rng());
        let custodian = CustodianRoot::generate(1, &mut rng());
        let derived = custodian.custodian_key(&here.vault_id());
        let own = MemberSecretKey::generate(KINDS[kind % 3], &mut rng());
        let (to, with) = if kind == 3 {
            (WrapTo::Key(&derived), OpenWith::Key(&derived))
        } else {
            (WrapTo::Public(own.public()), OpenWith::Secret(&own))
        };
        let key = VaultKey::generate(here.numbers[1], &mut rng());
        let wrapped = key.wrap_for_member(to, &here.vault_key(&signing), &mut rng());
        prop_assert!(VaultKey::open_as_member(with, &here.vault_key(&signing), &wrapped).is_ok());
        prop_assert!(VaultKey::open_as_member(with, &there.vault_key(&signing), &wrapped).is_err());
        prop_assert!(VaultKey::open_as_member(with, &here.vault_key(&other_signing), &wrapped).is_err());
        prop_assert!(VaultKey::open_as_member(with, &here.vault_key(&signing), &flipped(&wrapped, at, bit)).is_err());
        let stranger = MemberSecretKey::generate(KINDS[kind % 3], &mut rng());
        prop_assert!(VaultKey::open_as_member(OpenWith::Secret(&stranger), &here.vault_key(&signing), &wrapped).is_err());
    }

    #[test]
    fn slots_open_for_their_recipient_scope_and_values_only(
        (here, there) in two_places(&[0, 1, 2, 3], &[0, 1], true), at: Index, bit: u8,
    ) {
        let (signing, other_signing) = (VaultSigningKey::generate(&mut rng()), VaultSigningKey::generate(&mut rng()));
        let (key, other_key) = (DataKey::generate(&mut rng()), DataKey::generate(&mut rng()));
        let kek: WrappingKey = CustodianRoot::generate(1, &mut rng()).custodian_key(&here.vault_id());
        let (all, listed) = (MembersDigest::all(), MembersDigest::listed([("a", "u")]).unwrap());
        let (epoch, other_epoch) = (here.numbers[1], there.numbers[1]);
        let slot = SlotContext {
            values: here.values(), epoch, members: &listed, commitment: key.commitment(),
            signing_key: signing.public(), to: SlotTo::Member { name: "a", uid: "u" },
        };
        let sealed = key.seal_slot(WrapTo::Key(&kek), &slot, &mut rng());
        let open = |slot: &SlotContext<'_>, sealed: &Wrapped| DataKey::open_slot(OpenWith::Key(&kek), slot, sealed);
        prop_assert!(open(&slot, &sealed).unwrap().commitment() == key.commitment());
        let elsewhere = [
            SlotContext { values: there.values(), epoch: other_epoch, ..slot },
            SlotContext { members: &all, ..slot },
            SlotContext { commitment: other_key.commitment(), ..slot },
            SlotContext { to: SlotTo::Custodian, ..slot },
            SlotContext { to: SlotTo::Member { name: "a", uid: "v" }, ..slot },
            SlotContext { signing_key: other_signing.public(), ..slot },
        ];
        for elsewhere in elsewhere {
            prop_assert!(open(&elsewhere, &sealed).is_err());
        }
        prop_assert!(open(&slot, &flipped(&sealed, at, bit)).is_err());
    }

    #[test]
    fn signatures_hold_for_their_kind_values_and_key_only(
        values in prop::collection::vec(".{0,12}", 1..6), at: Index, bit: u8, which: Index,
    ) {
        let message = |kind, values: &[String]| {
            let mut message = Message::new(kind);
            values.iter().for_each(|value| { message.text(value); });
            message
        };
        let (key, other) = (VaultSigningKey::generate(&mut rng()), VaultSigningKey::generate(&mut rng()));
        let signed = message(SignatureKind::Envelope, &values);
        let signature = key.sign(&signed);
        prop_assert!(key.public().verify(&signed, &signature).is_ok());
        prop_assert!(other.public().verify(&signed, &signature).is_err());
        prop_assert!(key.public().verify(&message(SignatureKind::Keyring, &values), &signature).is_err());
        let mut changed = values.clone();
        changed[which.index(values.len())].push('x');
        prop_assert!(key.public().verify(&message(SignatureKind::Envelope, &changed), &signature).is_err());
        let flipped = Signature::from_slice(&flip(signature.as_bytes(), at, bit)).unwrap();
        prop_assert!(key.public().verify(&signed, &flipped).is_err());
    }

    /// No two sequences of values share their bytes, or contexts could be shifted into one another.
    #[test]
    fn length_prefixed_sequences_are_told_apart(
        a in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
        b in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
    ) {
        let encode = |values: &[Vec<u8>]| {
            let mut lp = Lp::new();
            values.iter().for_each(|value| { lp.bytes(value); });
            lp.into_bytes()
        };
        prop_assert_eq!(a == b, encode(&a) == encode(&b));
    }

    /// T44: whatever bytes are taken for sealed input or an answer, there is an error and no panic.
    #[test]
    fn any_bytes_are_refused_as_sealed_input_and_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let digest = [0; 32];
        let place = Place { vault: [0; 16], texts: Default::default(), numbers: [0; 2] };
        prop_assert!(coffer_keys::intake::sealed_to(&bytes).is_err());
        let key = EphemeralKey::generate(&mut rng());
        prop_assert!(refused(key.open(&place.answer(&digest), &bytes)));
    }
}

/// A holder of the wrapping key (of the vault key, say) wraps another data key in a slot under this commitment: the
/// commitment is checked before the key is used for anything.
#[test]
fn a_slot_that_carries_another_key_than_it_commits_to_does_not_open() {
    let rng = &mut rng();
    let place = Place { vault: [1; 16], texts: Default::default(), numbers: [1, 1] };
    let kek = CustodianRoot::generate(1, rng).custodian_key(&place.vault_id());
    let (signing, members) = (VaultSigningKey::generate(rng), MembersDigest::all());
    let key = DataKey::generate(rng);
    let slot = SlotContext {
        values: place.values(),
        epoch: 1,
        members: &members,
        commitment: key.commitment(),
        signing_key: signing.public(),
        to: SlotTo::Vault,
    };
    let forged = Wrapped::seal(WrapTo::Key(&kek), &slot, &SecretKey::generate(rng), rng);
    assert!(forged.open(OpenWith::Key(&kek), &slot).is_ok(), "the wrap itself is well made");
    assert_eq!(DataKey::open_slot(OpenWith::Key(&kek), &slot, &forged).err(), Some(OpenError));
}

/// T1: "all of etcd but the one root Secret" does not hold the key of either branch, and neither key opens the other.
#[test]
fn a_branch_opens_with_the_root_key_of_its_own_name_and_generation_only() {
    let rng = &mut rng();
    let custodian = RootOfTrustKey::generate(RootName::Custodian, rng);
    let brokered = RootOfTrustKey::generate(RootName::Brokered, rng);
    let root = CustodianRoot::generate(2, rng);
    let branch = BrokeredBranch::generate(2, rng);
    let wrapped_root = custodian.wrap_custodian(&root, rng);
    let wrapped_branch = brokered.wrap_brokered(&branch, rng);

    assert!(custodian.unwrap_custodian(2, &wrapped_root).is_ok());
    assert!(brokered.unwrap_brokered(2, &wrapped_branch).is_ok());
    assert!(brokered.unwrap_custodian(2, &wrapped_root).is_err());
    assert!(brokered.unwrap_brokered(2, &wrapped_root).is_err());
    assert!(custodian.unwrap_brokered(2, &wrapped_branch).is_err());
    assert!(custodian.unwrap_custodian(1, &wrapped_root).is_err());
    let other = RootOfTrustKey::generate(RootName::Custodian, rng);
    assert!(other.unwrap_custodian(2, &wrapped_root).is_err());
}
