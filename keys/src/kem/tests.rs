//! The standards' own vectors, through the same functions that seal and open everything here.
#![allow(clippy::unwrap_used, reason = "a vector that cannot be read fails its test")]

use super::{PublicSuite, open, public, seal};
use crate::SecretKey;
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem as _, Serializable as _};
use rand_core::{TryCryptoRng, TryRng, utils};
use serde::Deserialize;
use std::convert::Infallible;

/// Gives exactly the bytes that a vector says were drawn.
struct Drawn(Vec<u8>);

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rfc9180 {
    info: String,
    #[serde(rename = "ikmE")]
    ikm_e: String,
    sk_rm: String,
    pk_rm: String,
    enc: String,
    aad: String,
    pt: String,
    ct: String,
}

/// RFC 9180's test vectors: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
#[test]
fn the_vector_of_rfc_9180_seals_and_opens_byte_for_byte() {
    let vector: Rfc9180 = serde_json::from_str(include_str!("../../vectors/rfc9180.json")).unwrap();
    let (info, aad) = (unhex(&vector.info), unhex(&vector.aad));
    let secret = SecretKey::from_slice(&unhex(&vector.sk_rm)).unwrap();
    assert_eq!(public(PublicSuite::X25519, &secret).unwrap(), unhex(&vector.pk_rm));

    let mut drawn = Drawn(unhex(&vector.ikm_e));
    let (enc, ct) =
        seal(PublicSuite::X25519, &unhex(&vector.pk_rm), (&info, &aad), &unhex(&vector.pt), &mut drawn)
            .unwrap();
    assert_eq!(enc, unhex(&vector.enc));
    assert_eq!(ct, unhex(&vector.ct));

    let opened = open(PublicSuite::X25519, &secret, &enc, (&info, &aad), &ct).unwrap();
    assert_eq!(opened.expose(), unhex(&vector.pt));
}

#[derive(Deserialize)]
struct XWingVectors {
    vectors: Vec<XWingVector>,
}

#[derive(Deserialize)]
struct XWingVector {
    eseed: String,
    ss: String,
    sk: String,
    pk: String,
    ct: String,
}

/// draft-connolly-cfrg-xwing-kem, Appendix C.
#[test]
fn the_vectors_of_x_wing_encapsulate_and_decapsulate_byte_for_byte() {
    let file: XWingVectors = serde_json::from_str(include_str!("../../vectors/xwing.json")).unwrap();
    assert_eq!(file.vectors.len(), 3);
    for vector in file.vectors {
        let seed = SecretKey::from_slice(&unhex(&vector.sk)).unwrap();
        assert_eq!(public(PublicSuite::XWing, &seed).unwrap(), unhex(&vector.pk));

        let key = <XWing as hpke::Kem>::PublicKey::from_bytes(&unhex(&vector.pk)).unwrap();
        let (shared, enc) = XWing::encap_with_rng(&key, None, &mut Drawn(unhex(&vector.eseed))).unwrap();
        assert_eq!(shared.0.as_slice(), unhex(&vector.ss));
        assert_eq!(enc.to_bytes().as_slice(), unhex(&vector.ct));

        let secret = <XWing as hpke::Kem>::PrivateKey::from_bytes(seed.expose()).unwrap();
        let shared = XWing::decap(&secret, None, &enc).unwrap();
        assert_eq!(shared.0.as_slice(), unhex(&vector.ss));
    }
}
