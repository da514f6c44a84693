use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures::{account, connection, member, vault},
    state::{Look, Patience},
};

/// Answers each list with what exists, each first watch with one event about a Connection, and holds the rest open.
fn api_server() -> Client {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut held = Vec::new();
        let mut told = false;
        while let Some((request, send)) = handle.next_request().await {
            let path = request.uri().path().to_owned();
            let watching = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            if watching && (told || !path.ends_with("/connections")) {
                held.push(send);
                continue;
            }
            told |= watching;
            let body = match path.as_str() {
                "/apis/coffer.dev/v1alpha1/connections" if watching => later(),
                "/apis/coffer.dev/v1alpha1/connections" => list(&[]),
                "/apis/coffer.dev/v1alpha1/vaults" => list(&[vault("a", "team", json!({}), json!({}))]),
                "/apis/coffer.dev/v1alpha1/vaultmembers" => {
                    list(&[member("a", "web", account("team", "web", "member"), "Active")])
                }
                "/api/v1/namespaces" => list(&[json!({"metadata": {"name": "a", "labels": {"team": "x"}}})]),
                other => panic!("no right to read {other}"),
            };
            send.send_response(Response::new(Body::from(body.into_bytes())));
        }
    });
    Client::new(service, "default")
}

fn list(items: &[Value]) -> String {
    let items: Vec<Value> = items
        .iter()
        .map(|item| {
            let mut item = item.clone();
            item["metadata"]["resourceVersion"] = "1".into();
            item
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
        .to_string()
}

fn later() -> String {
    let spec = json!({"vault": {"name": "team"}, "sealedData": {"token": "c2VhbGVk"}});
    let mut object = connection("a", "github", spec);
    object["metadata"]["resourceVersion"] = "2".into();
    object["metadata"]["annotations"] = json!({"a": "b"});
    json!({"type": "ADDED", "object": object}).to_string() + "\n"
}

/// T26: what says that a listed owner's ServiceAccount was made again is kept, without its conditions.
#[test]
fn a_slimmed_member_still_tells_that_its_account_changed() {
    let spec = json!({"owners": [{"serviceAccount": {"name": "web"}}]});
    let vault: Vault = serde_json::from_value(vault("a", "team", spec, json!({}))).expect("a Vault");
    let mut object = member("a", "web", account("team", "web", "owner"), "Invited");
    object["status"]["custody"] = "Brokered".into();
    let mut web: VaultMember = serde_json::from_value(object).expect("a VaultMember");
    web.slim();
    let now = "2026-01-01T00:00:30Z".parse().expect("a time");
    let views = coffer_policy::identity::from_status(&vault, &[web], now);
    assert!(views.iter().all(|view| !view.is_active()), "{views:?}");
}

/// The four watches are all that the program's role allows; what they tell reaches whoever waits.
#[tokio::test]
async fn the_tables_follow_the_cluster_and_hold_no_sealed_data() {
    let directory =
        Directory::new(Patience { lag: Duration::from_secs(20), making: Duration::from_secs(20) });
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    watch_cluster(&directory, &api_server(), &readiness, &shutdown);
    assert!(!readiness.is_ready(), "nothing is listed yet");
    let found = directory
        .wait(|tables| {
            let connection = tables.connections_of(&Key::new("a", "team")).next().cloned();
            let vault = tables.vault(&Key::new("a", "team")).cloned();
            let member = tables.members_of_account(&Key::new("a", "web")).next().cloned();
            let labels = tables.namespace_labels("a");
            match (connection, vault, member, labels.is_empty()) {
                (Some(connection), Some(_), Some(_), false) => Look::Settled(Some((connection, labels))),
                _ => Look::Until(None),
            }
        })
        .await;
    let (connection, labels) = found.expect("within patience");
    assert!(connection.spec.sealed_data.is_empty() && connection.metadata.annotations.is_none());
    assert_eq!(labels.get("team").map(String::as_str), Some("x"));
    assert!(readiness.is_ready());
    shutdown.request();
}
