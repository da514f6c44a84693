//! Certificates near their end, and clocks.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use e2e::broker::Door;
use e2e::cluster::Cluster;
use e2e::fault;
use e2e::install::{self, NAMESPACE};
use e2e::load::Load;
use e2e::namespace::Namespace;
use e2e::team::INJECTED;
use e2e::wait;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 3600);

const SERVERS: [&str; 2] = ["coffer-webhook-tls", "coffer-broker-tls"];

fn text(secret: &Secret, key: &str) -> Result<String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).with_context(|| format!("no {key}"))?;
    Ok(String::from_utf8(bytes.0.clone())?)
}

/// The same server's certificate, of the same authority, as it would be 80 days later: ten days before its end.
async fn age(secrets: &Api<Secret>, name: &str) -> Result<String> {
    let authority = secrets.get("coffer-ca").await?;
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
