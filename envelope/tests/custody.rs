//! The Secrets that hold the installation's own keys. T1.
#![allow(clippy::unwrap_used, reason = "a story that cannot be told fails its test")]

mod story;

use coffer_envelope::Custodian;
use coffer_envelope::custody::{CustodyError, RootOfTrust, open_branch, open_custodian, seal_secrets};
use coffer_keys::acceptance::{Acceptance, ProofError, decode_challenge};
use coffer_keys::hierarchy::SubjectRef;
use std::collections::BTreeMap;
use story::{Drbg, Vault, data, now};

#[test]
fn the_secrets_open_again_with_their_root_and_with_no_other() {
    let rng = &mut Drbg::new("custody");
    let (root, other) = (RootOfTrust::generate_local(rng), RootOfTrust::generate_local(rng));
    let custodian = Custodian::generate(rng);
    let sealed = seal_secrets(&custodian, &root, rng).unwrap();
    assert_eq!(sealed.custodian.keys().collect::<Vec<_>>(), ["generation-1"]);

    let stored: BTreeMap<String, Vec<u8>> =
        root.local_secret().iter().map(|(name, key)| ((*name).to_owned(), key.expose().to_vec())).collect();
    let reread = RootOfTrust::from_local_secret(data(&stored)).unwrap();
    let opened = open_custodian(&reread, data(&sealed.custodian), data(&sealed.brokered)).unwrap();
    let keyring = custodian.new_keyring(coffer_keys::VaultId::generate(rng), "uid", now(), rng);
    assert!(opened.open_keyring(&keyring.to_spec()).is_ok());
    assert!(matches!(
        open_custodian(&other, data(&sealed.custodian), data(&sealed.brokered)),
        Err(CustodyError::Open { secret: "coffer-custodian", .. })
    ));
    // One branch in place of the other.
    assert!(open_branch(&root, data(&sealed.custodian)).is_err());
    assert!(open_custodian(&root, data(&sealed.brokered), data(&sealed.custodian)).is_err());
}

/// The broker's mounts: its part of the root, and the branch with the links that the kubelet adds.
#[test]
fn the_broker_opens_its_branch_with_its_part_of_the_root_alone() {
    let rng = &mut Drbg::new("broker");
    let root = RootOfTrust::generate_local(rng);
    let sealed = seal_secrets(&Custodian::generate(rng), &root, rng).unwrap();
    let key = root.local_secret().remove("brokered").unwrap();
    let brokers =
        RootOfTrust::from_local_secret([("brokered", key.expose()), ("..data", b"".as_slice())]).unwrap();
    let mounted = data(&sealed.brokered).chain([("..data", b"".as_slice())]);
    assert!(open_branch(&brokers, mounted).is_ok());
    assert_eq!(
        open_custodian(&brokers, data(&sealed.custodian), data(&sealed.brokered)).err(),
        Some(CustodyError::NoRootKey("custodian"))
    );
}

#[test]
fn a_secret_that_holds_something_else_is_told_by_name_and_without_its_content() {
    let rng = &mut Drbg::new("malformed");
    let root = RootOfTrust::generate_local(rng);
    let told = |data: &[(&str, &[u8])]| {
        open_branch(&root, data.iter().copied()).err().map(|error| error.to_string()).unwrap()
    };
    assert!(told(&[]).contains("'coffer-brokered' holds no key"));
    assert!(told(&[("generation-01", b"{}")]).contains("'generation-01'"));
    let secret = told(&[("generation-1", b"s3cr3t")]);
    assert!(secret.contains("wrapped key in JSON") && !secret.contains("s3cr3t"), "{secret}");
    let unknown = br#"{"v":2,"suite":"hkdf-sha256-aes256gcm","kid":"root/brokered","salt":"","ct":""}"#;
    assert!(told(&[("generation-1", unknown)]).contains("version 2"));
    let short = RootOfTrust::from_local_secret([("custodian", b"short".as_slice())]);
    assert_eq!(short.err(), Some(CustodyError::NoRootKey("custodian")));
}

/// §3: X25519 and X-Wing keys prove themselves by opening the challenge.
#[test]
fn keys_that_cannot_sign_prove_themselves_by_the_challenge() {
    let vault = Vault::new("challenges");
    let rng = &mut Drbg::new("challenge");
    for name in ["alice", "bob", "carol"] {
        let key = &vault.secrets[name].key;
        let acceptance = Acceptance {
            vault_id: vault.keyring.vault_id(),
            namespace: "team-a",
            name,
            uid: "u",
            subject: SubjectRef::User(name),
            public_key: key.public(),
        };
        let proof = match vault.keyring.challenge(&acceptance, rng) {
            None => acceptance.sign(key).unwrap(),
            Some(challenge) => {
                assert_eq!(acceptance.sign(key), Err(ProofError::CannotSign));
                acceptance.answer(key, &decode_challenge(&challenge).unwrap()).unwrap()
            }
        };
        assert_eq!(vault.keyring.check_proof(&acceptance, &proof), Ok(()), "{name}");
        let another = Acceptance { uid: "v", ..acceptance };
        assert_eq!(vault.keyring.check_proof(&another, &proof), Err(ProofError::DoesNotHold), "{name}");
        let elsewhere = Vault::new("elsewhere");
        assert_eq!(
            elsewhere.keyring.check_proof(&acceptance, &proof),
            Err(ProofError::DoesNotHold),
            "{name}"
        );
    }
}
