#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::sync::mpsc;

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::*;

fn object(name: &str, data: Value) -> Value {
    let metadata =
        json!({"name": name, "namespace": "team-a", "resourceVersion": "1", "managedFields": [{}]});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

/// Answers the list with `items`, then the watch with `events` and holds it open.
fn api_server(items: Vec<Value>, events: Vec<Value>) -> Client {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            if request.uri().query().is_some_and(|query| query.contains("watch=")) {
                if !held.is_empty() {
                    held.push(send);
                    continue;
                }
                let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
                send.send_response(Response::new(Body::from(lines.into_bytes())));
                // The next watch stays unanswered.
                let (_, unanswered) = handle.next_request().await.unwrap();
                held.push(unanswered);
            } else {
                let list = json!({"kind": "ConfigMapList", "apiVersion": "v1",
                    "metadata": {"resourceVersion": "1"}, "items": items});
                send.send_response(Response::new(Body::from(list.to_string().into_bytes())));
            }
        }
    });
    Client::new(service, "default")
}

fn names(store: &Store<ConfigMap>) -> Vec<String> {
    let mut names: Vec<_> = store.state().iter().map(|object| object.name_any()).collect();
    names.sort();
    names
}

/// T45: one object written past validation, in the list and in the watch.
#[tokio::test]
async fn a_malformed_object_is_left_out_and_everything_else_goes_on() {
    let client = api_server(
        vec![object("good", json!({"k": "v"})), object("bad", json!("no map")), object("turns", json!({}))],
        vec![
            json!({"type": "MODIFIED", "object": object("turns", json!([1]))}),
            json!({"type": "ADDED", "object": object("late", json!({}))}),
        ],
    );
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let (seen, events) = mpsc::channel();
    let store = observed_store::<ConfigMap>(
        Api::all(client),
        StoreOptions::default(),
        &readiness,
        &shutdown,
        move |event| {
            if let Event::Delete(object) | Event::Apply(object) = event {
                let deleted = matches!(event, Event::Delete(_));
                seen.send((object.name_any(), deleted)).unwrap();
            }
        },
    );
    assert!(!readiness.is_ready(), "nothing is listed yet");
    store.wait_until_ready().await.unwrap();
    let received =
        tokio::task::spawn_blocking(move || [events.recv().unwrap(), events.recv().unwrap()]).await;
    assert_eq!(received.unwrap(), [("turns".to_owned(), true), ("late".to_owned(), false)]);
    assert_eq!(names(&store), ["good", "late"], "what turned malformed does not stay in force");
    assert!(readiness.is_ready());
    assert!(store.state().iter().all(|object| object.metadata.managed_fields.is_none()));
    shutdown.request();
}
