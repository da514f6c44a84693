//! Making keys and certificates: ECDSA P-256, by rcgen.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{AUTHORITY_LIFETIME, BACKDATE, SERVING_LIFETIME, Server};

/// A certificate and its private key, both PEM. Not printable.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Why nothing could be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The authority's key or certificate cannot be used.
    #[error("the authority in Secret coffer-ca cannot sign")]
    Authority(#[source] rcgen::Error),
    /// Making the key or certificate failed.
    #[error("could not make a certificate for {0}")]
    Make(String, #[source] rcgen::Error),
}

/// Makes a new authority that begins now.
///
/// # Errors
/// Only when the system gives no randomness.
pub fn issue_authority(now: Timestamp) -> Result<Issued, IssueError> {
    let failed = |error| IssueError::Make(String::from("the authority"), error);
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, format!("Coffer authority {}", now.strftime("%F %T")));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, AUTHORITY_LIFETIME);
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a serving certificate, signed by the authority.
///
/// # Errors
/// When the authority's key or certificate cannot be read.
pub fn issue_serving(server: &Server, authority: &Issued, now: Timestamp) -> Result<Issued, IssueError> {
    let failed = |error| IssueError::Make(String::from(server.secret), error);
    let signer = KeyPair::from_pem(&authority.key).map_err(IssueError::Authority)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer).map_err(IssueError::Authority)?;
    let key = KeyPair::generate().map_err(failed)?;
    let names: Vec<String> = server.names.iter().cloned().collect();
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, server.secret.trim_end_matches("-tls"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, SERVING_LIFETIME);
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: SignedDuration) {
    let seconds = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(now - BACKDATE);
    params.not_after = epoch + seconds(now + lifetime);
}
