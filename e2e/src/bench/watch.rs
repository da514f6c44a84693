//! When Connections became ready, seen by one watch over all of them.

use crate::team;
use anyhow::{Context, Result};
use coffer_crds::Connection;
use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A watch; it ends when this is dropped.
pub struct Ready {
    since: watch::Receiver<HashMap<String, Instant>>,
    watching: AbortHandle,
}

impl Ready {
    /// Begin to watch those that this configuration selects.
    #[must_use]
    pub fn watch(connections: Api<Connection>, selected: watcher::Config) -> Self {
        let (publish, since) = watch::channel(HashMap::new());
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(connections, selected));
            while let Some(event) = events.next().await {
                // A broken watch is begun again by itself.
                let Ok(Event::Apply(found) | Event::InitApply(found)) = event else { continue };
                let now = Instant::now();
                if team::is_ready(&found) {
                    publish.send_if_modified(|ready| {
                        let before = ready.len();
                        ready.entry(found.name_any()).or_insert(now);
                        ready.len() > before
                    });
                }
            }
        });
        Self { since, watching: task.abort_handle() }
    }

    /// Wait for this many; when the last of them became ready.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn all(&mut self, count: usize, within: Duration) -> Result<Instant> {
        let seen = self.since.clone();
        let waiting = self.since.wait_for(|ready| ready.len() >= count);
        let found = tokio::time::timeout(within, waiting).await.with_context(|| {
            let ready = seen.borrow().len();
            format!("{ready} of {count} Connections were ready after {} s", within.as_secs())
        })?;
        found.context("the watch ended")?.values().max().copied().context("there is none")
    }

    /// Wait for one; when it became ready.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn one(&mut self, name: &str, within: Duration) -> Result<Instant> {
        let waiting = self.since.wait_for(|ready| ready.contains_key(name));
        let found =
            tokio::time::timeout(within, waiting).await.with_context(|| format!("wait for {name}"))?;
        found.context("the watch ended")?.get(name).copied().context("it is there")
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
