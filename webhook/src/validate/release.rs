//! Releases: who asks, and how often. Whether they get anything is the broker's to decide.

use std::{sync::LazyLock, time::Instant};

use coffer_crds::Release;
use kube::CustomResourceExt as _;
use serde_json::Value;

use super::{SpecSchema, check_form, question::Question, spec_schema, typed};
use crate::{
    draft::Draft,
    pace::Pace,
    refusal::Refusal,
    review::{Admitted, Operation, Request},
    stamp::stamp,
};

static SCHEMA: SpecSchema = LazyLock::new(|| spec_schema(&Release::crd()));

/// Decides a CREATE and stamps it: `requester` says who asks, `impersonationPossible` whether that may be somebody else.
/// One that names somebody else is refused. A Release never changes, as its schema says.
///
/// # Errors
/// [`Refusal`].
pub fn admit(mut request: Request, pace: &Pace, now: Instant) -> Result<Admitted, Refusal> {
    if request.operation != Operation::Create {
        return Ok(Admitted::default());
    }
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    let new: Release = typed(draft.object(), &SCHEMA)?;
    check_form(draft.object(), &Value::Null, &SCHEMA)?;
    let user = &request.user_info;
    let question = Question {
        kinds: "Releases",
        public_key: &new.spec.public_key,
        requester: new.spec.requester.as_ref(),
    };
    question.check(user)?;
    question.pace(user, pace, now)?;
    stamp(&mut draft, &["spec", "requester"], &Value::Null, user, true)?;
    let impersonation = ["spec", "impersonationPossible"];
    if user.has_credential_id() {
        draft.remove(impersonation);
    } else {
        draft.set(impersonation, Value::Bool(true))?;
    }
    Ok(Admitted { patch: draft.into_patch(), ..Admitted::default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

    use std::time::Duration;

    use coffer_keys::answer::EphemeralKey;
    use serde_json::json;

    use super::*;
    use crate::{
        fixtures::{patched, review, rng},
        review,
    };

    fn release() -> Value {
        json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "Release",
            "metadata": {"namespace": "a", "name": "r"},
            "spec": {
                "vault": "team", "connections": [{"name": "github"}],
                "publicKey": EphemeralKey::generate(&mut rng()).public().to_base64(),
            },
        })
    }

    fn pace() -> Pace {
        Pace::new(2, Duration::from_secs(1))
    }

    fn request(by: &str, object: &Value, extra: Value) -> Request {
        let mut review = review("CREATE", by, object.clone(), Value::Null);
        review["request"]["userInfo"]["extra"] = extra;
        review::parse(&serde_json::to_vec(&review).unwrap()).unwrap()
    }

    fn admitted(by: &str, object: &Value, extra: &Value) -> Value {
        let admitted = admit(request(by, object, extra.clone()), &pace(), Instant::now()).unwrap();
        patched(object, &admitted.patch)["spec"].clone()
    }

    /// T20: for users and ServiceAccounts; and a mark where somebody may have used `--as`, whatever the client wrote.
    #[test]
    fn a_release_is_stamped_with_who_sent_it_and_whether_that_may_be_somebody_else() {
        let credential = json!({"authentication.kubernetes.io/credential-id": ["X509SHA256=00"]});
        for by in ["alice", "system:serviceaccount:a:web"] {
            for claimed in [Value::Null, json!(true), json!(false)] {
                let mut object = release();
                object["spec"]["impersonationPossible"] = claimed;
                let spec = admitted(by, &object, &credential);
                assert_eq!(spec["requester"]["username"], by);
                assert_eq!(spec["requester"]["groups"], json!(["system:authenticated"]));
                assert!(spec.get("impersonationPossible").is_none_or(Value::is_null), "{spec}");
                let none = json!({"authentication.kubernetes.io/credential-id": []});
                for unknown in [Value::Null, json!({}), none] {
                    assert_eq!(admitted(by, &object, &unknown)["impersonationPossible"], true);
                }
            }
        }
    }

    /// T20: another name, another uid, groups that the caller is not in or leaves out.
    #[test]
    fn a_release_in_another_s_name_is_refused_and_one_in_one_s_own_is_not() {
        let own = json!({"username": "alice", "uid": "uid-of-alice", "groups": ["system:authenticated"]});
        let mut object = release();
        object["spec"]["requester"] = own.clone();
        assert_eq!(admitted("alice", &object, &Value::Null)["requester"], own);
        for (field, other) in [
            ("username", json!("bob")),
            ("username", json!("system:serviceaccount:a:web")),
            ("uid", json!("another")),
            ("groups", json!(["system:authenticated", "system:masters"])),
            ("groups", json!([])),
        ] {
            object["spec"]["requester"] = own.clone();
            object["spec"]["requester"][field] = other;
            let refusal = admit(request("alice", &object, Value::Null), &pace(), Instant::now()).unwrap_err();
            assert!(matches!(refusal, Refusal::Authorize(_)), "{refusal}");
        }
    }

    #[test]
    fn a_key_that_nothing_can_be_sealed_to_is_refused_by_name() {
        let mut object = release();
        object["spec"]["publicKey"] = json!("A".repeat(1624));
        for wrong in [json!("A".repeat(1624)), json!("short")] {
            object["spec"]["publicKey"] = wrong;
            let refusal = admit(request("alice", &object, Value::Null), &pace(), Instant::now()).unwrap_err();
            assert!(refusal.to_string().contains("spec.publicKey"), "{refusal}");
        }
    }

    #[test]
    fn a_flood_is_refused_with_what_is_allowed_and_costs_nobody_else() {
        let (pace, now) = (pace(), Instant::now());
        let ask = |by: &str| admit(request(by, &release(), Value::Null), &pace, now);
        assert!(ask("mallory").is_ok() && ask("mallory").is_ok());
        let refusal = ask("mallory").unwrap_err();
        assert_eq!(refusal.status().0, http::StatusCode::TOO_MANY_REQUESTS);
        assert!(refusal.to_string().contains("2 at once, then one a second"), "{refusal}");
        assert!(ask("alice").is_ok());
    }
}
