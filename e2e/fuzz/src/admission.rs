//! What the API server sends the webhook, and what people write on pods.

use coffer_policy::resolve::{Candidate, Relation, connection_refs};
use coffer_webhook::{
    applied,
    draft::Draft,
    review::{self, Admitted},
    seal,
};

/// An AdmissionReview of a Connection: read, settled, checked, and answered.
pub(crate) fn review(data: &[u8]) {
    let mut request = match review::parse(data) {
        Ok(request) => request,
        Err(refusal) => {
            review::answer("", Err(refusal));
            return;
        }
    };
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    let decided = seal::check_values(draft.object())
        .and_then(|()| applied::settle(&request, &mut draft))
        .and_then(|_| seal::check_total(draft.object()))
        .and_then(|()| seal::check_sealed(draft.object(), request.old_object.expose()))
        .and_then(|()| seal::check_annotations(draft.object()))
        .map(|()| Admitted { patch: draft.into_patch(), ..Admitted::default() });
    let answer = review::answer(&request.uid, decided);
    assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok(), "every answer is JSON");
}

/// The annotation `coffer.dev/connections`.
pub(crate) fn pod_annotations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let candidate = |namespace: &str, name: &str, alias: &str, relation| Candidate {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        alias: alias.to_owned(),
        owner: "alice".to_owned(),
        relation,
    };
    let view = [
        candidate("a", "github", "github", Relation::Own),
        candidate("a", "gh2", "github", Relation::InScope),
        candidate("b", "slack", "chat", Relation::InScope),
        candidate("b", "chat", "other", Relation::OutOfScope),
    ];
    if let Ok(found) = connection_refs(text, &view) {
        assert!(found.len() <= view.len(), "each Connection once");
    }
}
