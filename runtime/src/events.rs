//! Events: a courtesy beside the conditions. They are published in the background, few at a time.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::Semaphore;

/// How many are under way at once. Each takes a connection to the API server: a thousand new Connections would
/// open as many, and hold their memory long after.
const AT_ONCE: usize = 2;

/// Something worth an event on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should look.
    pub warning: bool,
    /// Whether it stands alone; else it is counted with the one of the same reason before it, under that one's note.
    pub alone: bool,
    /// In CamelCase.
    pub reason: &'static str,
    /// What happened. Never a value.
    pub note: String,
}

impl Notice {
    /// Nothing to worry about.
    pub fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self { warning: false, alone: true, reason, note: note.into() }
    }

    /// Somebody should look.
    pub fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self { warning: true, alone: false, reason, note: note.into() }
    }

    /// Somebody should look at this very one: each has a note of its own.
    pub fn alarm(reason: &'static str, note: impl Into<String>) -> Self {
        Self { warning: true, alone: true, reason, note: note.into() }
    }
}

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
    action: &'static str,
    /// Groups a warning that is said again with the ones before. It remembers each for six minutes, so only what may
    /// come again goes through it.
    warnings: Recorder,
    turns: Arc<Semaphore>,
}

impl Events {
    /// Events of this program, at this replica, about what it does.
    pub fn new(client: Client, program: &str, replica: &str, action: &'static str) -> Self {
        let reporter = Reporter { controller: program.into(), instance: Some(replica.into()) };
        let warnings = Recorder::new(client.clone(), reporter.clone());
        Self { client, reporter, action, warnings, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Publishes in the background, in order. What cannot be published is logged.
    pub fn announce(&self, about: ObjectReference, notices: Vec<Notice>) {
        let events = self.clone();
        tokio::spawn(async move {
            let Ok(_turn) = events.turns.acquire().await else { return };
            for notice in notices {
                events.publish(&about, notice).await;
            }
        });
    }

    async fn publish(&self, about: &ObjectReference, notice: Notice) {
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: String::from(notice.reason),
            note: Some(shorten(&notice.note)),
            action: String::from(self.action),
            secondary: None,
        };
        let published = if notice.alone {
            Recorder::new(self.client.clone(), self.reporter.clone()).publish(&event, about).await
        } else {
            self.warnings.publish(&event, about).await
        };
        if let Err(error) = published {
            tracing::debug!(%error, reason = notice.reason, "event not published");
        }
    }
}

/// An event's note holds 1 KiB.
fn shorten(note: &str) -> String {
    const LIMIT: usize = 1000;
    if note.len() <= LIMIT {
        return String::from(note);
    }
    let end = (0..=LIMIT).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Mutex};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use tokio::sync::Notify;

    use super::*;

    /// An API server that answers an event with itself once `gate` is opened, and what it was sent.
    struct Server {
        seen: Mutex<Vec<Method>>,
        asked: Notify,
        gate: Semaphore,
    }

    fn events() -> (Events, Arc<Server>) {
        let server =
            Arc::new(Server { seen: Mutex::default(), asked: Notify::new(), gate: Semaphore::new(0) });
        let behind = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = behind.clone();
            async move {
                server.seen.lock().expect("nobody panics").push(request.method().clone());
                server.asked.notify_one();
                server.gate.acquire().await.expect("it is never closed").forget();
                let body = Body::from(request.into_body().collect_bytes().await.expect("it is in memory"));
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        (Events::new(Client::new(service, "default"), "coffer", "one", "Reconcile"), server)
    }

    impl Server {
        async fn asked(&self, times: usize) {
            while self.seen.lock().expect("nobody panics").len() < times {
                self.asked.notified().await;
            }
        }
    }

    fn about(name: &str) -> ObjectReference {
        ObjectReference { name: Some(name.into()), namespace: Some("a".into()), ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_warning_said_again_is_counted_and_news_stand_alone() {
        let (events, server) = events();
        server.gate.add_permits(100);
        let said = [
            (Notice::warning("InvalidSpec", "no"), Method::POST),
            (Notice::warning("InvalidSpec", "no"), Method::PATCH),
            (Notice::normal("Available", "yes"), Method::POST),
            (Notice::normal("Available", "yes"), Method::POST),
            (Notice::alarm("BreakGlass", "one"), Method::POST),
            (Notice::alarm("BreakGlass", "another"), Method::POST),
        ];
        for (notice, _) in &said {
            events.publish(&about("github"), notice.clone()).await;
        }
        let seen = server.seen.lock().expect("nobody panics").clone();
        assert_eq!(seen, said.map(|(_, method)| method));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_at_once_use_two_connections() {
        let (events, server) = events();
        for number in 0..1000 {
            events.announce(about(&format!("c{number}")), vec![Notice::normal("Available", "yes")]);
        }
        server.asked(2).await;
        // Time stands still until nobody has anything to do.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(server.seen.lock().expect("nobody panics").len(), 2);
        server.gate.add_permits(1000);
        server.asked(1000).await;
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "ä".repeat(900);
        assert!(shorten(&note).len() <= 1024);
    }
}
