#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::collections::BTreeSet;

use coffer_broker_api::PodReference;
use coffer_runtime::Metrics;

use super::*;
use crate::fake_broker::{Answer, FakeBroker, pod_token};

/// Folders that are said to be mounts; what is in them goes when they are unmounted.
#[derive(Default)]
struct Folders {
    mounted: Mutex<BTreeSet<PathBuf>>,
    refuse: Mutex<bool>,
}

impl Mounts for Folders {
    fn is_mounted(&self, target: &Path) -> io::Result<bool> {
        Ok(self.mounted.lock().unwrap().contains(target))
    }

    fn mount(&self, target: &Path, _: Access) -> io::Result<()> {
        if *self.refuse.lock().unwrap() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        assert!(target.is_dir(), "a mount point must exist");
        assert!(self.mounted.lock().unwrap().insert(target.to_owned()), "mounted twice");
        Ok(())
    }

    fn unmount(&self, target: &Path) -> io::Result<()> {
        assert!(self.mounted.lock().unwrap().remove(target));
        fs::remove_dir_all(target)?;
        fs::create_dir(target)
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Announce for Told {
    fn revoked(&self, pod: PodReference, _: &str, note: String) {
        assert_eq!(pod.name, "web-0");
        self.0.lock().unwrap().push(note);
    }
}

struct Node {
    dir: tempfile::TempDir,
    fake: FakeBroker,
    mounts: Arc<Folders>,
    told: Arc<Told>,
    publisher: Arc<Publisher>,
}

fn value(value: &'static str) -> Answer {
    Answer::Release(vec![("github", vec![("token", value)])])
}

/// Values for a request of one or both of `team-a/github` and `team-a/slack`.
fn both(request: &coffer_broker_api::ReleaseRequest, text: &'static str) -> Answer {
    let alias = |connection: &String| if connection.ends_with("slack") { "slack" } else { "github" };
    Answer::Release(request.connections.iter().map(|name| (alias(name), vec![("token", text)])).collect())
}

const DENIAL: &str = "Credential 'github' is not accessible to member 'intern'. Allowed: web";
const DENIED: Answer = Answer::Refuse(403, DENIAL, None);

impl Node {
    async fn new(
        decide: impl Fn(&coffer_broker_api::ReleaseRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (mounts, told) = (Arc::<Folders>::default(), Arc::<Told>::default());
        let fake = FakeBroker::start(decide).await;
        let dir = tempfile::tempdir().unwrap();
        let publisher = Self::driver(&fake, &mounts, &told);
        Self { dir, fake, mounts, told, publisher }
    }

    fn driver(fake: &FakeBroker, mounts: &Arc<Folders>, told: &Arc<Told>) -> Arc<Publisher> {
        let metrics = NodeMetrics::new(&Metrics::new());
        Arc::new(Publisher::new(mounts.clone(), fake.client(), told.clone(), metrics))
    }

    /// A new process that knows nothing.
    fn restart(&mut self) {
        self.publisher = Self::driver(&self.fake, &self.mounts, &self.told);
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    fn volume(&self, connections: &[&str], on_revoke: OnRevoke) -> PublishVolume {
        PublishVolume {
            target: self.target(),
            group: None,
            pod: PodReference { namespace: "team-a".into(), name: "web-0".into(), uid: "pod-1".into() },
            token: pod_token(),
            connections: connections.iter().map(|name| (*name).to_owned()).collect(),
            on_revoke,
        }
    }

    async fn publish(&self) -> Result<(), PublishError> {
        self.publisher.publish(self.volume(&["team-a/github"], OnRevoke::Keep)).await
    }

    async fn publish_both(&self, on_revoke: OnRevoke) -> Result<(), PublishError> {
        self.publisher.publish(self.volume(&["team-a/github", "team-a/slack"], on_revoke)).await
    }

    async fn unpublish(&self) -> Result<(), PublishError> {
        self.publisher.unpublish(UnpublishVolume { target: self.target() }).await
    }

    fn file(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.target().join(path)).ok()
    }

    fn told(&self) -> Vec<String> {
        self.told.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_published_volume_holds_the_files_and_an_unpublished_one_is_gone() {
    let node = Node::new(|_| value("one")).await;
    node.publish().await.unwrap();
    assert_eq!(node.file("github/token").as_deref(), Some("one"));
    node.unpublish().await.unwrap();
    assert!(!node.target().exists());
    assert!(node.mounts.mounted.lock().unwrap().is_empty());
    node.unpublish().await.unwrap();
}

/// C34: the pod's event shows the broker's sentence, and the node keeps no trace.
#[tokio::test]
async fn a_denied_pod_gets_no_mount_and_hears_the_broker_s_words() {
    let node = Node::new(|_| DENIED).await;
    let error = node.publish().await.unwrap_err();
    assert_eq!(error.to_string(), DENIAL);
    assert!(matches!(error, PublishError::Release(ReleaseError::Forbidden(_))));
    assert!(!node.target().exists());
    assert!(node.told().is_empty(), "the kubelet tells");
}

#[tokio::test]
async fn a_republish_brings_changes_and_leaves_what_did_not_change() {
    let mut node = Node::new(|_| value("one")).await;
    node.publish().await.unwrap();
    let generation = fs::read_link(node.target().join("..data")).unwrap();
    node.publish().await.unwrap();
    assert_eq!(fs::read_link(node.target().join("..data")).unwrap(), generation);
    node.fake.decide(|_| value("two"));
    node.restart();
    node.publish().await.unwrap();
    assert_eq!(node.file("github/token").as_deref(), Some("two"));
    node.restart();
    node.unpublish().await.unwrap();
    assert!(!node.target().exists());
}

#[tokio::test]
async fn a_republish_that_gets_no_answer_keeps_the_files_and_is_no_failure() {
    let node = Node::new(|_| value("one")).await;
    node.publish().await.unwrap();
    let answers = [
        Answer::Refuse(503, "no audit", None),
        Answer::Refuse(429, "too many", Some(60)),
        Answer::Refuse(401, "no identity", None),
        Answer::Refuse(400, "malformed", None),
        Answer::SealedForAnother,
        Answer::Raw("{}"),
        Answer::Release(vec![]),
        Answer::Release(vec![("../up", vec![("token", "x")])]),
    ];
    for answer in answers {
        node.fake.decide(move |_| answer.clone());
        node.publish().await.unwrap();
        assert_eq!(node.file("github/token").as_deref(), Some("one"));
    }
    assert!(node.told().is_empty());
}

#[tokio::test]
async fn a_revoked_credential_keeps_its_file_and_its_pod_is_told_once() {
    let node = Node::new(|_| value("one")).await;
    node.publish().await.unwrap();
    node.fake.decide(|_| DENIED);
    node.publish().await.unwrap();
    node.publish().await.unwrap();
    assert_eq!(node.file("github/token").as_deref(), Some("one"));
    let text = format!("team-a/github: {DENIAL} (its files stay as they are until the pod ends)");
    assert_eq!(node.told(), [text]);

    node.fake.decide(|_| value("two"));
    node.publish().await.unwrap();
    assert_eq!(node.file("github/token").as_deref(), Some("two"), "allowed again");
    node.fake.decide(|_| DENIED);
    node.publish().await.unwrap();
    assert_eq!(node.told().len(), 2, "a second revocation is news");
}

#[tokio::test]
async fn a_revoked_credential_is_wiped_where_the_volume_asks_for_it_and_the_others_stay_fresh() {
    let node = Node::new(|request| both(request, "one")).await;
    node.publish_both(OnRevoke::Remove).await.unwrap();
    node.fake.decide(|request| {
        if request.connections.iter().any(|name| name.ends_with("github")) {
            DENIED
        } else {
            both(request, "two")
        }
    });
    node.publish_both(OnRevoke::Remove).await.unwrap();
    assert_eq!(node.file("github/token"), None);
    assert!(fs::symlink_metadata(node.target().join("github")).is_err());
    assert_eq!(node.file("slack/token").as_deref(), Some("two"));
    assert_eq!(node.told(), [format!("team-a/github: {DENIAL} (its files were removed)")]);
}

#[tokio::test]
async fn beside_a_revoked_credential_that_is_kept_the_others_are_refreshed_or_kept() {
    let node = Node::new(|request| both(request, "one")).await;
    node.publish_both(OnRevoke::Keep).await.unwrap();
    node.fake.decide(|request| {
        if request.connections.iter().any(|name| name.ends_with("github")) {
            DENIED
        } else {
            both(request, "two")
        }
    });
    node.publish_both(OnRevoke::Keep).await.unwrap();
    assert_eq!(node.file("github/token").as_deref(), Some("one"));
    assert_eq!(node.file("slack/token").as_deref(), Some("two"));

    node.fake.decide(|request| {
        let github = request.connections.iter().any(|name| name.ends_with("github"));
        if github { DENIED } else { Answer::Refuse(503, "no audit", None) }
    });
    node.publish_both(OnRevoke::Remove).await.unwrap();
    assert_eq!(node.file("github/token"), None);
    assert_eq!(node.file("slack/token").as_deref(), Some("two"), "no answer is no revocation");
}

#[tokio::test]
async fn a_volume_that_was_mounted_and_never_written_is_finished() {
    let node = Node::new(|_| value("one")).await;
    fs::create_dir(node.target()).unwrap();
    node.mounts.mount(&node.target(), Access { group: None }).unwrap();
    node.publish().await.unwrap();
    assert_eq!(node.file("github/token").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_kernel_that_refuses_the_mount_leaves_nothing_and_is_named() {
    let node = Node::new(|_| value("one")).await;
    *node.mounts.refuse.lock().unwrap() = true;
    let error = node.publish().await.unwrap_err();
    assert_eq!(error.to_string(), "mount a tmpfs: permission denied");
    assert!(!node.target().exists());
    *node.mounts.refuse.lock().unwrap() = false;
    node.publish().await.unwrap();
}

#[tokio::test]
async fn two_credentials_for_one_folder_are_refused_by_name() {
    let same = || Answer::Release(vec![("x", vec![("a", "1")]), ("x", vec![("b", "2")])]);
    let node = Node::new(move |_| same()).await;
    let error = node.publish_both(OnRevoke::Keep).await.unwrap_err();
    assert!(matches!(error, PublishError::Payload(PayloadError::SameAlias { .. })), "{error}");
    assert!(!node.target().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_second_request_for_the_same_volume_waits_its_turn_and_a_caller_that_leaves_interrupts_nothing() {
    let (entered, asked) = std::sync::mpsc::channel();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let node = Node::new(move |_| {
        entered.send(()).unwrap();
        tokio::task::block_in_place(|| gate.lock().unwrap().recv().ok());
        value("one")
    })
    .await;
    let (publisher, volume) = (node.publisher.clone(), node.volume(&["team-a/github"], OnRevoke::Keep));
    let first = tokio::spawn(async move { publisher.publish(volume).await });
    tokio::task::block_in_place(|| asked.recv().unwrap());
    assert!(matches!(node.publish().await, Err(PublishError::UnderWay)));
    assert!(matches!(node.unpublish().await, Err(PublishError::UnderWay)));
    first.abort();
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(20);
    while matches!(node.unpublish().await, Err(PublishError::UnderWay)) {
        assert!(Instant::now() < deadline, "the first request never ended");
        tokio::task::yield_now().await;
    }
    assert_eq!(node.publisher.metrics.count(Outcome::Published), 1, "it went on without its caller");
    assert!(!node.target().exists());
}

/// T33: each answer opens only with the key of its own request.
#[tokio::test]
async fn volumes_that_are_published_at_the_same_time_never_mix() {
    let values = [("web-0", "zero"), ("web-1", "one"), ("web-2", "two"), ("web-3", "three")];
    let node = Node::new(move |request| {
        let (_, value) = values.into_iter().find(|(pod, _)| *pod == request.pod.name).unwrap();
        Answer::Release(vec![("github", vec![("token", value)])])
    })
    .await;
    let publishes = (0..40).map(|n| {
        let mut volume = node.volume(&["team-a/github"], OnRevoke::Keep);
        volume.target = node.dir.path().join(format!("mount-{n}"));
        volume.pod.name = format!("web-{}", n % 4);
        let publisher = node.publisher.clone();
        tokio::spawn(async move { publisher.publish(volume).await })
    });
    for publish in publishes.collect::<Vec<_>>() {
        publish.await.unwrap().unwrap();
    }
    for n in 0..40 {
        let token = node.dir.path().join(format!("mount-{n}/github/token"));
        assert_eq!(fs::read_to_string(token).unwrap(), values[n % 4].1);
    }
}
