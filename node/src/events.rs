//! Tells the owner of a pod, in the pod's own events, what happened to its credentials while it runs.

use std::time::Duration;

use coffer_broker_api::PodReference;
use coffer_runtime::within;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Somebody who is told.
pub trait Announce: Send + Sync + 'static {
    /// A running pod may no longer use `connection`, as its volume names it. `note` says so and why, in a sentence for
    /// people. Returns at once; an announcement that fails is logged and not repeated.
    fn revoked(&self, pod: PodReference, connection: &str, note: String);
}

/// [`Announce`] by Kubernetes events of reason `CredentialRevoked`.
pub struct PodEvents {
    recorder: Recorder,
}

impl PodEvents {
    /// In the name of the driver pod `instance`.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: "coffer-node".to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter) }
    }
}

impl Announce for PodEvents {
    fn revoked(&self, pod: PodReference, connection: &str, note: String) {
        let related = related(connection, &pod.namespace);
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            let event = Event {
                type_: EventType::Warning,
                reason: "CredentialRevoked".to_owned(),
                note: Some(shortened(note)),
                action: "Republish".to_owned(),
                // Events that differ in nothing but their note are counted as one, and only the first note is kept.
                secondary: Some(related),
            };
            let about = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(pod.namespace),
                name: Some(pod.name.clone()),
                uid: Some(pod.uid),
                ..ObjectReference::default()
            };
            if let Err(error) = within(Duration::from_secs(5), recorder.publish(&event, &about)).await {
                tracing::warn!(pod = pod.name, %error, "the event CredentialRevoked could not be written");
            }
        });
    }
}

/// The Connection; by its alias, where a volume that was written by hand names it so.
fn related(connection: &str, pod_namespace: &str) -> ObjectReference {
    let (namespace, name) = connection.split_once('/').unwrap_or((pod_namespace, connection));
    ObjectReference {
        api_version: Some("coffer.dev/v1alpha1".to_owned()),
        kind: Some("Connection".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

fn shortened(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE - '…'.len_utf8()).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_its_connection_so_that_two_of_one_pod_are_not_taken_for_one() {
        let of = |connection| {
            let found = related(connection, "team-a");
            (found.namespace.unwrap_or_default(), found.name.unwrap_or_default())
        };
        assert_eq!(of("shared/github"), ("shared".to_owned(), "github".to_owned()));
        assert_eq!(of("slack"), ("team-a".to_owned(), "slack".to_owned()));
    }

    #[test]
    fn a_note_fits_into_an_event_whatever_its_letters() {
        assert_eq!(shortened("short".into()), "short");
        let long = shortened("ä".repeat(600));
        assert!(long.len() <= MAX_NOTE && long.ends_with("ä…"));
    }
}
