//! Values at a terminal: asked for by a Release, opened here, masked unless they are wanted.

use std::sync::Arc;

use coffer_broker_api::{
    ItemValue, ReleasedConnection,
    people::{Answer, Delivered, WrappedConnection},
};
use coffer_crds::{
    Author, Custody, EnvelopeConnection, EnvelopeMember, NamedSubject, RegisteredMember, Subject,
};
use coffer_envelope::{Access, Item, NewEnvelope, Recipient, key_hash, listed_scope};
use coffer_keys::{
    SecretBytes,
    member_key::{MemberKeyKind, MemberSecretKey},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::world::{Broker, GITHUB, World, github};
use crate::{Failure, random};

pub(super) fn items() -> Answer {
    let value = |text: &str| ItemValue::new(text.as_bytes().to_vec());
    Answer::of(vec![Delivered::Items(ReleasedConnection {
        namespace: "team".into(),
        name: "github".into(),
        alias: "github".into(),
        type_: "opaque".into(),
        version: 2,
        items: [("token".to_owned(), value("ghp_0123456789abcdefghij")), ("user".to_owned(), value("bot"))]
            .into(),
    })])
}

pub(super) fn asking(answer: impl Fn(&coffer_crds::Release) -> Answer + Send + Sync + 'static) -> World {
    let mut world = World::new("bob").with_team();
    world.broker = Some(Arc::new(answer));
    world
}

/// Only what was asked for, as a broker answers.
pub(super) fn narrowed(release: &coffer_crds::Release) -> Answer {
    let mut answer = items();
    let wanted = &release.spec.connections[0].items;
    for delivered in &mut answer.connections {
        if let Delivered::Items(connection) = delivered {
            connection.items.retain(|item, _| wanted.is_empty() || wanted.contains(item));
        }
    }
    answer
}

#[tokio::test]
async fn a_value_goes_into_a_pipe_as_it_is_and_the_question_is_taken_away() {
    let mut world = asking(narrowed);
    let said = world.run(&["get", "github", "token", "--reason", "release 7"]).await;
    assert_eq!(said.answer(), "ghp_0123456789abcdefghij");
    let written = world.written();
    let methods: Vec<_> = written.iter().map(|(method, ..)| method.as_str()).collect();
    assert_eq!(methods, ["POST", "DELETE"]);
    assert_eq!(written[0].2["spec"]["reason"], "release 7");
    let (code, text) = world.run(&["get", "github"]).await.refused();
    assert_eq!(code, Failure::USAGE);
    assert!(text.contains("token, user") && !text.contains("ghp_"), "{text}");
    let all: Value =
        serde_json::from_str(world.run(&["get", "github", "-o", "json"]).await.answer()).expect("JSON");
    assert_eq!(all["items"], json!({"token": "ghp_0123456789abcdefghij", "user": "bot"}));
}

/// C28: a terminal shows it masked.
#[tokio::test]
async fn on_a_terminal_values_are_masked() {
    let mut world = asking(narrowed);
    world.person.sees = true;
    let said = world.run(&["get", "github"]).await;
    assert_eq!(said.answer(), "token   ghp_******** (24 bytes)\nuser    ******** (3 bytes)\n");
    assert!(said.notes.contains("--reveal"), "{said:?}");
    assert_eq!(world.run(&["get", "github", "-o", "yaml"]).await.refused().0, Failure::USAGE);
}

/// C21, C34: the broker's words, and the exit code that goes with them.
#[tokio::test]
async fn a_refusal_keeps_the_brokers_words() {
    for (code, expected) in [
        (403, Failure::DENIED),
        (404, Failure::NOT_FOUND),
        (413, Failure::USAGE),
        (429, Failure::UNREACHABLE),
        (503, Failure::UNREACHABLE),
    ] {
        let mut world = asking(move |_| Answer::denied(code, "the broker's words".into(), None));
        assert_eq!(world.run(&["get", "github"]).await.refused(), (expected, "the broker's words".into()));
    }
    let mut expired = github();
    expired["spec"]["expiresAt"] = json!("2020-01-01T00:00:00Z");
    let world = asking(|_| Answer::denied(403, "it has expired".into(), None));
    let mut world = world.answering(("GET", GITHUB, 200, expired));
    assert_eq!(world.run(&["get", "github"]).await.refused().0, Failure::EXPIRED);
}

/// What the operator sealed for bob, who has a key of his own, as a broker passes it on.
pub(super) fn wrapped(world: &mut World, key: &MemberSecretKey, revision_of: usize) -> WrappedConnection {
    let bob = RegisteredMember {
        name: "bob".into(),
        uid: "uid-bob".into(),
        subject: Subject::User(NamedSubject { name: "bob".into() }),
        subject_uid: None,
        role: "member".into(),
        custody: Custody::Own,
        key_hash: Some(key_hash(key.public())),
        accepted_at: Timestamp::UNIX_EPOCH.into(),
        former_uids: Vec::new(),
    };
    world.keyring.register(bob.clone()).expect("a register");
    let member = EnvelopeMember { name: "bob".into(), uid: "uid-bob".into() };
    let connection =
        EnvelopeConnection { namespace: "team".into(), name: "github".into(), uid: "uid-github".into() };
    let value = SecretBytes::new(b"ghp_wrapped".to_vec());
    let new = NewEnvelope {
        connection: connection.clone(),
        version: i64::try_from(revision_of).expect("small"),
        created_by: "alice".into(),
        writer: Author { username: "alice".into(), ..Author::default() },
        now: Timestamp::UNIX_EPOCH,
        access: Access {
            owner: member.clone(),
            scope: listed_scope([member.clone()]).expect("a scope"),
            recipients: vec![Recipient { member: &bob, key: Some(key.public()) }],
        },
        items: [("token".to_owned(), Item { value, sealed_sha256: [9; 32] })].into(),
    };
    WrappedConnection {
        connection,
        alias: "github".into(),
        type_: "opaque".into(),
        member,
        vault_id: world.keyring.vault_id().to_string(),
        custodian_key: world.keyring.custodian_key(),
        wrapped_keys: Vec::new(),
        envelope: world.keyring.seal_envelope(new, &mut random()).expect("an Envelope"),
        items: Vec::new(),
    }
}

/// A member with a key of its own opens on its own machine: what the broker sends holds no value.
#[tokio::test]
async fn a_member_with_a_key_opens_here_and_is_never_taken_back_to_an_older_value() {
    let mut world = World::new("bob").with_team();
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    let file = std::fs::read(world.home().key).expect("a file");
    let key = MemberSecretKey::from_file(&file, None).expect("a key");
    let (old, new) = (wrapped(&mut world, &key, 1), wrapped(&mut world, &key, 2));
    let answering = |one: &WrappedConnection| {
        let one = one.clone();
        Some(Arc::new(move |_: &coffer_crds::Release| {
            Answer::of(vec![Delivered::Wrapped(Box::new(one.clone()))])
        }) as Broker)
    };
    world.broker = answering(&new);
    assert_eq!(world.run(&["get", "github", "token"]).await.answer(), "ghp_wrapped");
    world.broker = answering(&old);
    let (code, text) = world.run(&["get", "github", "token"]).await.refused();
    assert_eq!(code, Failure::CONFLICT);
    assert!(text.contains("older than what was seen"), "{text}");

    let stranger = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let mut other = wrapped(&mut world, &stranger, 3);
    world.broker = answering(&other);
    let (code, text) = world.run(&["get", "github", "token"]).await.refused();
    assert_eq!(code, Failure::DENIED);
    assert!(text.contains("does not open with your key") && !text.contains("ghp_"), "{text}");
    other.vault_id = "00112233445566778899aabbccddeeff".into();
    world.broker = answering(&other);
    assert_eq!(world.run(&["get", "github", "token"]).await.refused().0, Failure::CONFLICT);
}

#[tokio::test]
async fn nobody_who_answers_is_told_and_the_question_is_taken_away_all_the_same() {
    let mut world = asking(|_| Answer::of(Vec::new()));
    assert_eq!(world.run(&["get", "github"]).await.refused().0, Failure::CONFLICT);
    assert_eq!(world.written().last().map(|(method, ..)| method.clone()).as_deref(), Some("DELETE"));
    assert_eq!(world.run(&["get", "github", "--dry-run"]).await.refused().0, Failure::USAGE);
}
