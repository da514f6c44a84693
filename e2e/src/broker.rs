//! The broker's door as any client could knock: any tokens, any headers, any body.

use crate::bench::load::Target;
use crate::cluster::Cluster;
use crate::install::NAMESPACE;
use crate::service;
use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use coffer_broker_api::{
    DOOR, ErrorBody, PodReference, RELEASE_PATH, ReleaseRequest, ReleaseResponse, Released, TOKEN_AUDIENCE,
    VERSION,
};
use coffer_keys::answer::{AnswerContext, EphemeralKey};
use getrandom::rand_core::UnwrapErr;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The broker's Service, reached from the node.
pub struct Door {
    address: String,
    tls: TlsConnector,
}

/// One request with the key that opens its answer.
pub struct Knock {
    /// What is sent; a test may change it.
    pub request: ReleaseRequest,
    key: EphemeralKey,
}

/// What came back.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    body: Bytes,
}

impl Door {
    /// Find the Service and the authority that its certificate is from.
    ///
    /// # Errors
    /// If Coffer is not installed.
    pub async fn find(cluster: &Cluster) -> Result<Self> {
        let tls = Arc::new(trust(&cluster.client().await?).await?);
        Ok(Self { address: service::address(cluster, "broker").await?, tls: TlsConnector::from(tls) })
    }

    /// The same door for a load.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            address: self.address.clone(),
            host: format!("coffer-broker.{NAMESPACE}.svc"),
            tls: self.tls.config().clone(),
        }
    }

    /// The same broker, by the address of one of its pods.
    #[must_use]
    pub fn of_pod(&self, address: &str) -> Self {
        Self { address: format!("{address}:8443"), tls: self.tls.clone() }
    }

    /// The certificate that a server of this installation shows for a name, if it is to be trusted.
    ///
    /// # Errors
    /// If there is no answer, or it is not to be trusted.
    pub async fn certificate(&self, name: &str) -> Result<CertificateDer<'static>> {
        let stream = TcpStream::connect(&self.address).await.context("reach the server")?;
        let name = ServerName::try_from(name.to_owned())?;
        let stream = self.tls.connect(name, stream).await.context("trust the server")?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        Ok(shown.context("the server shows no certificate")?.clone().into_owned())
    }

    /// Send a request with these headers.
    ///
    /// # Errors
    /// If there is no answer at all.
    pub async fn ask(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Answer> {
        let name = format!("coffer-broker.{NAMESPACE}.svc");
        let stream = TcpStream::connect(&self.address).await.context("reach the broker")?;
        let stream = self
            .tls
            .connect(ServerName::try_from(name.clone())?, stream)
            .await
            .context("trust the broker")?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("speak HTTP")?;
        // Ends with the sender.
        tokio::spawn(connection);
        let mut request =
            http::Request::post(RELEASE_PATH).header("host", name).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).context("make a request")?;
        let response = sender.send_request(request).await.context("ask the broker")?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.context("read the broker's answer")?.to_bytes();
        Ok(Answer { status, body })
    }

    /// Ask as a pod would that speaks for itself.
    ///
    /// # Errors
    /// If there is no answer at all.
    pub async fn ask_as(&self, token: &str, knock: &Knock) -> Result<Answer> {
        self.ask(&[("authorization", &format!("Bearer {token}"))], serde_json::to_vec(&knock.request)?).await
    }
}

/// What trusts the certificates of Coffer's servers, and no others.
///
/// # Errors
/// If Coffer is not installed.
pub async fn trust(client: &Client) -> Result<rustls::ClientConfig> {
    let authority = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE).get("coffer-ca").await?;
    let pem =
        authority.data.and_then(|mut data| data.remove("ca.crt")).context("ConfigMap coffer-ca is empty")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context("read the authority")?).context("trust the authority")?;
    }
    Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

impl Knock {
    /// A request for these Connections by this pod.
    ///
    /// # Errors
    /// If the kernel gives no randomness.
    pub fn new(pod: &Pod, connections: &[&str]) -> Result<Self> {
        let key = EphemeralKey::generate(&mut UnwrapErr(getrandom::SysRng));
        let mut id = [0; 16];
        getrandom::fill(&mut id).context("draw a request id")?;
        let request = ReleaseRequest {
            v: VERSION,
            request_id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            connections: connections.iter().map(ToString::to_string).collect(),
            public_key: key.public().to_base64(),
            pod: PodReference {
                namespace: pod.namespace().unwrap_or_default(),
                name: pod.name_any(),
                uid: pod.uid().unwrap_or_default(),
            },
        };
        Ok(Self { request, key })
    }

    /// Open an answer as the ServiceAccount that asked.
    ///
    /// # Errors
    /// If it is a refusal, or does not open.
    pub fn open(&self, answer: &Answer, account: &ServiceAccount) -> Result<Released> {
        if answer.status != 200 {
            bail!("the broker refused with {}: {}", answer.status, answer.message());
        }
        let response: ReleaseResponse =
            serde_json::from_slice(&answer.body).context("understand the answer")?;
        let sealed = BASE64.decode(&response.sealed).context("decode the answer")?;
        let namespace = account.namespace().unwrap_or_default();
        let opened = self
            .key
            .open(
                &AnswerContext {
                    door: DOOR,
                    request_id: &self.request.request_id,
                    requester_username: &format!("system:serviceaccount:{namespace}:{}", account.name_any()),
                    requester_uid: &account.uid().unwrap_or_default(),
                    request_sha256: &Sha256::digest(self.request.canonical()).into(),
                },
                &sealed,
            )
            .context("open the answer")?;
        Released::decode(opened.expose()).context("decode what was released")
    }
}

impl Answer {
    /// What a refusal says.
    #[must_use]
    pub fn message(&self) -> String {
        serde_json::from_slice::<ErrorBody>(&self.body)
            .map_or_else(|_| String::from_utf8_lossy(&self.body).into_owned(), |error| error.message)
    }

    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A token of a pod's ServiceAccount for the broker, bound to the pod as the kubelet's are.
///
/// # Errors
/// If the API server refuses.
pub async fn pod_token(accounts: &Api<ServiceAccount>, pod: &Pod) -> Result<String> {
    token_for(accounts, pod, TOKEN_AUDIENCE).await
}

/// The same for any audience.
///
/// # Errors
/// If the API server refuses.
pub async fn token_for(accounts: &Api<ServiceAccount>, pod: &Pod, audience: &str) -> Result<String> {
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let request: TokenRequest = serde_json::from_value(json!({"spec": {
        "audiences": [audience],
        "expirationSeconds": 600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()},
    }}))?;
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    Ok(answer.status.context("a token request without an answer")?.token)
}
