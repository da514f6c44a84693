//! Reading back what lies in the Secrets. What cannot be read counts as absent and is made anew: unlike the
//! custodian root, a certificate can always be replaced.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::{FromDer as _, X509Certificate},
};

/// An authority that callers trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Its certificate.
    pub pem: String,
    /// Its subject key identifier.
    pub key_id: Vec<u8>,
    /// When it ends.
    pub not_after: Timestamp,
}

/// The authority in Secret `coffer-ca`, and whom callers trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFacts {
    /// Its subject key identifier.
    pub key_id: Vec<u8>,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// The bundle: this authority first, then older ones.
    pub trusted: Vec<Trusted>,
}

/// A serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingFacts {
    /// Its DNS names.
    pub names: BTreeSet<String>,
    /// The authority that signed it.
    pub issuer_key_id: Vec<u8>,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Reads the authority. `None` when certificate or key cannot be read or do not belong together.
pub fn read_authority(certificate: &[u8], key: &[u8], bundle: &[u8]) -> Option<AuthorityFacts> {
    let pem = first_pem(certificate)?;
    let (_, parsed) = X509Certificate::from_der(&pem.contents).ok()?;
    belongs(&parsed, key).then_some(())?;
    let present = trusted(&pem)?;
    let (key_id, not_after) = (present.key_id.clone(), present.not_after);
    let not_before = timestamp(parsed.validity().not_before.timestamp())?;
    let mut all = vec![present];
    for pem in Pem::iter_from_buffer(bundle).flatten() {
        if let Some(older) = trusted(&pem).filter(|ca| all.iter().all(|known| known.key_id != ca.key_id)) {
            all.push(older);
        }
    }
    Some(AuthorityFacts { key_id, not_before, not_after, trusted: all })
}

/// Reads a serving certificate. `None` when certificate or key cannot be read or do not belong together.
pub fn read_serving(certificate: &[u8], key: &[u8]) -> Option<ServingFacts> {
    let pem = first_pem(certificate)?;
    let (_, parsed) = X509Certificate::from_der(&pem.contents).ok()?;
    belongs(&parsed, key).then_some(())?;
    let names = parsed.subject_alternative_name().ok()??.value.general_names.iter();
    let names = names.filter_map(|name| {
        if let GeneralName::DNSName(name) = name { Some(String::from(*name)) } else { None }
    });
    Some(ServingFacts {
        names: names.collect(),
        issuer_key_id: issuer_key_id(&parsed)?,
        not_before: timestamp(parsed.validity().not_before.timestamp())?,
        not_after: timestamp(parsed.validity().not_after.timestamp())?,
    })
}

fn trusted(pem: &Pem) -> Option<Trusted> {
    let (_, parsed) = X509Certificate::from_der(&pem.contents).ok()?;
    Some(Trusted {
        pem: encode(&pem.contents),
        key_id: subject_key_id(&parsed)?,
        not_after: timestamp(parsed.validity().not_after.timestamp())?,
    })
}

fn first_pem(text: &[u8]) -> Option<Pem> {
    Pem::iter_from_buffer(text).next()?.ok().filter(|pem| pem.label == "CERTIFICATE")
}

/// Whether the private key is that of the certificate.
fn belongs(certificate: &X509Certificate<'_>, key: &[u8]) -> bool {
    let key = std::str::from_utf8(key).ok().and_then(|key| KeyPair::from_pem(key).ok());
    key.is_some_and(|key| key.der_bytes() == certificate.public_key().subject_public_key.data.as_ref())
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
        Some(id.0.to_vec())
    })
}

fn issuer_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else { return None };
        id.key_identifier.as_ref().map(|id| id.0.to_vec())
    })
}

fn timestamp(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

fn encode(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
