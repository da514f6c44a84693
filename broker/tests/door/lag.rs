//! Watches lag: looks past them, and never more than what the API server then says.

use crate::world::{Pod, World, account, connection, now, rng};
use coffer_broker::{audit::Decision, facts::Fresh};
use coffer_crds::{Connection, Envelope, RoleSpec, VaultMember, Verb};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

struct Lagging {
    world: World,
    pod: Pod,
    github: Connection,
}

fn world(members: &[&str]) -> Lagging {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    let github = connection("github", "alice", Some(members));
    world.apply_connection(github.clone());
    let pod = world.tokens.pod("web");
    Lagging { world, pod, github }
}

impl Lagging {
    /// The API server has this Envelope, and members and Keyring as they are now.
    fn api_server_has(&self, envelope: Option<Envelope>) {
        *self.world.reread.fresh.lock().unwrap() = Some(self.fresh(envelope, &self.world.members["web"]));
    }

    fn fresh(&self, envelope: Option<Envelope>, member: &VaultMember) -> Fresh {
        Fresh {
            envelope: envelope.map(Arc::new),
            keyring: Some(Arc::new(self.world.keyring_object())),
            members: vec![Arc::new(member.clone())],
        }
    }

    fn looks(&self) -> usize {
        self.world.reread.asked.load(Ordering::SeqCst)
    }

    async fn decisions(&self) -> Vec<Decision> {
        self.world.records().await.iter().map(|record| record.entry.decision).collect()
    }
}

/// Changes the first base64 digit, whatever it is.
fn flip(base64: &mut String) {
    let flipped = if base64.starts_with('A') { "B" } else { "A" };
    base64.replace_range(0..1, flipped);
}

#[tokio::test]
async fn an_envelope_that_the_watch_has_not_brought_yet_is_fetched() {
    let lagging = world(&["web"]);
    lagging.api_server_has(Some(lagging.world.envelope(&lagging.github, "v")));
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!(answer.values(&lagging.pod), ["v"]);
    assert_eq!(lagging.looks(), 1);
    assert_eq!(lagging.decisions().await, [Decision::Allowed]);
}

#[tokio::test]
async fn an_envelope_that_is_nowhere_is_503_after_one_look() {
    let lagging = world(&["web"]);
    lagging.api_server_has(None);
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!((answer.status, answer.retry_after, lagging.looks()), (503, Some(1), 1));
    assert_eq!(answer.error().message, "Credential 'github' is not ready yet: try again");
    *lagging.world.reread.fresh.lock().unwrap() = None;
    assert_eq!(lagging.world.ask(&lagging.pod, &["team-a/github"]).await.status, 503);
    assert_eq!(lagging.decisions().await, [Decision::Denied, Decision::Denied]);
}

/// T28: what a stranger asks for never reaches the API server.
#[tokio::test]
async fn a_stranger_s_question_causes_no_look() {
    let lagging = world(&["web"]);
    let stranger = lagging.world.tokens.pod("stranger");
    assert_eq!(lagging.world.ask(&stranger, &["team-a/github", "team-a/absent"]).await.status, 404);
    assert_eq!(lagging.looks(), 0);
}

/// The epoch was turned and the watch of Envelopes was faster than that of members.
#[tokio::test]
async fn a_member_whose_wrapped_keys_lag_behind_the_epoch_is_read_again() {
    let mut lagging = world(&["*"]);
    let next = lagging.world.keyring.add_epoch([], now(), &mut rng());
    lagging.world.keyring.set_current(next).unwrap();
    lagging.world.apply_keyring();
    let envelope = lagging.world.envelope(&lagging.github, "v");
    lagging.world.apply_envelope(envelope.clone());

    let old = lagging.world.members["web"].clone();
    lagging.api_server_has(Some(envelope.clone()));
    assert_eq!(lagging.world.ask(&lagging.pod, &["team-a/github"]).await.status, 503);
    assert_eq!(lagging.decisions().await, [Decision::Denied], "nothing was ever about to be released");

    let registered = lagging.world.keyring.member("web").unwrap().clone();
    let mut wrapped = old.clone();
    wrapped.status.as_mut().unwrap().wrapped_keys = lagging.world.wrapped(&registered);
    lagging.world.members.insert("web".into(), wrapped);
    lagging.api_server_has(Some(envelope));
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!(answer.values(&lagging.pod), ["v"]);
    assert_eq!(lagging.looks(), 2);
    let records = lagging.world.records().await;
    assert_eq!(records.last().unwrap().entry.key_epoch, Some(next));
}

/// Issue 6 §1: the objects are read one after another, and keys may be turned over meanwhile. For as long as a look shows
/// anything new there is another, up to the third.
#[tokio::test]
async fn a_look_during_which_keys_were_turned_over_is_taken_again() {
    let mut lagging = world(&["*"]);
    let (mut members, mut envelopes) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let next = lagging.world.keyring.add_epoch([], now(), &mut rng());
        lagging.world.keyring.set_current(next).unwrap();
        let registered = lagging.world.keyring.member("web").unwrap().clone();
        let mut member = lagging.world.members["web"].clone();
        let wrapped = lagging.world.wrapped(&registered).into_iter().filter(|wrapped| wrapped.epoch == next);
        member.status.as_mut().unwrap().wrapped_keys = wrapped.collect();
        members.push(member);
        envelopes.push(lagging.world.envelope(&lagging.github, "v"));
    }
    lagging.world.apply_keyring();
    // Each look has an Envelope that is one epoch older than the member's key, but for the last.
    let behind = |at: usize| lagging.fresh(Some(envelopes[at].clone()), &members[at + 1]);
    let whole = || lagging.fresh(Some(envelopes[3].clone()), &members[3]);
    let show = |looks: Vec<Fresh>| {
        let mut looks = VecDeque::from(looks);
        *lagging.world.reread.fresh.lock().unwrap() = looks.pop_front();
        *lagging.world.reread.later.lock().unwrap() = looks;
        lagging.world.reread.asked.store(0, Ordering::SeqCst);
    };
    show(vec![behind(0), behind(1), whole()]);
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!((answer.values(&lagging.pod), lagging.looks()), (vec![String::from("v")], 3));
    show(vec![behind(0), behind(1), behind(2), whole()]);
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!((answer.status, lagging.looks()), (503, 3), "asked again, it looks again");
}

/// T2, issue 6 §2: an older Envelope is a valid one, signature and all. Who has released from the newer one does not go
/// back to it, whoever put it there; where only the watch lags, the API server has the newer one.
#[tokio::test]
async fn an_envelope_that_is_older_than_one_that_was_released_from_is_refused() {
    let mut lagging = world(&["*"]);
    let old = lagging.world.envelope(&lagging.github, "old");
    lagging.world.apply_envelope(old.clone());
    assert_eq!(lagging.world.ask(&lagging.pod, &["team-a/github"]).await.values(&lagging.pod), ["old"]);
    let next = lagging.world.keyring.add_epoch([], now(), &mut rng());
    lagging.world.keyring.set_current(next).unwrap();
    lagging.world.apply_keyring();
    let registered = lagging.world.keyring.member("web").unwrap().clone();
    let mut member = lagging.world.members["web"].clone();
    let mut both = member.status.clone().unwrap().wrapped_keys;
    both.extend(lagging.world.wrapped(&registered).into_iter().filter(|wrapped| wrapped.epoch == next));
    member.status.as_mut().unwrap().wrapped_keys = both;
    lagging.world.apply_member(member);
    let new = lagging.world.envelope(&lagging.github, "new");
    lagging.world.apply_envelope(new.clone());
    assert_eq!(lagging.world.ask(&lagging.pod, &["team-a/github"]).await.values(&lagging.pod), ["new"]);

    lagging.world.apply_envelope(old.clone());
    lagging.api_server_has(Some(old));
    let refused = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!((refused.status, lagging.looks()), (503, 1));
    lagging.api_server_has(Some(new));
    assert_eq!(lagging.world.ask(&lagging.pod, &["team-a/github"]).await.values(&lagging.pod), ["new"]);
}

/// T22: a slot with a flipped bit opens nothing; the API server's intact one does, and one record stands for it.
#[tokio::test]
async fn a_damaged_envelope_is_read_again_and_fails_only_if_it_is_damaged_there_too() {
    let mut lagging = world(&["web"]);
    let good = lagging.world.envelope(&lagging.github, "v");
    let mut bad = good.clone();
    for slot in &mut bad.spec.slots {
        flip(&mut slot.wrap.ct);
    }
    lagging.world.apply_envelope(bad.clone());
    lagging.api_server_has(Some(good));
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!(answer.values(&lagging.pod), ["v"]);
    assert_eq!(lagging.decisions().await, [Decision::Allowed]);

    lagging.api_server_has(Some(bad));
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!((answer.status, lagging.looks()), (503, 2));
    assert_eq!(answer.error().message, "Credential 'github' does not open at the moment: try again");
    assert_eq!(lagging.decisions().await, [Decision::Allowed, Decision::Allowed, Decision::Failed]);
    let last = lagging.world.records().await.pop().unwrap().entry;
    assert_eq!(last.reason.as_deref(), Some("DoesNotOpen"));
}

/// What the second look shows is decided again: the member may be out of the Envelope's scope by now.
#[tokio::test]
async fn a_look_that_shows_a_narrower_scope_releases_nothing() {
    let mut lagging = world(&["web"]);
    let mut bad = lagging.world.envelope(&lagging.github, "v");
    flip(&mut bad.spec.signature);
    lagging.world.apply_envelope(bad);
    let narrower = connection("github", "alice", Some(&["alice"]));
    lagging.api_server_has(Some(lagging.world.envelope(&narrower, "v")));
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(
        (answer.status, lagging.looks()),
        (503, 2),
        "one that shows it, one that shows the same: {text}"
    );
    assert_eq!(lagging.decisions().await, [Decision::Allowed, Decision::Failed]);
}

/// T2: an Envelope that was copied beside another Connection, or kept from a deleted one, opens nothing there.
#[tokio::test]
async fn an_envelope_of_another_connection_is_as_good_as_none() {
    let mut lagging = world(&["web"]);
    let other = connection("other", "alice", Some(&["web"]));
    let mut moved = lagging.world.envelope(&other, "another's value");
    moved.metadata.name = Some("github".into());
    lagging.world.apply_envelope(moved.clone());
    lagging.api_server_has(Some(moved.clone()));
    assert_eq!(lagging.world.ask(&lagging.pod, &["team-a/github"]).await.status, 503);
    // Rewritten to claim the place: then it is the seal that says no.
    moved.spec.connection.name = "github".into();
    moved.spec.connection.uid = lagging.github.metadata.uid.clone().unwrap();
    lagging.world.apply_envelope(moved.clone());
    lagging.api_server_has(Some(moved));
    let answer = lagging.world.ask(&lagging.pod, &["team-a/github"]).await;
    assert_eq!((answer.status, answer.body.windows(7).any(|w| w == b"another")), (503, false));
}

/// T1, T2: a Keyring that somebody else wrote puts an intruder in web's place by name and uid: it gets a membership,
/// but what is wrapped for web opens with web's identity only.
#[tokio::test]
async fn a_forged_register_opens_nothing() {
    let mut lagging = world(&["web"]);
    lagging.world.apply_envelope(lagging.world.envelope(&lagging.github, "v"));
    let mut live = lagging.world.members["web"].clone();
    live.spec.subject = account("intruder");
    lagging.world.apply_member(live);
    let mut forged = lagging.world.keyring_object();
    let web = forged.spec.members.iter_mut().find(|m| m.name == "web").unwrap();
    web.subject = account("intruder");
    web.subject_uid = Some("sa-intruder".into());
    lagging.world.apply_keyring_object(forged);
    let answer = lagging.world.ask(&lagging.world.tokens.pod("intruder"), &["team-a/github"]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(lagging.decisions().await, [Decision::Allowed, Decision::Failed]);
}

/// T2: a role that somebody else wrote into the register lets nothing out, though the member's own slot opens.
#[tokio::test]
async fn a_role_that_was_forged_in_the_register_gains_nothing() {
    let mut world = World::new();
    world.vault.spec.roles = vec![RoleSpec {
        name: "reader".into(),
        verbs: vec![Verb::Read],
        connections: None,
        rate_limit: None,
        max_connections: None,
    }];
    world.apply_vault();
    world.member("web", account("web"), "reader");
    world.connection("github", &["web"], "v");
    let pod = world.tokens.pod("web");
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 403, "it may read, not use");
    let mut forged = world.keyring_object();
    forged.spec.members.iter_mut().find(|m| m.name == "web").unwrap().role = "member".into();
    world.apply_keyring_object(forged);
    for _ in 0..2 {
        let answer = world.ask(&pod, &["team-a/github"]).await;
        assert_eq!(answer.status, 503);
    }
}
