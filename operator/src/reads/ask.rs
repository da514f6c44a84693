//! Asks the brokers: one AuditQuery for each question, answered by every replica from its own log.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coffer_broker_api::audit::{AuditAnswer, PendingQuery, missing};
use coffer_crds::{AuditFilter, AuditQuery, Envelope};
use coffer_runtime::within;
use futures::future::join_all;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client};
use tokio::{
    sync::{Mutex as Turn, OwnedMutexGuard},
    time::Instant,
};

use super::{About, LastReads, Loss, Told};
use crate::{
    apply::{WriteError, Writer},
    cache::Key,
    context::rng,
};

/// How long a question waits for answers; what nobody has said by then is not known.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a broker that has not answered is not waited for: one that is away holds up one question, not a thousand.
const SILENCE: SignedDuration = SignedDuration::from_secs(30);
/// Above so many members in force that one Connection is lost to, who read it is one question instead of one for each.
const MANY: usize = 4;
/// The same of members that left, one question about whom serves all Connections.
const LEAVERS: usize = 32;
/// Questions whose answers are remembered.
const REMEMBERED: usize = 1000;
/// How long, at most.
const STALE: SignedDuration = SignedDuration::from_mins(10);
/// How soon the first look for answers is; each is twice as late as the one before, to the longest.
const LOOK: (Duration, Duration) = (Duration::from_millis(15), Duration::from_millis(200));

/// The event of a release in a record.
const RELEASE: &str = "release";

/// The vault, and what is asked of it.
type Question = (Key, About);

/// The questions that were asked, and what was told.
#[derive(Default)]
pub struct Asking {
    told: Mutex<HashMap<Question, Told>>,
    turns: Mutex<HashMap<Question, Arc<Turn<()>>>>,
    silent: Mutex<Silent>,
}

/// Since when brokers do not answer.
#[derive(Clone, Default)]
struct Silent {
    all: Option<Timestamp>,
    each: BTreeMap<String, Timestamp>,
}

impl Silent {
    /// Those that still count at `now`.
    fn at(&self, now: Timestamp) -> Self {
        let counts = |since: &Timestamp| now.duration_since(*since) < SILENCE;
        let each = self.each.iter().filter(|(_, since)| counts(since));
        Self {
            all: self.all.filter(|since| counts(since)),
            each: each.map(|(replica, since)| (replica.clone(), *since)).collect(),
        }
    }
}

/// A Connection whose Envelope cannot be sealed anew before more is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The Connection.
    pub connection: Key,
    /// Who loses access to it.
    pub losses: Vec<Loss>,
}

/// With what is asked.
pub struct Means<'a> {
    /// For reads.
    pub client: &'a Client,
    /// For writes.
    pub writer: &'a Writer,
    /// When the oldest value was written that an answer can matter for.
    pub since: Option<Timestamp>,
}

impl Asking {
    /// What was told about a vault.
    pub fn told(&self, vault: &Key) -> BTreeMap<About, Told> {
        let told = locked(&self.told);
        let of_vault = told.iter().filter(|((of, _), _)| of == vault);
        of_vault.map(|((_, about), told)| (about.clone(), told.clone())).collect()
    }

    /// Asks for what a look that began then does not know, and returns when it is told or nobody is waited for any more.
    pub async fn ask(&self, vault: &Key, unknown: &Unknown, began: Timestamp, means: &Means<'_>) {
        // What is told of a leaver serves every Connection that is sealed anew for it; of the others, this one alone.
        let (leavers, others): (Vec<&Loss>, Vec<&Loss>) =
            unknown.losses.iter().partition(|loss| loss.recorded || loss.out.is_some());
        let of_member = |loss: &Loss| (About::Member(loss.member.clone()), loss.out.clone());
        let questions: Vec<(About, Option<String>)> = if leavers.len() > LEAVERS || others.len() > MANY {
            vec![(About::Connection(unknown.connection.clone()), None)]
        } else {
            unknown.losses.iter().map(of_member).collect()
        };
        join_all(questions.into_iter().map(|(about, out)| self.question(vault, about, out, began, means)))
            .await;
    }

    /// One question at one time about the same: whoever comes while it is asked takes its answer, if it was asked since,
    /// or asks together with all that wait.
    async fn question(
        &self,
        vault: &Key,
        about: About,
        out: Option<String>,
        began: Timestamp,
        means: &Means<'_>,
    ) {
        let key = (vault.clone(), about.clone());
        let _turn = self.turn(&key).await;
        let asked = locked(&self.told).get(&key).map(|told| told.asked_at);
        if asked.is_some_and(|asked_at| asked_at >= began) {
            return;
        }
        let asked_at = Timestamp::now();
        let silent = locked(&self.silent).at(asked_at);
        let mut found = Found { silent: silent.each, ..Found::default() };
        if silent.all.is_none() {
            // Cut off, what it has found by then stands.
            let _ = tokio::time::timeout(PATIENCE, find(vault, &about, means, &mut found)).await;
            let mut each = found.silent;
            for replica in found.missing {
                each.entry(replica).or_insert(asked_at);
            }
            let nobody = found.asked && !found.anybody;
            *locked(&self.silent) = Silent { all: nobody.then_some(asked_at), each };
        }
        self.remember(key, New { asked_at, out, reads: found.reads });
    }

    async fn turn(&self, key: &Question) -> OwnedMutexGuard<()> {
        let turn = locked(&self.turns).entry(key.clone()).or_default().clone();
        turn.lock_owned().await
    }

    fn remember(&self, key: Question, told: New) {
        let now = told.asked_at;
        let mut all = locked(&self.told);
        if all.len() >= REMEMBERED {
            all.retain(|_, told| now.duration_since(told.asked_at) < STALE);
        }
        if all.len() >= REMEMBERED {
            all.clear();
        }
        // What was read stays read, whoever does not answer now.
        let before = all.get(&key).map(|before| before.reads.clone()).unwrap_or_default();
        let mut reads = told.reads;
        for (read, time) in before.iter() {
            let last = reads.entry(read.clone()).or_insert(*time);
            *last = (*last).max(*time);
        }
        all.insert(key, Told { asked_at: now, out: told.out, reads: Arc::new(reads) });
        drop(all);
        // Whoever waits for a turn or has one holds it too.
        locked(&self.turns).retain(|_, turn| Arc::strong_count(turn) > 1);
    }
}

/// What was told just now.
struct New {
    asked_at: Timestamp,
    out: Option<String>,
    reads: LastReads,
}

/// What the brokers say, page after page.
async fn find(vault: &Key, about: &About, means: &Means<'_>, found: &mut Found) {
    let began = Instant::now();
    let mut pages = vec![None];
    while let Some(page) = pages.pop() {
        let left = PATIENCE.saturating_sub(began.elapsed() + SPARE);
        if left.is_zero() {
            return;
        }
        let of_everybody = page.is_none();
        let answers = match ask(vault, about, page.clone(), left, means, &found.silent).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(%vault, %error, "the brokers cannot be asked who read what");
                // A namespace that is being deleted, for instance, takes no question. Else it is asked again.
                if !matches!(error, WriteError::Refused(..)) {
                    pages.push(page);
                    tokio::time::sleep(LOOK.1).await;
                }
                continue;
            }
        };
        found.asked = true;
        for (replica, answer) in &answers {
            found.silent.remove(replica);
            found.take(answer);
        }
        if of_everybody {
            found.missing = missing(&answers).into_iter().map(String::from).collect();
        }
        pages.extend(answers.into_values().filter_map(|answer| answer.next).map(Some));
    }
}

/// What is left of the patience for taking in what was answered.
const SPARE: Duration = Duration::from_millis(200);

/// What was found by now.
#[derive(Default)]
struct Found {
    /// Who is not waited for, since when.
    silent: BTreeMap<String, Timestamp>,
    /// Whether anybody answered.
    anybody: bool,
    /// Whether there was a question at all: that there was none is no broker's fault.
    asked: bool,
    /// Who has a log and did not.
    missing: BTreeSet<String>,
    reads: LastReads,
}

impl Found {
    fn take(&mut self, answer: &AuditAnswer) {
        self.anybody = true;
        if !answer.is_granted() {
            tracing::warn!(
                replica = answer.replica,
                code = answer.code,
                "a broker does not say who read what"
            );
            return;
        }
        if answer.truncated {
            tracing::warn!(
                replica = answer.replica,
                "a broker's audit log is too long to be searched in time"
            );
        }
        for (member, reads) in &answer.last_reads {
            for (connection, time) in reads {
                let Some((namespace, name)) = connection.split_once('/') else { continue };
                let Ok(time) = time.parse::<Timestamp>() else { continue };
                let last = self.reads.entry((member.clone(), Key::new(namespace, name))).or_insert(time);
                *last = time.max(*last);
            }
        }
    }
}

/// One AuditQuery, and the answers to it that come in time. Afterwards it is deleted.
async fn ask(
    vault: &Key,
    about: &About,
    page: Option<String>,
    patience: Duration,
    means: &Means<'_>,
    silent: &BTreeMap<String, Timestamp>,
) -> Result<BTreeMap<String, AuditAnswer>, WriteError> {
    let (member, connection) = match about {
        About::Member(name) => (Some(name.clone()), None),
        About::Connection(key) => (None, Some(key.name.clone())),
    };
    let filter = AuditFilter {
        member,
        connection,
        event: Some(String::from(RELEASE)),
        since: means.since.map(Time),
        until: None,
    };
    // Of a page one replica is asked, and nobody else answers.
    let alone = page.is_some();
    let is_enough = |answers: &BTreeMap<String, AuditAnswer>| {
        !answers.is_empty() && (alone || missing(answers).into_iter().all(|name| silent.contains_key(name)))
    };
    let pending = PendingQuery::new(&vault.namespace, &vault.name, filter, true, page, &mut rng());
    let made: AuditQuery = means.writer.create(&pending.object()).await?;
    let answers = answers(&pending, is_enough, patience, means).await;
    let writer = means.writer.clone();
    // Nobody waits for that; what is left over is deleted with everybody else's.
    tokio::spawn(async move {
        if let Err(error) = writer.delete(&made).await {
            tracing::debug!(%error, "an AuditQuery is left to be deleted later");
        }
    });
    Ok(answers)
}

async fn answers(
    pending: &PendingQuery,
    is_enough: impl Fn(&BTreeMap<String, AuditAnswer>) -> bool,
    patience: Duration,
    means: &Means<'_>,
) -> BTreeMap<String, AuditAnswer> {
    let api: Api<AuditQuery> = Api::namespaced(means.client.clone(), pending.namespace());
    let (began, mut pause) = (Instant::now(), LOOK.0);
    let mut answers = BTreeMap::new();
    loop {
        let left = patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            return answers;
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(LOOK.1);
        match within(PATIENCE, api.get(pending.name())).await {
            Ok(stored) => answers = pending.answers(&stored),
            Err(error) => {
                tracing::debug!(%error, "an AuditQuery cannot be looked at");
                continue;
            }
        }
        if is_enough(&answers) {
            return answers;
        }
    }
}

/// When the oldest of these Envelopes' present values was written: what was read before matters to none of them.
pub fn oldest<'a>(envelopes: impl IntoIterator<Item = &'a Envelope>) -> Option<Timestamp> {
    envelopes.into_iter().map(|envelope| written_at(&envelope.spec)).min()
}

/// When an Envelope's present value was written, in whole seconds.
pub fn written_at(spec: &coffer_crds::EnvelopeSpec) -> Timestamp {
    spec.history.last().map_or(spec.created_at.0, |entry| entry.at.0)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder makes one change that cannot be half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that answered before and is away now takes nothing back.
    #[test]
    fn what_was_read_stays_read_whoever_answers_the_next_question() {
        let (asking, vault) = (Asking::default(), Key::new("team-a", "main"));
        let about = || (vault.clone(), About::Member(String::from("bob")));
        let read = |name: &str| (String::from("bob"), Key::new("team-a", name));
        let at = |second: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let tell = |second: i64, reads: &[(&str, i64)]| {
            let reads = reads.iter().map(|(name, when)| (read(name), at(*when))).collect();
            asking.remember(about(), New { asked_at: at(second), out: None, reads });
        };
        tell(10, &[("github", 5), ("npm", 9)]);
        tell(20, &[("github", 15), ("npm", 8)]);
        tell(30, &[]);
        let told = asking.told(&vault);
        let told = &told[&About::Member(String::from("bob"))];
        assert_eq!(told.asked_at, at(30));
        assert_eq!(*told.reads, LastReads::from([(read("github"), at(15)), (read("npm"), at(9))]));
    }
}
