//! AuditQueries: who asks, and how often. What they are shown is the broker's to decide.

use std::{sync::LazyLock, time::Instant};

use coffer_crds::AuditQuery;
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

static SCHEMA: SpecSchema = LazyLock::new(|| spec_schema(&AuditQuery::crd()));

/// Decides a CREATE and stamps it: `requester` says who asks. One that names somebody else is refused. The operator asks as
/// often as members lose access; everybody else is paced. An AuditQuery never changes, as its schema says.
///
/// # Errors
/// [`Refusal`].
pub fn admit(mut request: Request, operator: &str, pace: &Pace, now: Instant) -> Result<Admitted, Refusal> {
    if request.operation != Operation::Create {
        return Ok(Admitted::default());
    }
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    let new: AuditQuery = typed(draft.object(), &SCHEMA)?;
    check_form(draft.object(), &Value::Null, &SCHEMA)?;
    let user = &request.user_info;
    let question = Question {
        kinds: "AuditQueries",
        public_key: &new.spec.public_key,
        requester: new.spec.requester.as_ref(),
    };
    question.check(user)?;
    if user.username != operator {
        question.pace(user, pace, now)?;
    }
    stamp(&mut draft, &["spec", "requester"], &Value::Null, user, true)?;
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

    const OPERATOR: &str = "system:serviceaccount:coffer-system:coffer-operator";

    fn query() -> Value {
        json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "AuditQuery",
            "metadata": {"namespace": "a", "name": "q"},
            "spec": {
                "vault": "team", "filter": {"member": "bob"}, "lastReads": true,
                "publicKey": EphemeralKey::generate(&mut rng()).public().to_base64(),
            },
        })
    }

    fn pace() -> Pace {
        Pace::new(2, Duration::from_secs(1))
    }

    fn admitted(by: &str, object: &Value, pace: &Pace) -> Result<Value, Refusal> {
        let review = review("CREATE", by, object.clone(), Value::Null);
        let request = review::parse(&serde_json::to_vec(&review).unwrap()).unwrap();
        let admitted = admit(request, OPERATOR, pace, Instant::now())?;
        Ok(patched(object, &admitted.patch)["spec"].clone())
    }

    /// T20: for users, ServiceAccounts and the operator; a client says nothing of who it is.
    #[test]
    fn a_question_is_stamped_with_who_sent_it_and_one_in_another_s_name_is_refused() {
        for by in ["alice", "system:serviceaccount:a:web", OPERATOR] {
            let spec = admitted(by, &query(), &pace()).unwrap();
            assert_eq!(spec["requester"]["username"], by);
            assert_eq!(spec["filter"], json!({"member": "bob"}));
        }
        let mut forged = query();
        forged["spec"]["requester"] = json!({"username": OPERATOR, "groups": ["system:authenticated"]});
        assert!(matches!(admitted("alice", &forged, &pace()), Err(Refusal::Authorize(_))));
    }

    #[test]
    fn whoever_asks_without_end_is_told_to_wait_and_the_operator_is_not() {
        let pace = pace();
        for _ in 0..2 {
            assert!(admitted("alice", &query(), &pace).is_ok());
        }
        assert!(matches!(admitted("alice", &query(), &pace), Err(Refusal::SlowDown(_))));
        assert!((0..20).all(|_| admitted(OPERATOR, &query(), &pace).is_ok()));
    }

    #[test]
    fn a_key_that_nothing_can_be_sealed_to_is_refused_with_the_field() {
        let mut object = query();
        object["spec"]["publicKey"] = json!("A".repeat(1624));
        let refusal = admitted("alice", &object, &pace()).unwrap_err();
        assert!(refusal.to_string().contains("spec.publicKey"), "{refusal}");
    }
}
