//! Certificates and their authority near their end, and clocks.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use e2e::broker::Door;
use e2e::cluster::Cluster;
use e2e::fault;
use e2e::install::{self, NAMESPACE};
use e2e::layout::KUBELET_ROOT;
use e2e::load::Load;
use e2e::namespace::Namespace;
use e2e::team::INJECTED;
use e2e::wait;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer as _, X509Certificate};

const DAY: Duration = Duration::from_secs(24 * 3600);

const AUTHORITY: &str = "coffer-ca";

const SERVERS: [&str; 2] = ["coffer-webhook-tls", "coffer-broker-tls"];

fn text(secret: &Secret, key: &str) -> Result<String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).with_context(|| format!("no {key}"))?;
    Ok(String::from_utf8(bytes.0.clone())?)
}

/// The same server's certificate, of the same authority, as it would be 80 days later: ten days before its end.
async fn age(secrets: &Api<Secret>, name: &str) -> Result<String> {
    let authority = secrets.get(AUTHORITY).await?;
    let signer = KeyPair::from_pem(&text(&authority, "tls.key")?)?;
    let issuer = Issuer::from_ca_cert_pem(&text(&authority, "tls.crt")?, signer)?;
    let present = secrets.get(name).await?;
    let service = name.trim_end_matches("-tls");
    let mut names = vec![service.to_owned()];
    for suffix in ["", ".svc", ".svc.cluster.local"] {
        names.push(format!("{service}.{NAMESPACE}{suffix}"));
    }
    if service == "coffer-broker" {
        for headless in ["coffer-broker", "coffer-broker-peers"] {
            for suffix in [".svc", ".svc.cluster.local"] {
                names.push(format!("*.{headless}.{NAMESPACE}{suffix}"));
            }
        }
    }
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + (now - 80 * DAY);
    params.not_after = epoch + (now + 10 * DAY);
    let key = KeyPair::generate()?;
    let old = params.signed_by(&key, &issuer)?.pem();
    let data = json!({
        "tls.crt": BASE64.encode(&old),
        "tls.key": BASE64.encode(key.serialize_pem()),
        "ca.crt": BASE64.encode(text(&present, "ca.crt")?),
    });
    secrets.patch(name, &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await?;
    Ok(old)
}

/// The operator renews what is near its end, the servers take it up, and no request fails meanwhile.
#[tokio::test]
async fn certificates_near_their_end_are_renewed_and_no_request_fails() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "renewal", &[INJECTED], async |ns| {
        let secrets: Api<Secret> = Api::namespaced(cluster.client().await?, NAMESPACE);
        let seen = Load::during(ns, async |load| {
            load.goes_on().await?;
            load.expect("certificates near their end");
            for name in SERVERS {
                let old = age(&secrets, name).await?;
                let renewed = |found: Option<&Secret>| {
                    found.is_some_and(|found| text(found, "tls.crt").is_ok_and(|now| now != old))
                };
                wait::object(&secrets, name, "to be renewed", fault::RECOVERY, renewed).await?;
            }
            served(&cluster, &secrets).await?;
            load.goes_on().await
        })
        .await?;
        seen.unnoticed()
    })
    .await
}

/// The authority in place of which the operator makes the next, and then signs with it.
struct Authority<'a> {
    secrets: &'a Api<Secret>,
    cluster: &'a Cluster,
    configurations: Api<MutatingWebhookConfiguration>,
}

impl Authority<'_> {
    /// The present one with the same key and name, but from `from` to `to`, in days from now.
    async fn lasts(&self, from: i64, to: i64) -> Result<String> {
        let present = self.secrets.get(AUTHORITY).await?;
        let certificate = text(&present, "tls.crt")?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        let (_, parsed) = X509Certificate::from_der(&der)?;
        let name = parsed.subject().iter_common_name().next().context("the authority has no name")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name.as_str()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let day =
            |days: i64| Ok::<_, anyhow::Error>(Duration::from_secs(u64::try_from(now + days * 24 * 3600)?));
        params.not_before = epoch + day(from)?;
        params.not_after = epoch + day(to)?;
        let changed = params.self_signed(&KeyPair::from_pem(&text(&present, "tls.key")?)?)?.pem();
        let bundle = text(&present, "ca.crt")?.replace(certificate.trim_end(), changed.trim_end());
        let data = json!({"tls.crt": BASE64.encode(&changed), "ca.crt": BASE64.encode(bundle)});
        self.secrets.patch(AUTHORITY, &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await?;
        Ok(changed)
    }

    /// Until there is another one, and everybody who calls webhook or broker trusts it beside the one before.
    async fn next(&self, before: &str) -> Result<()> {
        let another = |found: Option<&Secret>| {
            found.is_some_and(|found| text(found, "tls.crt").is_ok_and(|now| now != before))
        };
        wait::object(self.secrets, AUTHORITY, "to be another authority", fault::RECOVERY, another).await?;
        let bundle = text(&self.secrets.get(AUTHORITY).await?, "ca.crt")?;
        ensure!(bundle.contains(before.trim_end()), "the authority before is trusted no more");
        let trusts = |found: Option<&MutatingWebhookConfiguration>| {
            let webhooks = found.and_then(|found| found.webhooks.as_deref()).unwrap_or_default();
            !webhooks.is_empty()
                && webhooks.iter().all(|webhook| {
                    webhook.client_config.ca_bundle.as_ref().is_some_and(|held| held.0 == bundle.as_bytes())
                })
        };
        wait::object(&self.configurations, "coffer", "to trust both", fault::RECOVERY, trusts).await?;
        wait::until("the node driver to see both", fault::RECOVERY, async || {
            let mut mounted = Vec::new();
            for pod in fault::pods(self.cluster, "node").await? {
                mounted.push(pod.uid().context("a pod has a uid")?);
            }
            let held = mounted.iter().all(|uid| {
                let file = format!("{KUBELET_ROOT}/pods/{uid}/volumes/kubernetes.io~configmap/ca/ca.crt");
                std::fs::read_to_string(file).is_ok_and(|held| held == bundle)
            });
            Ok(held.then_some(()))
        })
        .await
    }
}

/// An authority in its last year is followed by another, which is trusted first and signs later; no request fails.
#[tokio::test]
async fn an_authority_near_its_end_is_followed_by_another_and_no_request_fails() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "authority", &[INJECTED], async |ns| {
        let client = cluster.client().await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
        let authority = Authority { secrets: &secrets, cluster: &cluster, configurations: Api::all(client) };
        let seen = Load::during(ns, async |load| {
            load.goes_on().await?;
            load.expect("an authority near its end");
            let serving = [
                text(&secrets.get(SERVERS[0]).await?, "tls.crt")?,
                text(&secrets.get(SERVERS[1]).await?, "tls.crt")?,
            ];
            let before = authority.lasts(-3500, 150).await?;
            authority.next(&before).await?;
            load.goes_on().await?;
            for (name, held) in SERVERS.iter().zip(&serving) {
                ensure!(
                    text(&secrets.get(name).await?, "tls.crt")? == *held,
                    "{name}: signed by whom few trust yet"
                );
            }
            load.expect("the next authority, a day later");
            authority.lasts(-1, 3649).await?;
            for (name, held) in SERVERS.iter().zip(&serving) {
                let renewed = |found: Option<&Secret>| {
                    found.is_some_and(|found| text(found, "tls.crt").is_ok_and(|now| now != *held))
                };
                wait::object(&secrets, name, "to be signed by the next", fault::RECOVERY, renewed).await?;
            }
            served(&cluster, &secrets).await?;
            load.goes_on().await
        })
        .await?;
        seen.unnoticed()
    })
    .await
}

/// Wait until each server shows the certificate that its Secret holds.
async fn served(cluster: &Cluster, secrets: &Api<Secret>) -> Result<()> {
    let door = Door::find(cluster).await?;
    for (component, secret) in [("webhook", SERVERS[0]), ("broker", SERVERS[1])] {
        let expected = text(&secrets.get(secret).await?, "tls.crt")?;
        let expected = CertificateDer::from_pem_slice(expected.as_bytes())?;
        let name = format!("coffer-{component}.{NAMESPACE}.svc");
        for pod in fault::pods(cluster, component).await? {
            let door = door.of_pod(&fault::address(&pod)?);
            wait::until(
                &format!("the {component} to show its new certificate"),
                fault::RECOVERY,
                async || Ok((door.certificate(&name).await? == expected).then_some(())),
            )
            .await?;
        }
    }
    Ok(())
}

/// Each server compares its clock with the API server's and tells the difference; on one machine there is none.
#[tokio::test]
async fn each_server_tells_how_far_its_clock_is_from_the_api_server_s() -> Result<()> {
    let cluster = install::installed().await?;
    for component in ["operator", "webhook", "broker"] {
        let pod = fault::one_pod(&cluster, component).await?;
        let told = wait::until("the clocks to be compared", wait::SOON, async || {
            let metrics = fault::admin(&pod, "/metrics").await?;
            let line = metrics.lines().find_map(|line| line.strip_prefix("coffer_clock_skew_seconds "));
            Ok(line.and_then(|value| value.parse::<f64>().ok()).filter(|skew| !skew.is_nan()))
        })
        .await?;
        ensure!(told.abs() < 1.0, "the {component} is {told} s away from a clock that is the same");
    }
    Ok(())
}
