//! What is parsed is parsed once, in one canonical form, and what is refused says why.
#![allow(clippy::unwrap_used, reason = "what cannot be parsed fails its test")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coffer_keys::acceptance::{Acceptance, ProofError};
use coffer_keys::digest::MembersDigest;
use coffer_keys::hierarchy::SubjectRef;
use coffer_keys::intake::{IntakePublicKey, sealed_to};
use coffer_keys::member_key::{MemberKeyKind, MemberPublicKey, MemberSecretKey, PublicKeyError};
use coffer_keys::wrap::{WrapParts, Wrapped};
use coffer_keys::{FormatError, Kid, SecretKey, Suite, VaultId};

/// RFC 8410, section 10.1.
const RFC_8410: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

#[test]
fn the_written_forms_of_one_ed25519_key_are_the_same_key() {
    let raw = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    let key = MemberPublicKey::parse(raw).unwrap();
    assert_eq!(MemberPublicKey::parse(RFC_8410).unwrap(), key);
    assert_eq!(MemberPublicKey::parse(&format!("ed25519:{raw}")).unwrap(), key);
    let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], key.as_bytes()].concat();
    let line = format!("ssh-ed25519 {} alice@laptop of mine\n", STANDARD.encode(blob));
    assert_eq!(MemberPublicKey::parse(&line).unwrap(), key);
}

/// The did:key method's own test vectors.
#[test]
fn did_keys_of_ed25519_and_x25519_are_read() {
    let ed25519 = MemberPublicKey::parse("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp").unwrap();
    assert_eq!(ed25519.kind(), MemberKeyKind::Ed25519);
    assert_eq!(
        ed25519.as_bytes(),
        [
            0x3b, 0x6a, 0x27, 0xbc, 0xce, 0xb6, 0xa4, 0x2d, 0x62, 0xa3, 0xa8, 0xd0, 0x2a, 0x6f, 0x0d, 0x73,
            0x65, 0x32, 0x15, 0x77, 0x1d, 0xe2, 0x43, 0xa6, 0x3a, 0xc0, 0x48, 0xa1, 0x8b, 0x59, 0xda, 0x29
        ]
    );
    let x25519 = MemberPublicKey::parse("did:key:z6LSeu9HkTHSfLLeUs2nnzUSNedgDUevfNQgQjQC23ZCit6F").unwrap();
    assert_eq!(x25519.kind(), MemberKeyKind::X25519);
    let other =
        MemberPublicKey::parse("did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169").unwrap_err();
    assert_eq!(other, PublicKeyError::OtherAlgorithm);
}

/// What `ssh-keygen -lf` prints for the key.
#[test]
fn the_fingerprint_of_an_ed25519_key_is_the_one_that_ssh_keygen_prints() {
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    let key = MemberPublicKey::parse(line).unwrap();
    let fingerprint = key.fingerprint().to_string();
    assert_eq!(fingerprint, "SHA256:tAXFyTXI8xtDaujAEcwJslAYc9/6FKcUkd2Lw0xDhPo");
}

#[test]
fn keys_that_cannot_decrypt_are_refused_with_the_reason() {
    let refuse = |text: &str| MemberPublicKey::parse(text).unwrap_err();
    let hardware = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t alice";
    assert_eq!(refuse(hardware), PublicKeyError::HardwareKey);
    assert!(refuse(hardware).to_string().contains("security key that signs but cannot decrypt"));
    assert_eq!(refuse("ssh-rsa AAAAB3NzaC1yc2E= alice"), PublicKeyError::OtherSshKey);
    assert_eq!(refuse("ecdsa-sha2-nistp256 AAAA"), PublicKeyError::OtherSshKey);
    let certificate = "ssh-ed25519-cert-v01@openssh.com AAAA";
    assert_eq!(refuse(certificate), PublicKeyError::OtherSshKey);
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----";
    assert_eq!(refuse(private), PublicKeyError::PrivateKey);
    assert!(!refuse(private).to_string().contains("secret"));
    assert_eq!(refuse("no key at all"), PublicKeyError::UnknownForm);
    assert_eq!(refuse(""), PublicKeyError::WrongLength { found: 0, expected: 32 });
    assert_eq!(refuse("x25519:AAAA"), PublicKeyError::WrongLength { found: 3, expected: 32 });
    assert_eq!(refuse("x25519:AA=A"), PublicKeyError::NotBase64);
}

/// RFC 7748 section 6.1 and "May the Fourth" lists of small-order points.
#[test]
fn points_of_small_order_and_second_forms_of_points_are_refused() {
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    };
    for weak in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        assert_eq!(MemberPublicKey::x25519(&unhex(weak)).unwrap_err(), PublicKeyError::Weak, "{weak}");
    }
    for twice in [
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0900000000000000000000000000000000000000000000000000000000000080",
    ] {
        assert_eq!(MemberPublicKey::x25519(&unhex(twice)).unwrap_err(), PublicKeyError::NotAKey, "{twice}");
    }
    for weak in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        assert_eq!(MemberPublicKey::ed25519(&unhex(weak)).unwrap_err(), PublicKeyError::Weak, "{weak}");
    }
    let not_on_the_curve = "0200000000000000000000000000000000000000000000000000000000000000";
    assert_eq!(MemberPublicKey::ed25519(&unhex(not_on_the_curve)).unwrap_err(), PublicKeyError::NotAKey);
    // The identity written with y = p + 1.
    let twice = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
    assert_eq!(MemberPublicKey::ed25519(&unhex(twice)).unwrap_err(), PublicKeyError::NotAKey);
}

/// A point of full order plus one of order two has the same X25519 key as another key would have.
#[test]
fn ed25519_keys_with_a_part_of_small_order_are_refused() {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    let mixed = ED25519_BASEPOINT_POINT + EIGHT_TORSION[4];
    assert!(MemberPublicKey::ed25519(ED25519_BASEPOINT_POINT.compress().as_bytes()).is_ok());
    assert_eq!(MemberPublicKey::ed25519(mixed.compress().as_bytes()).unwrap_err(), PublicKeyError::Weak);
}

#[test]
fn x_wing_keys_with_a_broken_half_are_refused() {
    let good = MemberSecretKey::from_seed(MemberKeyKind::XWing, SecretKey::from_bytes(&[3; 32]));
    let mut bytes = good.public().as_bytes().to_vec();
    assert_eq!(
        MemberPublicKey::parse(&format!("x-wing:{}", STANDARD.encode(&bytes))).unwrap(),
        *good.public()
    );
    bytes[..3].fill(0xff); // a coefficient of 4095, above the modulus 3329
    assert_eq!(MemberPublicKey::xwing(&bytes).unwrap_err(), PublicKeyError::NotAKey);
    let mut bytes = good.public().as_bytes().to_vec();
    bytes[1184..].fill(0);
    assert_eq!(MemberPublicKey::xwing(&bytes).unwrap_err(), PublicKeyError::Weak);
    assert!(IntakePublicKey::parse("intake/1/1", &STANDARD.encode(&bytes)).is_err());
}

#[test]
fn key_ids_have_one_form() {
    for text in ["custodian/1", "intake/1/22", "member/3", "epoch/1767225600", "root/brokered", "data"] {
        assert_eq!(Kid::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "custodian/01",
        "custodian/+1",
        "custodian/",
        "custodian/1/2",
        "intake/1",
        "epoch/-1",
        "root/x",
        "DATA",
    ] {
        assert_eq!(Kid::parse(text).unwrap_err(), FormatError::UnknownKid(text.into()));
    }
}

#[test]
fn vault_ids_have_one_form() {
    let text = "00112233445566778899aabbccddeeff";
    assert_eq!(VaultId::parse(text).unwrap().to_string(), text);
    for wrong in ["00112233445566778899AABBCCDDEEFF", "0011", "", "00112233445566778899aabbccddeefg"] {
        assert!(VaultId::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_unknown_version_or_suite_is_refused_by_name() {
    let parts = WrapParts {
        v: 1,
        suite: Suite::Symmetric.as_str(),
        kid: "custodian/1",
        salt: Some(&[0; 32]),
        enc: None,
        ct: &[0; 48],
    };
    assert!(Wrapped::from_parts(&parts).is_ok());
    let refuse = |parts: WrapParts<'_>| Wrapped::from_parts(&parts).unwrap_err().to_string();
    assert!(refuse(WrapParts { v: 2, ..parts }).contains("version 2"));
    assert!(refuse(WrapParts { suite: "rot13", ..parts }).contains("'rot13'"));
    assert!(refuse(WrapParts { kid: "what/1", ..parts }).contains("'what/1'"));
    assert!(refuse(WrapParts { salt: None, ..parts }).contains("salt"));
    assert!(refuse(WrapParts { enc: Some(&[0; 32]), ..parts }).contains("enc"));
    assert!(refuse(WrapParts { ct: &[0; 47], ..parts }).contains("wrap.ct"));
    assert!(
        refuse(WrapParts { suite: Suite::XWing.as_str(), salt: None, enc: Some(&[0; 32]), ..parts })
            .contains("enc")
    );
    assert!(sealed_to(b"plain text").is_err());
}

#[test]
fn a_scope_is_sorted_and_names_nobody_twice() {
    assert!(MembersDigest::listed([("a", "1"), ("b", "")]).is_ok());
    assert!(MembersDigest::listed([("b", "1"), ("a", "2")]).is_err());
    assert!(MembersDigest::listed([("a", "1"), ("a", "2")]).is_err());
    assert!(MembersDigest::listed([]).is_err());
    assert_ne!(MembersDigest::all(), MembersDigest::listed([("*", "")]).unwrap());
}

#[test]
fn a_proof_holds_for_one_key_vault_member_and_subject() {
    let key = MemberSecretKey::from_seed(MemberKeyKind::Ed25519, SecretKey::from_bytes(&[5; 32]));
    let other = MemberSecretKey::from_seed(MemberKeyKind::Ed25519, SecretKey::from_bytes(&[6; 32]));
    let acceptance = Acceptance {
        vault_id: VaultId::parse("00112233445566778899aabbccddeeff").unwrap(),
        namespace: "team-a",
        name: "alice",
        uid: "u1",
        subject: SubjectRef::User("alice@example.com"),
        public_key: key.public(),
    };
    let proof = acceptance.sign(&key).unwrap();
    assert_eq!(acceptance.verify(&proof), Ok(()));
    let elsewhere = [
        Acceptance { namespace: "team-b", ..acceptance },
        Acceptance { name: "alicia", ..acceptance },
        Acceptance { uid: "u2", ..acceptance },
        Acceptance { subject: SubjectRef::Group("alice@example.com"), ..acceptance },
        Acceptance { public_key: other.public(), ..acceptance },
        Acceptance { vault_id: VaultId::parse("10112233445566778899aabbccddeeff").unwrap(), ..acceptance },
    ];
    for elsewhere in elsewhere {
        assert_eq!(elsewhere.verify(&proof), Err(ProofError::DoesNotHold));
    }
    assert_eq!(acceptance.verify(&acceptance.sign(&other).unwrap()), Err(ProofError::DoesNotHold));
    assert_eq!(acceptance.verify("AAAA"), Err(ProofError::Malformed(64)));
}
