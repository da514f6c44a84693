//! Counters in the text that Prometheus reads.

use crate::install::NAMESPACE;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

/// The text of all metrics of a component's one pod that runs.
///
/// # Errors
/// If there is none, or it does not answer.
pub async fn component(client: &Client, name: &str) -> Result<String> {
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/component={name}"));
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE).list(&selector).await?;
    let address = pods
        .items
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .find_map(|pod| pod.status.as_ref()?.pod_ip.clone())
        .with_context(|| format!("no {name} has an address"))?;
    of(&address).await
}

/// The text of the pod with this address.
///
/// # Errors
/// If it does not answer.
pub async fn of(address: &str) -> Result<String> {
    let http = Http::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = http.get(format!("http://{address}:8080/metrics").parse()?).await.context("scrape")?;
    if !response.status().is_success() {
        bail!("the admin port answered {}", response.status());
    }
    let body = response.into_body().collect().await.context("read metrics")?.to_bytes();
    String::from_utf8(body.into()).context("metrics are no text")
}

/// Requests to the API server that changed objects of Coffer or rights, since it started.
///
/// # Errors
/// If the API server does not answer.
pub async fn writes(client: &Client) -> Result<f64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = client.request_text(request).await.context("scrape the API server")?;
    Ok(["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"]
        .iter()
        .flat_map(|verb| {
            ["coffer.dev", "rbac.authorization.k8s.io"].map(|group| [("verb", *verb), ("group", group)])
        })
        .map(|labels| sum(&text, "apiserver_request_total", &labels))
        .sum())
}

/// The sum of a metric over all series that have these labels.
#[must_use]
pub fn sum(text: &str, metric: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    text.lines()
        .filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} "))
        .filter(|(found, _)| labels.iter().all(|label| found.split(',').any(|one| one == label)))
        .filter_map(|(_, value)| value.split(' ').next()?.parse::<f64>().ok())
        // Not sum(), which is -0 where there is nothing.
        .fold(0.0, std::ops::Add::add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_the_labels_are_summed_and_no_others() {
        let text = "# HELP a_total b\na_total{kind=\"X\",verb=\"PUT\"} 2\na_total{kind=\"X\",verb=\"GET\"} 4\n\
                    a_total{kind=\"Y\",verb=\"PUT\"} 8\na_total_more{kind=\"X\",verb=\"PUT\"} 16\n";
        assert!((sum(text, "a_total", &[("kind", "X")]) - 6.0).abs() < f64::EPSILON);
        assert!((sum(text, "a_total", &[("kind", "X"), ("verb", "PUT")]) - 2.0).abs() < f64::EPSILON);
        assert!(sum(text, "a_total", &[("kind", "Z")]).abs() < f64::EPSILON);
    }
}
