//! The audit door: every replica answers from its own log, to whoever may look into it.

use crate::world::{World, account, user};
use coffer_broker::{
    audit::{Actor, Decision, Entry, Event, Head, Record},
    doors::{
        audit::{Answers, AuditDoor, Seen},
        people::Turns,
    },
    facts::Key,
    limits::LocalWindows,
    peers::Peers,
};
use coffer_broker_api::audit::{AuditAnswer, DOOR, PendingQuery, is_complete};
use coffer_crds::{AuditFilter, AuditQuery, AuditQueryStatus, Author, RateLimit, RequestPhase};
use coffer_runtime::{CallError, Readiness, Shutdown};
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    ResourceExt as _,
    runtime::{reflector, watcher::Event as Watched},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

const OPERATOR: &str = "system:serviceaccount:coffer-system:coffer-operator";

/// Where AuditQueries are kept, as far as replicas see it.
#[derive(Default)]
struct Shelf {
    kept: Mutex<BTreeMap<String, AuditQuery>>,
    watchers: Mutex<Vec<Watcher>>,
    changed: Notify,
}

struct Watcher {
    writer: reflector::store::Writer<AuditQuery>,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Shelf {
    fn put(&self, query: AuditQuery) {
        self.kept.lock().unwrap().insert(query.name_any(), query.clone());
        for watcher in self.watchers.lock().unwrap().iter_mut() {
            watcher.writer.apply_watcher_event(&Watched::Apply(query.clone()));
            let _ = watcher.seen.send(Seen::One(Key::of(&query), query.uid().unwrap()));
        }
        self.changed.notify_waiters();
    }

    fn get(&self, name: &str) -> AuditQuery {
        self.kept.lock().unwrap()[name].clone()
    }
}

/// As server-side apply merges: an entry for each replica.
struct Clerk(Arc<Shelf>);

impl Answers for Clerk {
    fn answer<'a>(
        &'a self,
        query: &'a AuditQuery,
        replica: &'a str,
        status: &'a AuditQueryStatus,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let mut stored = self.0.get(&query.name_any());
            let merged = stored.status.get_or_insert_default();
            merged.phase = status.phase;
            merged.message = status.message.clone();
            assert!(status.answers.iter().all(|answer| answer.answered_by == replica));
            merged.answers.retain(|answer| answer.answered_by != replica);
            merged.answers.extend(status.answers.clone());
            self.0.put(stored);
            Ok(())
        })
    }
}

struct Named(usize);

impl Peers for Named {
    fn before_us(&self, _: &str) -> usize {
        0
    }

    fn all(&self) -> BTreeSet<String> {
        (0..self.0).map(|index| format!("coffer-broker-{index}")).collect()
    }
}

/// A world with audit doors: replica 0 has the world's log, the others have logs of their own.
struct Archive {
    world: World,
    shelf: Arc<Shelf>,
    logs: Vec<tempfile::TempDir>,
    shutdown: Shutdown,
    asked: AtomicUsize,
}

impl Archive {
    fn new(world: World, replicas: usize) -> Self {
        let (shelf, shutdown) = (Arc::<Shelf>::default(), Shutdown::new());
        let mut logs = Vec::new();
        for index in 0..replicas {
            let (queries, writer) = reflector::store();
            let (seen, receiver) = mpsc::unbounded_channel();
            shelf.watchers.lock().unwrap().push(Watcher { writer, seen });
            let own = tempfile::tempdir().unwrap();
            let door = AuditDoor {
                replica: format!("coffer-broker-{index}"),
                queries,
                peers: Box::new(Named(replicas)),
                log: if index == 0 { world.audit_dir() } else { own.path().to_owned() },
                operator: OPERATOR.into(),
                answers: Box::new(Clerk(shelf.clone())),
                turns: Turns::new(4, 2),
                limit: RateLimit { count: 6, window_seconds: 60 },
                windows: LocalWindows::default(),
                releaser: world.door.releaser.clone(),
            };
            tokio::spawn(Arc::new(door).run(Readiness::new(), receiver, shutdown.clone()));
            logs.push(own);
        }
        Self { world, shelf, logs, shutdown, asked: AtomicUsize::new(0) }
    }

    fn create(&self, pending: &PendingQuery, by: &str, change: impl FnOnce(&mut AuditQuery)) {
        let mut query = pending.object();
        query.metadata.uid = Some(format!("uid-{}", self.asked.fetch_add(1, Ordering::SeqCst)));
        query.metadata.creation_timestamp = Some(Time(crate::world::now()));
        query.spec.requester = Some(Author { username: by.to_owned(), uid: None, groups: Vec::new() });
        change(&mut query);
        self.shelf.put(query);
    }

    async fn until(&self, name: &str, done: impl Fn(&AuditQuery) -> bool) -> AuditQuery {
        let wait = async {
            loop {
                let changed = self.shelf.changed.notified();
                let query = self.shelf.get(name);
                if done(&query) {
                    return query;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
    }

    /// Asks as this user, and waits for everybody's answers.
    async fn ask(&self, by: &str, pending: PendingQuery, replicas: usize) -> BTreeMap<String, AuditAnswer> {
        self.create(&pending, by, |_| {});
        let answered =
            |query: &AuditQuery| query.status.as_ref().is_some_and(|status| status.answers.len() == replicas);
        pending.answers(&self.until(pending.name(), answered).await)
    }

    async fn one(&self, by: &str, pending: PendingQuery) -> AuditAnswer {
        self.ask(by, pending, 1).await.into_values().next().unwrap()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

fn who(member: &str) -> AuditFilter {
    AuditFilter { member: Some(member.into()), ..AuditFilter::default() }
}

fn asking(filter: AuditFilter, last_reads: bool, page: Option<String>) -> PendingQuery {
    PendingQuery::new("team-a", "main", filter, last_reads, page, &mut crate::world::rng())
}

/// What web has read.
fn reads(answer: &AuditAnswer) -> Vec<&str> {
    assert!(answer.last_reads.keys().all(|member| member == "web"), "{answer:?}");
    answer.last_reads.values().flat_map(|reads| reads.keys()).map(String::as_str).collect()
}

/// Writes a log with one release.
fn write_log(dir: &Path, member: &str, connection: &str, at: &str) {
    let entry = Entry {
        member: Some(member.into()),
        vault: Some("team-a/main".into()),
        connection: Some(connection.into()),
        reason: None,
        ..Entry::about_itself(Event::Release, Actor::ANONYMOUS, at.into(), String::new())
    };
    let mut lines = Vec::new();
    Head::genesis().append(entry, &mut lines);
    std::fs::write(dir.join(format!("audit-{:020}.jsonl", 1)), lines).unwrap();
}

/// web is a member and has read `github`; three may look into the log.
async fn world() -> World {
    let mut world = World::new();
    world.vault.spec.roles = serde_json::from_value(serde_json::json!([
        {"name": "auditor", "verbs": ["audit"]},
        {"name": "gh", "verbs": ["audit"], "connections": ["gh-*"]},
    ]))
    .unwrap();
    world.apply_vault();
    world.member("web", account("web"), "member");
    world.member("bob", user("bob"), "member");
    world.member("ada", user("ada"), "auditor");
    world.member("gus", user("gus"), "gh");
    world.connection("github", &["*"], "hunter2");
    world.connection("gh-deploy", &["*"], "hunter3");
    let pod = world.tokens.pod("web");
    for _ in 0..2 {
        assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 200);
    }
    assert_eq!(world.ask(&pod, &["team-a/gh-deploy"]).await.status, 200);
    assert_eq!(world.ask(&pod, &["team-a/absent"]).await.status, 404);
    world
}

/// C10, C7: what one replica does not know, another one does.
#[tokio::test]
async fn every_replica_answers_from_its_own_log_and_says_who_else_has_one() {
    let archive = Archive::new(world().await, 2);
    write_log(archive.logs[1].path(), "web", "team-a/aws", "2026-03-01T12:00:07.000Z");
    let answers = archive.ask(OPERATOR, asking(who("web"), true, None), 2).await;
    assert!(is_complete(&answers));
    let [first, second] = ["coffer-broker-0", "coffer-broker-1"].map(|replica| &answers[replica]);
    assert_eq!(reads(first), ["team-a/gh-deploy", "team-a/github"]);
    assert_eq!(reads(second), ["team-a/aws"]);
    assert_eq!(second.last_reads["web"]["team-a/aws"], "2026-03-01T12:00:07.000Z");
    assert_eq!(first.replicas, ["coffer-broker-0", "coffer-broker-1"]);
    assert!(
        reads(&archive.one("alice", asking(who("bob"), true, Some("coffer-broker-1/".into()))).await)
            .is_empty()
    );
}

/// C10: whoever looks into the log is in it, before the answer.
#[tokio::test]
async fn a_question_is_on_record_whether_it_is_answered_or_refused() {
    let archive = Archive::new(world().await, 1);
    assert!(archive.one("ada", asking(who("web"), false, None)).await.is_granted());
    assert_eq!(archive.one("bob", asking(who("web"), false, None)).await.code, 403);
    let records: Vec<Entry> = archive.world.records().await.into_iter().map(|record| record.entry).collect();
    let queried: Vec<_> = records.iter().filter(|entry| entry.event == Event::Queried).collect();
    let said = |entry: &Entry| {
        (entry.actor.name.clone(), entry.member.clone(), entry.decision, entry.reason.clone())
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(said(queried[0]), (text("ada"), text("ada"), Decision::Allowed, None));
    assert_eq!(said(queried[1]), (text("bob"), None, Decision::Denied, text("Verb")));
    assert_eq!((queried[0].door.as_deref(), queried[0].verb.as_deref()), (Some(DOOR), Some("audit")));
    assert_eq!(queried[0].request_id.as_deref(), Some("uid-0"));
}

/// T4: without a record nothing is told, of the log either.
#[tokio::test]
async fn without_the_audit_log_nothing_of_it_is_shown() {
    let archive = Archive::new(world().await, 1);
    archive.world.sink_is_gone.store(true, Ordering::SeqCst);
    let answer = archive.one("ada", asking(who("web"), false, None)).await;
    assert_eq!((answer.code, answer.retry_after_seconds), (503, Some(1)));
    assert!(answer.records.is_empty() && answer.last_reads.is_empty());
}

/// C9, C20, T28: the operator and members with the verb; all others are told what they would be of a vault that is not
/// there.
#[tokio::test]
async fn who_may_look_is_decided_by_policy_and_a_stranger_learns_nothing() {
    let archive = Archive::new(world().await, 1);
    for by in [OPERATOR, "alice", "ada"] {
        let answer = archive.one(by, asking(AuditFilter::default(), true, None)).await;
        assert_eq!(reads(&answer), ["team-a/gh-deploy", "team-a/github"], "{by}");
    }
    let narrowed = archive.one("gus", asking(AuditFilter::default(), true, None)).await;
    assert_eq!(reads(&narrowed), ["team-a/gh-deploy"], "what the role covers");
    let told = |answer: AuditAnswer| (answer.code, answer.message, answer.replicas.len());
    let text = "Role 'member' of member 'bob' does not allow 'audit'".to_owned();
    assert_eq!(told(archive.one("bob", asking(AuditFilter::default(), true, None)).await), (403, text, 0));
    let stranger = told(archive.one("mallory", asking(AuditFilter::default(), true, None)).await);
    assert_eq!(stranger, (404, "Vault 'main' not found".to_owned(), 0));
    let absent = PendingQuery::new("team-a", "nothing", who("web"), true, None, &mut crate::world::rng());
    assert_eq!(told(archive.one("alice", absent).await).0, 404);
}

/// The very lines of the log, newest first, and page after page.
#[tokio::test]
async fn records_come_as_they_are_written_and_go_on_where_an_answer_ended() {
    let archive = Archive::new(world().await, 2);
    let answers = archive.ask("ada", asking(who("web"), false, None), 2).await;
    let lines = &answers["coffer-broker-0"].records;
    let records: Vec<Record> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [3, 2, 1]);
    let before = Some("coffer-broker-0/2".to_owned());
    let page = archive.ask("ada", asking(who("web"), false, before), 1).await;
    assert_eq!(page["coffer-broker-0"].records, lines[2..], "that replica alone answers");
    let malformed = Some("coffer-broker-0/x".to_owned());
    let refused = archive.one("ada", asking(who("web"), false, malformed)).await;
    assert_eq!((refused.code, refused.message.starts_with("spec.page: ")), (400, true));
}

/// A vault that was deleted and made again by others shows nothing of the one before.
#[tokio::test]
async fn what_was_before_the_vault_was_made_is_not_its_members_to_see() {
    let mut world = world().await;
    let later = "2026-03-01T12:00:01Z".parse().unwrap();
    world.vault.metadata.creation_timestamp = Some(Time(later));
    world.apply_vault();
    let archive = Archive::new(world, 1);
    assert!(reads(&archive.one("alice", asking(AuditFilter::default(), true, None)).await).is_empty());
    assert_eq!(reads(&archive.one(OPERATOR, asking(AuditFilter::default(), true, None)).await).len(), 2);
}

#[tokio::test]
async fn a_flood_of_one_requester_is_refused_in_words_and_the_operator_is_not_counted() {
    let archive = Archive::new(world().await, 1);
    for _ in 0..6 {
        assert!(archive.one("ada", asking(who("web"), true, None)).await.is_granted());
    }
    let refused = archive.one("ada", asking(who("web"), true, None)).await;
    assert_eq!(refused.code, 429);
    assert!(refused.message.starts_with("You ask too often: at most 6/60s"), "{}", refused.message);
    for _ in 0..8 {
        assert!(archive.one(OPERATOR, asking(who("web"), true, None)).await.is_granted());
    }
}

/// T44: what nobody can seal to fails in words.
#[tokio::test]
async fn a_question_that_cannot_be_answered_fails_with_the_field_that_is_wrong() {
    let archive = Archive::new(world().await, 1);
    for (wrong, field) in [(true, "spec.publicKey"), (false, "spec.requester")] {
        let pending = asking(who("web"), true, None);
        archive.create(&pending, "ada", |query| {
            if wrong {
                query.spec.public_key = "A".repeat(1624);
            } else {
                query.spec.requester = None;
            }
        });
        let failed = |query: &AuditQuery| {
            query.status.as_ref().is_some_and(|status| status.phase == Some(RequestPhase::Failed))
        };
        let status = archive.until(pending.name(), failed).await.status.unwrap();
        assert!(status.answers.is_empty() && status.message.unwrap().contains(field));
    }
}

/// T20: a requester is believed only while the API server vouches for it, the operator too.
#[tokio::test]
async fn nothing_is_shown_while_what_vouches_for_requesters_is_missing() {
    let mut world = world().await;
    let guarded = Condition {
        type_: "Guarded".into(),
        status: "False".into(),
        reason: "GuardMissing".into(),
        message: String::new(),
        last_transition_time: Time(crate::world::now()),
        observed_generation: None,
    };
    world.vault.status.as_mut().unwrap().conditions = vec![guarded];
    world.apply_vault();
    let archive = Archive::new(world, 1);
    for by in [OPERATOR, "alice"] {
        let answer = archive.one(by, asking(who("web"), true, None)).await;
        assert_eq!((answer.code, reads(&answer).len()), (503, 0), "{by}");
    }
    let answer = archive.one("stranger", asking(who("web"), true, None)).await;
    assert_eq!(
        (answer.code, answer.message.as_str()),
        (404, "Vault 'main' not found"),
        "as of an absent one"
    );
}
