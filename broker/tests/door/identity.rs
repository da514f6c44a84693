//! Who may come in at all.

use crate::world::{DRIVER, World, account, identity, now, request, rng};
use coffer_broker::{
    audit::{ActorKind, Decision, Event},
    facts::Key,
    last_used::Used,
};
use coffer_keys::answer::EphemeralKey;
use std::sync::atomic::Ordering;

fn world() -> World {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "hunter2");
    world
}

#[tokio::test]
async fn a_pod_gets_its_credential_itself_and_through_its_node_s_driver() {
    let world = world();
    let (pod, driver) = (world.tokens.pod("web"), world.tokens.driver("n1"));
    let by_agent = world.ask(&pod, &["team-a/github"]).await;
    let by_driver = world.ask_by_driver(&pod, &driver, &["team-a/github"]).await;
    for answer in [by_agent, by_driver] {
        let released = answer.open(&pod);
        let only = &released.connections[0];
        assert_eq!((only.namespace.as_str(), only.name.as_str()), ("team-a", "github"));
        assert_eq!((only.alias.as_str(), only.type_.as_str(), only.version), ("github", "opaque", 1));
        assert_eq!(only.items["token"].expose(), b"hunter2");
    }
    let used = world.used.lock().unwrap().clone();
    let key = |name: &str| Key { namespace: "team-a".into(), name: name.into() };
    assert!(
        used.contains(&Used::Member(key("web"))) && used.contains(&Used::Connection(key("github"))),
        "{used:?}"
    );
}

#[tokio::test]
async fn without_an_accepted_token_nobody_comes_in() {
    let world = world();
    let (pod, driver) = (world.tokens.pod("web"), world.tokens.driver("n1"));
    for (pod_token, driver_token) in [
        (None, None),
        (None, Some(driver.as_str())),
        (Some(""), None),
        (Some("unknown.to.anybody"), None),
        (Some("not a token"), None),
        (Some("unknown.to.anybody"), Some(driver.as_str())),
        (Some(pod.token.as_str()), Some("unknown.to.anybody")),
        (Some(pod.token.as_str()), Some("")),
    ] {
        let answer = world.ask_as(&pod, pod_token, driver_token, &["team-a/github"]).await;
        assert_eq!((answer.status, answer.error().code), (401, 401), "{pod_token:?} {driver_token:?}");
    }
    let records = world.records().await;
    assert_eq!(records.len(), 8);
    assert!(records.iter().all(|r| r.entry.event == Event::Authentication));
    assert!(records.iter().all(|r| r.entry.decision == Decision::Denied));
    assert_eq!(records[0].entry.actor.kind, ActorKind::Anonymous);
}

/// The driver of one node cannot fetch what belongs to pods of another node.
#[tokio::test]
async fn a_driver_from_another_node_is_refused() {
    let world = world();
    let (pod, driver) = (world.tokens.pod("web"), world.tokens.driver("n2"));
    let answer = world.ask_by_driver(&pod, &driver, &["team-a/github"]).await;
    assert_eq!(answer.status, 401);
    let records = world.records().await;
    assert_eq!(records[0].entry.reason.as_deref(), Some("OtherNode"));
    assert_eq!(records[0].entry.actor.name.as_deref(), Some(DRIVER));
    assert_eq!(records[0].entry.actor.node.as_deref(), Some("n2"));
}

#[tokio::test]
async fn a_token_that_does_not_say_its_node_is_nobody_s_on_this_node() {
    let world = world();
    let (pod, driver) = (world.tokens.pod("web"), world.tokens.driver("n1"));
    world.tokens.accept(&pod.token, identity(&pod, None));
    assert_eq!(world.ask_by_driver(&pod, &driver, &["team-a/github"]).await.status, 401);
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 200, "its agent needs no node");
}

/// The pod uid that the kubelet gave must be the token's; name and namespace as well.
#[tokio::test]
async fn a_pod_that_is_not_the_token_s_is_refused_with_and_without_a_driver() {
    let world = world();
    let (pod, driver) = (world.tokens.pod("web"), world.tokens.driver("n1"));
    let (mut other_uid, mut other_name, mut other_namespace) = (pod.clone(), pod.clone(), pod.clone());
    other_uid.uid = "uid-of-another".into();
    other_name.name = "another".into();
    other_namespace.namespace = "team-b".into();
    for claimed in [other_uid, other_name, other_namespace] {
        for driver in [None, Some(driver.as_str())] {
            let answer = world.ask_as(&claimed, Some(&pod.token), driver, &["team-a/github"]).await;
            assert_eq!(
                (answer.status, answer.error().message.as_str()),
                (401, "The token is not this pod's")
            );
        }
    }
}

/// A pod's token that was stolen speaks for that pod only: not for another one, and not as a driver.
#[tokio::test]
async fn a_stolen_pod_token_cannot_be_used_for_another_pod() {
    let mut world = world();
    world.member("intern", account("intern"), "member");
    let (web, intern) = (world.tokens.pod("web"), world.tokens.pod("intern"));
    for (pod_token, driver_token) in
        [(&intern.token, None), (&intern.token, Some(&intern.token)), (&web.token, Some(&intern.token))]
    {
        let answer =
            world.ask_as(&web, Some(pod_token), driver_token.map(String::as_str), &["team-a/github"]).await;
        assert_eq!(answer.status, 401);
    }
}

/// Anybody who may create tokens can mint one for the driver's ServiceAccount. Without a pod it is not the driver.
#[tokio::test]
async fn a_driver_token_that_is_bound_to_no_pod_is_not_the_driver_s() {
    let world = world();
    let (pod, driver) = (world.tokens.pod("web"), world.tokens.driver("n1"));
    let mut minted = identity(&pod, Some("n1"));
    minted.caller.username = DRIVER.into();
    minted.pod = None;
    world.tokens.accept(&driver, minted);
    let answer = world.ask_by_driver(&pod, &driver, &["team-a/github"]).await;
    assert_eq!(answer.error().message, "The driver's token is not the node driver's");
}

#[tokio::test]
async fn tokens_of_people_and_unbound_tokens_do_not_open_this_door() {
    let world = world();
    let pod = world.tokens.pod("web");
    let mut unbound = identity(&pod, Some("n1"));
    unbound.pod = None;
    let mut person = identity(&pod, Some("n1"));
    person.caller.username = "alice".into();
    for identity in [unbound, person] {
        world.tokens.accept(&pod.token, identity);
        let answer = world.ask(&pod, &["team-a/github"]).await;
        assert_eq!(
            (answer.status, answer.error().message.as_str()),
            (401, "The pod's token is not bound to a pod")
        );
    }
}

#[tokio::test]
async fn when_nobody_can_be_asked_about_tokens_the_answer_is_503_and_not_a_guess() {
    let world = world();
    let pod = world.tokens.pod("web");
    world.tokens.down.store(true, Ordering::SeqCst);
    let answer = world.ask(&pod, &["team-a/github"]).await;
    assert_eq!((answer.status, answer.retry_after), (503, Some(1)));
}

/// T26: the same name, but another ServiceAccount: a stranger, told what a stranger is told.
#[tokio::test]
async fn a_service_account_that_was_deleted_and_made_again_is_a_stranger() {
    let world = world();
    let pod = world.tokens.pod("web");
    let mut again = identity(&pod, Some("n1"));
    again.caller.uid = Some("sa-web-made-again".into());
    world.tokens.accept(&pod.token, again.clone());
    let answer = world.ask(&pod, &["team-a/github"]).await;
    assert_eq!(
        (answer.status, answer.error().message.as_str()),
        (404, "Credential 'team-a/github' not found")
    );
    again.caller.uid = None;
    world.tokens.accept(&pod.token, again);
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 404);
}

/// T20, C35: whoever the body or a header says the actor is, the tokens decide.
#[tokio::test]
async fn an_actor_named_in_the_body_or_in_headers_is_ignored() {
    let mut world = world();
    world.member("intern", account("intern"), "member");
    let intern = world.tokens.pod("intern");
    let key = EphemeralKey::generate(&mut rng());
    let mut body = serde_json::to_value(request(&intern, &key, &["team-a/github"])).unwrap();
    let web = "system:serviceaccount:team-a:web";
    for field in ["actor", "member", "user", "username", "requester", "serviceAccount", "subject"] {
        body[field] = web.into();
        body["pod"][field] = web.into();
    }
    let mut test = warp::test::request().method("POST").path("/v1/release");
    for header in
        ["x-remote-user", "impersonate-user", "x-forwarded-user", "x-forwarded-client-cert", "coffer-actor"]
    {
        test = test.header(header, web);
    }
    let test = test.header("authorization", format!("Bearer {}", intern.token));
    let response = test.json(&body).reply(&world.routes).await;
    assert_eq!(response.status(), 403);
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(text.contains("is not accessible to member 'intern'. Allowed: web"), "{text}");
    let records = world.records().await;
    assert_eq!(records[0].entry.actor.name.as_deref(), Some("system:serviceaccount:team-a:intern"));
    assert_eq!(records[0].entry.time, now().to_string().replace('Z', ".000Z"));
}

/// Two values for one header: nobody could say which one counts.
#[tokio::test]
async fn a_token_header_that_comes_twice_is_no_token() {
    let world = world();
    let (web, intern) = (world.tokens.pod("web"), world.tokens.pod("intern"));
    let key = EphemeralKey::generate(&mut rng());
    let test = warp::test::request()
        .method("POST")
        .path("/v1/release")
        .header("authorization", format!("Bearer {}", web.token))
        .header("authorization", format!("Bearer {}", intern.token));
    let response = test.json(&request(&web, &key, &["team-a/github"])).reply(&world.routes).await;
    assert_eq!(response.status(), 401);
}
