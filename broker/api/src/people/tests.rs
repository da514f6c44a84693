#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use super::*;
use crate::{ItemValue, ReleasedConnection};
use coffer_crds::{Author, EnvelopeConnection, EnvelopeMember, ReleaseStatus};
use coffer_keys::answer::{self, AnswerPublicKey};
use getrandom::{SysRng, rand_core::UnwrapErr};
use proptest::prelude::*;

fn wanted(name: &str, items: &[&str]) -> ReleaseConnection {
    ReleaseConnection {
        name: name.into(),
        namespace: None,
        items: items.iter().map(|i| (*i).into()).collect(),
    }
}

fn pending() -> PendingRelease {
    PendingRelease::new("team-a", "main", vec![wanted("github", &[])], None, &mut UnwrapErr(SysRng))
}

/// What the API server would store: admission's stamp and a uid.
fn stored(pending: &PendingRelease, by: &str) -> Release {
    let mut release = pending.object();
    release.metadata.uid = Some("uid-1".into());
    release.spec.requester = Some(Author { username: by.into(), uid: None, groups: vec!["devs".into()] });
    release
}

/// What the broker would store.
fn answered(mut release: Release, answer: &Answer) -> Release {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let key = AnswerPublicKey::parse(&release.spec.public_key).unwrap();
    let sealed = with_context(&release, &release.spec, |context| {
        answer::seal(&key, context, &answer.encode(), &mut UnwrapErr(SysRng))
    });
    release.status = Some(ReleaseStatus {
        phase: Some(RequestPhase::Answered),
        result: Some(STANDARD.encode(sealed)),
        ..ReleaseStatus::default()
    });
    release
}

fn items(text: &str, value: &[u8]) -> Delivered {
    Delivered::Items(ReleasedConnection {
        namespace: text.into(),
        name: "github".into(),
        alias: text.into(),
        type_: "opaque".into(),
        version: 3,
        items: [("token".to_owned(), ItemValue::new(value.to_vec()))].into(),
    })
}

fn wrapped() -> Delivered {
    let envelope = serde_json::json!({
        "v": 1, "suite": "s", "vaultID": "00112233445566778899aabbccddeeff",
        "connection": {"namespace": "team-a", "name": "github", "uid": "c-1"},
        "owner": {"name": "alice", "uid": "a-1"}, "version": 7, "revision": 9, "epoch": 2, "members": {"all": {}},
        "membersDigest": "", "commitment": "", "items": {}, "slots": [], "createdAt": "2026-01-02T03:04:05Z",
        "createdBy": "alice", "writer": {"username": "alice"}, "signature": "",
    });
    Delivered::Wrapped(Box::new(WrappedConnection {
        connection: EnvelopeConnection {
            namespace: "team-a".into(),
            name: "github".into(),
            uid: "c-1".into(),
        },
        alias: "github_pat".into(),
        type_: "opaque".into(),
        member: EnvelopeMember { name: "alice".into(), uid: "a-1".into() },
        vault_id: "00112233445566778899aabbccddeeff".into(),
        custodian_key: "k".into(),
        wrapped_keys: Vec::new(),
        envelope: serde_json::from_value(envelope).unwrap(),
        items: vec!["token".into()],
    }))
}

#[test]
fn the_canonical_form_is_frozen() {
    let spec = ReleaseSpec {
        vault: "main".into(),
        connections: vec![
            wanted("github", &["a", "b"]),
            ReleaseConnection { namespace: Some("x".into()), ..wanted("s", &[]) },
        ],
        public_key: "AAAA".into(),
        reason: Some("why".into()),
        requester: Some(Author { username: "alice".into(), ..Author::default() }),
        impersonation_possible: Some(true),
    };
    let expected: &[u8] = b"\0\0\0\x11coffer/v1/release\0\0\0\x06team-a\0\0\0\x04main\0\0\0\x012\
        \0\0\0\x06github\0\0\0\0\0\0\0\x012\0\0\0\x01a\0\0\0\x01b\0\0\0\x01s\0\0\0\x01x\0\0\0\x010\
        \0\0\0\x04AAAA\0\0\0\x03why";
    assert_eq!(canonical("team-a", &spec), expected);
}

#[test]
fn an_answer_opens_for_whoever_asked_and_says_what_was_granted() {
    let pending = pending();
    let release = answered(stored(&pending, "alice"), &Answer::of(vec![items("a", b"v"), wrapped()]));
    assert_eq!(pending.progress(&release), Progress::Answered);
    let granted = pending.open(&release).unwrap().granted().unwrap();
    assert!(granted == vec![items("a", b"v"), wrapped()]);
}

#[test]
fn a_denial_keeps_its_code_text_and_time_to_wait() {
    let pending = pending();
    let answer = Answer::denied(429, "Too fast".into(), Some(3));
    let denied = pending.open(&answered(stored(&pending, "alice"), &answer)).unwrap().granted().err();
    assert_eq!(denied, Some(Denied { code: 429, message: "Too fast".into(), retry_after_seconds: Some(3) }));
}

/// T2, T20: an answer belongs to one object, one requester and the very words that were asked.
#[test]
fn an_answer_of_another_request_or_requester_does_not_open() {
    let answer = Answer::of(vec![items("a", b"v")]);
    let changes: [fn(&mut Release); 3] = [
        |release| release.metadata.uid = Some("uid-2".into()),
        |release| release.spec.requester = Some(Author { username: "mallory".into(), ..Author::default() }),
        |release| release.metadata.namespace = Some("team-b".into()),
    ];
    for change in changes {
        let pending = pending();
        let mut release = answered(stored(&pending, "alice"), &answer);
        change(&mut release);
        assert_eq!(pending.open(&release).err(), Some(NotOpened::DoesNotOpen));
    }
    // Sealed for other words than this client sent: somebody changed the object on its way in.
    let asked = pending();
    let mut changed = stored(&asked, "alice");
    changed.spec.connections[0].name = "gitlab".into();
    assert_eq!(asked.open(&answered(changed, &answer)).err(), Some(NotOpened::DoesNotOpen));
    assert_eq!(pending().open(&stored(&asked, "alice")).err(), Some(NotOpened::Unanswered));
}

#[test]
fn what_is_not_an_answer_is_refused_without_repeating_it() {
    let nothing = br#"{"v":1,"code":200,"message":"","connections":[{"namespace":"","name":"","alias":"","type":"","version":1}]}"#;
    let newer = br#"{"v":2,"code":200,"message":"","connections":[]}"#;
    for bytes in [&b""[..], b"{}", nothing, newer] {
        assert_eq!(Answer::decode(bytes).err(), Some(NotOpened::Malformed));
    }
}

#[test]
fn a_request_is_under_a_name_that_nobody_guesses_and_tells_what_it_waits_for() {
    let (one, other) = (pending(), pending());
    assert_ne!(one.name(), other.name());
    assert!(one.name().len() == 32 && coffer_crds::limits::is_label(one.name()));
    let mut release = stored(&one, "alice");
    assert_eq!(one.progress(&release), Progress::Waiting(None));
    let status = |phase, message: &str| ReleaseStatus {
        phase: Some(phase),
        message: Some(message.into()),
        ..ReleaseStatus::default()
    };
    release.status = Some(status(RequestPhase::Pending, "no broker"));
    assert_eq!(one.progress(&release), Progress::Waiting(Some("no broker".into())));
    release.status = Some(status(RequestPhase::Failed, "nobody"));
    assert_eq!(one.progress(&release), Progress::Failed("nobody".into()));
}

proptest! {
    /// T2: two different requests never share their canonical bytes, wherever a separator could be moved to.
    #[test]
    fn different_requests_have_different_canonical_bytes(
        a in proptest::collection::vec(("[a]{1,2}", "[a]{0,2}", proptest::collection::vec("[a]{1,2}", 0..3)), 0..3),
        b in proptest::collection::vec(("[a]{1,2}", "[a]{0,2}", proptest::collection::vec("[a]{1,2}", 0..3)), 0..3),
    ) {
        let spec = |connections: &[(String, String, Vec<String>)]| ReleaseSpec {
            vault: "main".into(),
            connections: connections
                .iter()
                .map(|(name, namespace, items)| ReleaseConnection {
                    name: name.clone(), namespace: Some(namespace.clone()), items: items.clone(),
                })
                .collect(),
            public_key: "k".into(), reason: None, requester: None, impersonation_possible: None,
        };
        prop_assert_eq!(a == b, canonical("n", &spec(&a)) == canonical("n", &spec(&b)));
    }

    /// C27: nothing is lost on the way, and the buffer never grows while values are written into it.
    #[test]
    fn encode_then_decode_is_identity_and_fits_its_first_buffer(
        text in ".{0,12}", value in proptest::collection::vec(any::<u8>(), 0..300), code in 200u16..600,
    ) {
        let answer = Answer {
            code, message: text.clone(), retry_after_seconds: Some(u64::MAX),
            connections: vec![items(&text, &value), wrapped(), items(&text, &value)],
        };
        let bytes = answer.encode();
        prop_assert!(bytes.len() <= bytes.capacity());
        prop_assert!(bytes.len() <= wire::bound_of(&answer), "{} > {}", bytes.len(), wire::bound_of(&answer));
        prop_assert!(Answer::decode(&bytes).is_ok_and(|after| after == answer));
    }
}
