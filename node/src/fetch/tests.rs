#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fake_broker::{Answer, FakeBroker, authority, pod_token};

fn pod() -> PodReference {
    PodReference { namespace: "team-a".into(), name: "web-0".into(), uid: "pod-1".into() }
}

fn connections() -> Vec<String> {
    vec!["team-a/github".to_owned()]
}

fn github() -> Answer {
    Answer::Release(vec![("github", vec![("token", "t0p")])])
}

async fn ask(broker: &Broker) -> Result<Released, ReleaseError> {
    broker.release(&connections(), &pod(), &pod_token()).await
}

#[tokio::test]
async fn what_the_broker_releases_opens_with_the_key_of_this_request_and_both_tokens_were_shown() {
    let fake = FakeBroker::start(|_| github()).await;
    let broker = fake.client();
    let released = ask(&broker).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(released.connections[0].items["token"].expose(), b"t0p");
    assert!(ask(&broker).await.is_ok());
    let received = fake.received.lock().unwrap().clone();
    assert!(received[0].authorization.starts_with("Bearer e30."));
    assert_eq!(received[0].driver_token, "driver-token");
    assert_eq!(received[0].request.pod, pod());
    received.iter().for_each(|received| received.request.validate().unwrap());
    assert_ne!(received[0].request.public_key, received[1].request.public_key, "one key for one answer");
    assert_ne!(received[0].request.request_id, received[1].request.request_id);
}

/// Makes the expected error from the broker's text.
type Kind = fn(String) -> ReleaseError;

/// C21, C34: each of the broker's codes stays what it is, and its sentence stays word for word.
#[tokio::test]
async fn a_refusal_keeps_its_kind_and_its_words() {
    let text = "Credential 'github' is not accessible to member 'intern'. Allowed: web";
    let kinds: [(u16, Kind); 7] = [
        (400, ReleaseError::Malformed),
        (401, ReleaseError::Unauthenticated),
        (403, ReleaseError::Forbidden),
        (404, ReleaseError::NotFound),
        (413, ReleaseError::TooLarge),
        (429, |message| ReleaseError::RateLimited { message, retry_after: Duration::from_secs(7) }),
        (503, |message| ReleaseError::Unavailable { message, retry_after: Duration::from_secs(7) }),
    ];
    for (code, kind) in kinds {
        let fake = FakeBroker::start(move |_| Answer::Refuse(code, text, Some(7))).await;
        let error = ask(&fake.client()).await.err().unwrap();
        assert_eq!(error, kind(text.to_owned()));
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn an_answer_for_somebody_else_or_of_no_form_is_not_used() {
    let fake = FakeBroker::start(|_| Answer::SealedForAnother).await;
    let broker = fake.client();
    let not_ours = ReleaseError::UnusableAnswer("it was not sealed for this request");
    assert_eq!(ask(&broker).await.err(), Some(not_ours));
    for body in
        ["", "{}", "[]", r#"{"v":2,"requestID":"x","sealed":""}"#, r#"{"v":1,"requestID":"x","sealed":""}"#]
    {
        fake.decide(move |_| Answer::Raw(body));
        assert!(matches!(ask(&broker).await.err(), Some(ReleaseError::UnusableAnswer(_))), "{body}");
    }
}

#[tokio::test]
async fn a_broker_that_other_certificates_vouch_for_gets_no_token_until_the_file_says_so() {
    let fake = FakeBroker::start(|_| github()).await;
    let broker = fake.client();
    std::fs::write(fake.ca_file(), authority().pem()).unwrap();
    let error = ask(&broker).await.err().unwrap();
    assert!(matches!(&error, ReleaseError::Unreachable(text) if text.contains("certificate")), "{error}");
    assert!(fake.asked().is_empty());
    std::fs::write(fake.ca_file(), fake.ca_pem()).unwrap();
    assert!(ask(&broker).await.is_ok(), "read again");
    std::fs::write(fake.ca_file(), "no certificate").unwrap();
    assert!(matches!(ask(&broker).await.err(), Some(ReleaseError::NotSetUp(_))));
}

#[tokio::test]
async fn without_its_own_token_the_driver_does_not_ask() {
    let fake = FakeBroker::start(|_| github()).await;
    std::fs::remove_file(fake.dir.path().join("token")).unwrap();
    let error = ask(&fake.client()).await.err().unwrap();
    assert!(matches!(&error, ReleaseError::NotSetUp(text) if text.contains("token")), "{error}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_broker_that_comes_back_in_time_is_asked_again() {
    let count = AtomicUsize::new(0);
    let fake = FakeBroker::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::Refuse(503, "the audit log is not available", None),
        1 => Answer::Refuse(429, "too many", Some(1)),
        _ => github(),
    })
    .await;
    let asked = fake.client();
    let released =
        asked.release_patiently(&connections(), &pod(), &pod_token(), Duration::from_secs(20)).await;
    assert!(released.is_ok());
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn patience_ends_with_the_broker_s_own_words_and_a_no_is_not_asked_again() {
    let fake = FakeBroker::start(|_| Answer::Refuse(503, "the audit log is not available", None)).await;
    let broker = fake.client();
    let patience = Duration::from_millis(300);
    let error = broker.release_patiently(&connections(), &pod(), &pod_token(), patience).await.err().unwrap();
    assert_eq!(error.to_string(), "the audit log is not available");
    // Another one: the first may still be reading what was given up.
    let fake = FakeBroker::start(|_| Answer::Refuse(404, "Credential 'github' not found", None)).await;
    let broker = fake.client();
    let error = broker.release_patiently(&connections(), &pod(), &pod_token(), Duration::from_secs(20)).await;
    assert_eq!(error.err(), Some(ReleaseError::NotFound("Credential 'github' not found".into())));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_unreachable() {
    let fake = FakeBroker::start(|_| github()).await;
    let nowhere = "https://localhost:1".parse().unwrap();
    let broker = Broker::new(&nowhere, fake.ca_file(), fake.dir.path().join("token")).unwrap();
    assert!(matches!(ask(&broker).await.err(), Some(ReleaseError::Unreachable(_))));
}

#[test]
fn a_broker_is_an_https_origin() {
    for address in ["http://broker:8443", "broker:8443", "https://broker/path", "https://broker/?q", "/v1"] {
        let made = Broker::new(&address.parse().unwrap(), PathBuf::new(), PathBuf::new());
        assert_eq!(made.err(), Some(InvalidBroker), "{address}");
    }
    let plain = "https://coffer-broker.coffer-system.svc:8443".parse().unwrap();
    assert!(Broker::new(&plain, PathBuf::new(), PathBuf::new()).is_ok());
}
