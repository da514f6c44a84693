//! An answer is taken when it is one to the question, and from whom it may come.

use std::sync::Arc;

use coffer_broker_api::{
    ItemValue, ReleasedConnection,
    people::{Answer, Delivered},
};
use coffer_crds::Release;
use coffer_keys::member_key::MemberSecretKey;
use serde_json::{Value, json};

use super::{
    values::{asking, items, wrapped},
    world::{GITHUB, MEMBERS, Outcome, World, github, list_of, member},
};
use crate::Failure;

/// What a broker answers that speaks of `github` as something else.
fn called(namespace: &str, name: &str, alias: &str) -> impl Fn(&Release) -> Answer + Send + Sync + 'static {
    let released = ReleasedConnection {
        namespace: namespace.into(),
        name: name.into(),
        alias: alias.into(),
        type_: "opaque".into(),
        version: 2,
        items: [("token".to_owned(), ItemValue::new(b"ghp_other".to_vec()))].into(),
    };
    move |_| Answer::of(vec![Delivered::Items(released.clone())])
}

fn is_refused(said: &Outcome, text: &str) {
    let (code, message) = said.refused();
    assert_eq!(code, Failure::CONFLICT, "{message}");
    assert!(message.contains(text) && !message.contains("ghp_"), "{message}");
    assert!(said.answer.is_empty(), "nothing is printed");
}

#[tokio::test]
async fn an_answer_about_something_else_is_not_taken() {
    for (namespace, name) in [("team", "slack"), ("elsewhere", "slack")] {
        let mut world = asking(called(namespace, name, name));
        let said = world.run(&["get", "github", "token"]).await;
        is_refused(&said, &format!("answered with '{namespace}/{name}'"));
        let said = world.run(&["exec", "github", "--", "echo", "never"]).await;
        is_refused(&said, "nothing is taken");
    }
    let mut world = asking(called("elsewhere", "github", "github"));
    is_refused(&world.run(&["get", "team/github", "token"]).await, "answered with 'elsewhere/github'");
    let mut world = asking(|_| items());
    is_refused(&world.run(&["get", "github", "token"]).await, "others were answered");
    let mut world = asking(|_| Answer::of([items().connections, items().connections].concat()));
    is_refused(&world.run(&["get", "github", "-o", "json"]).await, "answered 2 credentials, and 1");
}

/// The alias in an answer is the broker's word: the Connection itself says whether it has it.
#[tokio::test]
async fn an_alias_is_believed_when_the_connection_has_it() {
    let mut world = asking(called("team", "github", "gh"));
    is_refused(&world.run(&["get", "gh", "token"]).await, "'gh' was asked for");
    let mut named = github();
    named["spec"]["alias"] = json!("gh");
    let mut world = asking(called("team", "github", "gh")).answering(("GET", GITHUB, 200, named.clone()));
    assert_eq!(world.run(&["get", "gh", "token"]).await.answer(), "ghp_other");
    named["spec"]["vault"]["name"] = json!("another");
    let mut world = asking(called("team", "github", "gh")).answering(("GET", GITHUB, 200, named));
    is_refused(&world.run(&["get", "gh", "token"]).await, "'gh' was asked for");
}

fn bob_with_key() -> Value {
    let mut bob = member("bob", "member", "Active");
    bob["status"]["custody"] = json!("Self");
    list_of("VaultMember", &[member("alice", "owner", "Active"), bob])
}

/// Who has a key gets what it opens: values in the clear are somebody else's.
#[tokio::test]
async fn a_member_with_a_key_takes_nothing_in_the_clear_unless_it_says_so() {
    let mut world =
        asking(called("team", "github", "github")).answering(("GET", MEMBERS, 200, bob_with_key()));
    is_refused(&world.run(&["get", "github", "token"]).await, "key of your own in vault 'team'");
    is_refused(&world.run(&["exec", "github", "--", "echo", "never"]).await, "in the clear");
    let said = world.run(&["get", "github", "token", "--brokered"]).await;
    assert_eq!(said.answer(), "ghp_other");
}

/// Whoever can make the API server show another VaultMember does not make this machine forget the key.
#[tokio::test]
async fn that_one_has_a_key_is_remembered_here() {
    let mut world = World::new("bob").with_team();
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    let key =
        MemberSecretKey::from_file(&std::fs::read(world.home().key).expect("a file"), None).expect("a key");
    let own = wrapped(&mut world, &key, 1);
    world.broker = Some(Arc::new(move |_| Answer::of(vec![Delivered::Wrapped(Box::new(own.clone()))])));
    assert_eq!(world.run(&["get", "github", "token"]).await.answer(), "ghp_wrapped");
    world.broker = Some(Arc::new(called("team", "github", "github")));
    is_refused(&world.run(&["get", "github", "token"]).await, "key of your own in vault 'team'");
    let mut bob = member("bob", "member", "Active");
    bob["spec"]["acceptance"] = json!({});
    let members = list_of("VaultMember", &[bob]);
    let mut world = world.answering(("GET", MEMBERS, 200, members));
    world.run(&["accept", "--brokered"]).await.answer();
    assert_eq!(world.run(&["get", "github", "token"]).await.answer(), "ghp_other");
}

/// What a member with a key opens is what it asked for, whatever the answer says that was.
#[tokio::test]
async fn what_is_opened_is_what_was_asked_for() {
    let mut world = World::new("bob").with_team();
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    let key =
        MemberSecretKey::from_file(&std::fs::read(world.home().key).expect("a file"), None).expect("a key");
    let mut own = wrapped(&mut world, &key, 1);
    own.items = vec!["another".into()];
    let sent = own.clone();
    world.broker = Some(Arc::new(move |_| Answer::of(vec![Delivered::Wrapped(Box::new(sent.clone()))])));
    assert_eq!(world.run(&["get", "github", "token"]).await.answer(), "ghp_wrapped");
    own.alias = "slack".into();
    world.broker = Some(Arc::new(move |_| Answer::of(vec![Delivered::Wrapped(Box::new(own.clone()))])));
    is_refused(&world.run(&["get", "slack", "token"]).await, "'slack' was asked for");
}
