//! The cluster's certificates and kubeconfigs.
//!
//! Every key is made here, lives below the cluster's state folder, readable by
//! root only, and is gone with the cluster.

use super::network::{API_SERVICE_IP, NODE_IP, NODE_NAME};
use crate::layout::{Layout, write_file};
use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Usage, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where clients find the API server.
#[must_use]
pub fn api_url() -> String {
    format!("https://{NODE_IP}:6443")
}

/// A pair of PEM texts.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The clients that the components are, with the groups RBAC knows them by.
const CLIENTS: [(&str, &str, &[&str]); 6] = [
    ("admin", "admin", &["system:masters"]),
    ("controller-manager", "system:kube-controller-manager", &[]),
    ("scheduler", "system:kube-scheduler", &[]),
    ("proxy", "system:kube-proxy", &[]),
    ("kubelet", "system:node:node", &["system:nodes"]),
    ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", &["system:masters"]),
];

/// Make what is missing of the cluster's keys, certificates and kubeconfigs.
///
/// # Errors
/// If a file cannot be written or a certificate not be made.
pub fn ensure(layout: &Layout) -> Result<()> {
    let folder = layout.pki();
    let done = folder.join("complete");
    if done.exists() {
        return Ok(());
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).context("close the folder of keys")?;
    for authority in ["ca", "front-proxy-ca"] {
        let pair = make_authority(authority)?;
        store(&folder, authority, &pair)?;
    }
    for (file, name, groups) in CLIENTS {
        store(&folder, file, &client(layout, name, groups)?)?;
    }
    store(
        &folder,
        "front-proxy",
        &sign(&folder, "front-proxy-ca", subject("front-proxy-client", &[]), Usage::ClientAuth, &[])?,
    )?;
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
        "127.0.0.1",
        API_SERVICE_IP,
        NODE_IP,
    ];
    store(
        &folder,
        "apiserver",
        &sign(&folder, "ca", subject("kube-apiserver", &[]), Usage::ServerAuth, &names)?,
    )?;
    let names = [NODE_NAME, "127.0.0.1", NODE_IP];
    store(
        &folder,
        "kubelet-server",
        &sign(&folder, "ca", subject(NODE_NAME, &[]), Usage::ServerAuth, &names)?,
    )?;
    let tokens = KeyPair::generate().context("make the key that signs ServiceAccount tokens")?;
    store(&folder, "sa", &Pair { certificate: tokens.public_key_pem(), key: tokens.serialize_pem() })?;
    for (identity, ..) in CLIENTS {
        let pair = load(&folder, identity)?;
        write_kubeconfig(layout, &layout.kubeconfig(identity), &pair, None)?;
    }
    write_file(&done, "")
}

/// A client certificate of the cluster for a user with these groups.
///
/// # Errors
/// If the cluster's authority cannot be read.
pub fn client(layout: &Layout, user: &str, groups: &[&str]) -> Result<Pair> {
    sign(&layout.pki(), "ca", subject(user, groups), Usage::ClientAuth, &[])
}

/// Write a kubeconfig that holds everything it needs, readable by its owner only.
///
/// # Errors
/// If it cannot be written, or the cluster's authority not be read.
pub fn write_kubeconfig(layout: &Layout, path: &Path, pair: &Pair, namespace: Option<&str>) -> Result<()> {
    let authority = fs::read(layout.pki().join("ca.crt")).context("read the cluster's authority")?;
    let mut context = json!({"cluster": "coffer-e2e", "user": "user"});
    if let Some(namespace) = namespace {
        context["namespace"] = json!(namespace);
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "coffer-e2e", "cluster": {
            "server": api_url(),
            "certificate-authority-data": BASE64.encode(authority),
        }}],
        "users": [{"name": "user", "user": {
            "client-certificate-data": BASE64.encode(&pair.certificate),
            "client-key-data": BASE64.encode(&pair.key),
        }}],
        "contexts": [{"name": "coffer-e2e", "context": context}],
        "current-context": "coffer-e2e",
    });
    write_secret(path, serde_json::to_string_pretty(&config)?)
}

fn subject(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for group in groups {
        subject.push(DnType::OrganizationName, *group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn make_authority(name: &str) -> Result<Pair> {
    let key = KeyPair::generate().context("make an authority's key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    let certificate = params.self_signed(&key).context("sign an authority")?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn sign(
    folder: &Path,
    authority: &str,
    subject: DistinguishedName,
    usage: Usage,
    names: &[&str],
) -> Result<Pair> {
    let authority = load(folder, authority)?;
    let issuer = Issuer::from_ca_cert_pem(
        &authority.certificate,
        KeyPair::from_pem(&authority.key).context("read the authority's key")?,
    )
    .context("read the authority")?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).context("name a certificate")?;
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    let key = KeyPair::generate().context("make a key")?;
    let certificate = params.signed_by(&key, &issuer).context("sign a certificate")?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn files(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")))
}

fn store(folder: &Path, name: &str, pair: &Pair) -> Result<()> {
    let (certificate, key) = files(folder, name);
    write_file(&certificate, &pair.certificate)?;
    write_secret(&key, &pair.key)
}

fn load(folder: &Path, name: &str) -> Result<Pair> {
    let (certificate, key) = files(folder, name);
    let read = |path: PathBuf| fs::read_to_string(&path).with_context(|| format!("read {}", path.display()));
    Ok(Pair { certificate: read(certificate)?, key: read(key)? })
}

fn write_secret(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, "")
        .and_then(|()| fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)))
        .and_then(|()| fs::write(&draft, content))
        .and_then(|()| fs::rename(&draft, path))
        .with_context(|| format!("write {}", path.display()))
}
