//! The serving certificate: loaded from a mounted Secret and swapped while serving.

use std::{io, path::Path, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::{
    self,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::Check;

/// Why the files give no certificate. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is not there (yet) or cannot be read.
    #[error("read {path}: {kind}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// `tls.crt` holds no PEM certificate.
    #[error("tls.crt: expected PEM certificates, leaf first")]
    ParseChain,
    /// `tls.key` holds no PEM private key.
    #[error("tls.key: expected one PEM private key (PKCS#8, PKCS#1 or SEC1)")]
    ParseKey,
    /// Each is well-formed; together they are no key pair. Seen for a moment when files are written one by one.
    #[error("tls.crt and tls.key do not belong together: {0}")]
    Match(rustls::Error),
}

/// What the two files held at one moment.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    async fn read(dir: &Path) -> Result<Self, CertificateError> {
        let read = async |name| {
            let path = dir.join(name);
            match tokio::fs::read(&path).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(CertificateError::Read { path, kind: error.kind() }),
            }
        };
        Ok(Self { chain: read("tls.crt").await?, key: read("tls.key").await? })
    }

    fn certified_key(&self) -> Result<CertifiedKey, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(&self.chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateError::ParseChain)?;
        if chain.is_empty() {
            return Err(CertificateError::ParseChain);
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| CertificateError::ParseKey)?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(CertificateError::Match)
    }
}

/// The certificate that handshakes use now.
#[derive(Clone)]
pub(super) struct Current {
    key: Arc<ArcSwap<CertifiedKey>>,
    files: Files,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }
}

/// Reads the files until they make a key pair.
pub(super) async fn wait_for(dir: &Path, every: Duration, check: &Check) -> Current {
    loop {
        match load(dir).await {
            Ok(current) => return current,
            Err(error) => check.not_ready(format!("waiting for a certificate: {error}")),
        }
        tokio::time::sleep(every).await;
    }
}

async fn load(dir: &Path) -> Result<Current, CertificateError> {
    let files = Files::read(dir).await?;
    let key = files.certified_key()?;
    Ok(Current { key: Arc::new(ArcSwap::from_pointee(key)), files })
}

impl Current {
    /// Swaps the certificate whenever the files change into a key pair; a broken change keeps the old one.
    pub(super) async fn keep_fresh(mut self, dir: PathBuf, every: Duration) {
        let mut refused = None;
        loop {
            tokio::time::sleep(every).await;
            let files = match Files::read(&dir).await {
                Ok(files) if files == self.files => {
                    refused = None;
                    continue;
                }
                Ok(files) => files,
                Err(error) => {
                    tracing::warn!(%error, "certificate cannot be read again; the old one stays");
                    continue;
                }
            };
            if refused.as_ref() == Some(&files) {
                continue;
            }
            match files.certified_key() {
                Ok(key) => {
                    self.key.store(Arc::new(key));
                    self.files = files;
                    refused = None;
                    tracing::info!("serving certificate replaced");
                }
                Err(error) => {
                    tracing::warn!(%error, "new certificate is unusable; the old one stays");
                    refused = Some(files);
                }
            }
        }
    }
}
