//! The log's front: many releases wait for one fsync.

use super::{
    chain::Head,
    record::{Actor, Entry, Event, timestamp},
    sink::{Opened, Sink},
};
use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How many requests may wait for the disk; beyond that the answer is 503 at once.
const MAX_WAITING: usize = 4096;
/// How many waiting requests one fsync covers at most.
const MAX_BATCH: usize = 512;
/// How often a failed log is tried again when nobody asks.
const RETRY: Duration = Duration::from_secs(1);
/// How long a release waits for its record to be durable.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the log tells its surroundings.
pub trait Observer: Send + 'static {
    /// A commit made `records` durable and took `took`.
    fn committed(&self, records: usize, took: Duration);
    /// A commit or an opening failed; nothing of it counts.
    fn failed(&self);
    /// Whether records can be written now. Called at the first opening and at each change.
    fn writable(&self, writable: bool);
}

/// The log is not available: nothing may be released.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("the audit log is not available")]
pub struct AuditUnavailable;

/// The way into the log. Clones share one writer; it ends when the last of them is dropped.
#[derive(Clone)]
pub struct AuditLog {
    queue: SyncSender<Waiting>,
}

struct Waiting {
    entries: Vec<Entry>,
    durable: Option<oneshot::Sender<Result<(), AuditUnavailable>>>,
}

impl AuditLog {
    /// Starts the writer on its own thread. The handle ends when every clone of the log is gone and all that
    /// was waiting is durable or refused.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(
        sink: impl Sink,
        observer: impl Observer,
        replica: &str,
        clock: fn() -> jiff::Timestamp,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, waiting) = sync_channel(MAX_WAITING);
        let writer = Writer { sink, observer, actor: Actor::broker(replica), clock, head: None, open: None };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&waiting))?;
        Ok((Self { queue }, thread))
    }

    /// Writes `entries`, in this order and next to each other, and returns when they are durable.
    ///
    /// # Errors
    /// They are not durable, or not in time. Nothing may be released.
    pub async fn record(&self, entries: Vec<Entry>) -> Result<(), AuditUnavailable> {
        let (durable, done) = oneshot::channel();
        self.enqueue(Waiting { entries, durable: Some(durable) })?;
        match tokio::time::timeout(PATIENCE, done).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(AuditUnavailable),
        }
    }

    /// Writes `entry` with the next commit, without waiting for it: for what is refused anyway.
    pub fn record_soon(&self, entry: Entry) {
        // Nothing depends on it; a log that is full or gone has already been reported.
        let _ = self.enqueue(Waiting { entries: vec![entry], durable: None });
    }

    fn enqueue(&self, waiting: Waiting) -> Result<(), AuditUnavailable> {
        self.queue.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => AuditUnavailable,
        })
    }
}

struct Writer<S, O> {
    sink: S,
    observer: O,
    actor: Actor,
    clock: fn() -> jiff::Timestamp,
    /// The end of what this process knows to be durable.
    head: Option<Head>,
    /// Whether the sink is open; `None` before the first try.
    open: Option<bool>,
}

impl<S: Sink, O: Observer> Writer<S, O> {
    fn run(mut self, queue: &Receiver<Waiting>) {
        self.try_open();
        loop {
            let first = if self.is_open() {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(RETRY)
            };
            match first {
                Ok(first) => self.serve(first, queue),
                Err(RecvTimeoutError::Timeout) => self.try_open(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn is_open(&self) -> bool {
        self.open == Some(true)
    }

    /// Takes all that waits by now and makes it durable with one commit.
    fn serve(&mut self, first: Waiting, queue: &Receiver<Waiting>) {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(MAX_BATCH - 1));
        if !self.is_open() {
            self.try_open();
        }
        let (mut entries, mut waiters) = (Vec::new(), Vec::new());
        for waiting in batch {
            entries.extend(waiting.entries);
            waiters.extend(waiting.durable);
        }
        let result = self.commit(entries);
        for waiter in waiters {
            // Nobody waits any more: the request was given up. Its record stands.
            let _ = waiter.send(result);
        }
    }

    fn commit(&mut self, entries: Vec<Entry>) -> Result<(), AuditUnavailable> {
        let (true, Some(head)) = (self.is_open(), &self.head) else { return Err(AuditUnavailable) };
        let (records, first_seq, mut next, mut lines) =
            (entries.len(), head.next_seq, head.clone(), Vec::new());
        for entry in entries {
            next.append(entry, &mut lines);
        }
        let started = Instant::now();
        match self.sink.commit(&lines, first_seq) {
            Ok(committed) => {
                self.head = Some(next);
                self.observer.committed(records, started.elapsed());
                if committed.pruned > 0 {
                    let reason = format!("deleted the {} oldest files, as configured", committed.pruned);
                    return self.commit(vec![self.about_itself(Event::Pruned, reason)]);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the audit log cannot be written; nothing is released until it can");
                self.fail();
                Err(AuditUnavailable)
            }
        }
    }

    fn try_open(&mut self) {
        match self.sink.open() {
            Ok(opened) => self.opened(opened),
            Err(error) => {
                if self.open != Some(false) {
                    tracing::error!(%error, "the audit log cannot be opened; nothing is released until it can");
                }
                self.fail();
            }
        }
    }

    fn opened(&mut self, opened: Opened) {
        let known = self.head.take().filter(|known| known.next_seq > opened.head.next_seq);
        let lost = known.as_ref().map(|known| known.next_seq - opened.head.next_seq);
        // Records that were durable and are gone leave a gap in the numbers that everybody can see.
        self.head = Some(known.unwrap_or(opened.head));
        let was_open = self.open.replace(true);
        let found = match (lost, opened.repaired) {
            (Some(lost), _) => Some(format!("{lost} records that were durable are gone")),
            (None, Some(repaired)) => Some(repaired),
            (None, None) if was_open == Some(false) => Some("could not be written for a while".to_owned()),
            (None, None) => None,
        };
        if let Some(reason) = found {
            tracing::warn!(%reason, "the audit log was opened again");
            if self.commit(vec![self.about_itself(Event::Recovered, reason)]).is_err() {
                return;
            }
        }
        self.observer.writable(true);
    }

    fn fail(&mut self) {
        self.observer.failed();
        if self.open.replace(false) != Some(false) {
            self.observer.writable(false);
        }
    }

    fn about_itself(&self, event: Event, reason: String) -> Entry {
        Entry::about_itself(event, self.actor.clone(), timestamp((self.clock)()), reason)
    }
}
