//! Who wrote what: `lastWriter`, `invitedBy` and `acceptance.by` say what the API server authenticated, and nothing
//! that the caller sent (T20).

use serde_json::{Map, Value};

use crate::{draft::Draft, refusal::Refusal, review::UserInfo};

/// Paths below `spec`, for [`differs`].
pub type Paths<'a> = &'a [&'a [&'a str]];

/// Puts the stamp at `path`: the caller, when what it vouches for `changed`; else what is stored, whatever was sent.
///
/// # Errors
/// When something on the way to `path` is no object.
pub fn stamp(
    draft: &mut Draft,
    path: &[&str],
    old: &Value,
    caller: &UserInfo,
    changed: bool,
) -> Result<(), Refusal> {
    if changed {
        let author = serde_json::to_value(caller.author()).expect("strings always encode");
        return draft.set(path, author);
    }
    let stored = path.iter().try_fold(old, |value, name| value.get(*name)).filter(|value| !value.is_null());
    match stored {
        Some(stored) => draft.set(path, stored.clone()),
        None => {
            draft.remove(path);
            Ok(())
        }
    }
}

/// Whether two specs differ in anything but `stamps`. A field that is `null` counts as absent.
pub fn differs(new: &Value, old: &Value, stamps: Paths<'_>) -> bool {
    let spec = |object: &Value| object.get("spec").filter(|spec| !spec.is_null()).cloned();
    match (spec(new), spec(old)) {
        (Some(new), Some(old)) => values_differ(&new, &old, stamps),
        (new, old) => new != old,
    }
}

fn values_differ(new: &Value, old: &Value, stamps: Paths<'_>) -> bool {
    let (Value::Object(new), Value::Object(old)) = (new, old) else { return new != old };
    let names = new.keys().chain(old.keys().filter(|name| !new.contains_key(*name)));
    names.into_iter().any(|name| {
        if stamps.iter().any(|path| *path == [name.as_str()]) {
            return false;
        }
        let below: Vec<&[&str]> = stamps
            .iter()
            .filter_map(|path| path.split_first().filter(|(first, _)| *first == name).map(|(_, rest)| rest))
            .collect();
        match (present(new, name), present(old, name)) {
            (Some(new), Some(old)) if !below.is_empty() => values_differ(new, old, &below),
            (new, old) => new != old,
        }
    })
}

fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::review::Confidential;

    const LAST_WRITER: &[&str] = &["spec", "lastWriter"];

    fn caller() -> UserInfo {
        UserInfo {
            username: "alice".into(),
            uid: Some("u1".into()),
            groups: vec!["devs".into()],
            extra: None,
        }
    }

    /// T20: a client-sent author is ignored, for users, groups and ServiceAccounts.
    #[test]
    fn a_stamp_is_the_authenticated_caller_whatever_the_client_sent() {
        for forged in [
            json!({"username": "root"}),
            json!({"username": "alice", "uid": "u1", "groups": ["devs", "system:masters"]}),
            json!({"username": "system:serviceaccount:kube-system:admin"}),
            json!("root"),
        ] {
            let mut draft = Draft::new(Confidential::from(json!({"spec": {"lastWriter": forged}})));
            stamp(&mut draft, LAST_WRITER, &Value::Null, &caller(), true).expect("spec is an object");
            let expected = json!({"username": "alice", "uid": "u1", "groups": ["devs"]});
            assert_eq!(draft.get(LAST_WRITER), Some(&expected));
        }
    }

    /// T20: nor can a client change a stamp by itself, or take it away.
    #[test]
    fn a_stamp_of_what_did_not_change_stays_as_it_is_stored() {
        let stored = json!({"spec": {"lastWriter": {"username": "bob"}}});
        for sent in [json!({"spec": {"lastWriter": {"username": "root"}}}), json!({"spec": {}})] {
            let mut draft = Draft::new(Confidential::from(sent));
            stamp(&mut draft, LAST_WRITER, &stored, &caller(), false).expect("spec is an object");
            assert_eq!(draft.object(), &stored);
        }
        let mut draft = Draft::new(Confidential::from(json!({"spec": {"lastWriter": {"username": "root"}}})));
        stamp(&mut draft, LAST_WRITER, &json!({"spec": {}}), &caller(), false).expect("spec is an object");
        assert_eq!(draft.object(), &json!({"spec": {}}));
    }

    #[test]
    fn specs_that_differ_only_in_stamps_and_nulls_are_the_same() {
        let stamps: Paths<'_> = &[&["lastWriter"], &["acceptance", "by"]];
        let spec = |acceptance: Value, role: &str| json!({"spec": {"role": role, "acceptance": acceptance}});
        let old = spec(json!({"by": {"username": "a"}, "proof": "p"}), "member");
        assert!(!differs(&spec(json!({"by": null, "proof": "p"}), "member"), &old, stamps));
        assert!(differs(&spec(json!({"proof": "q"}), "member"), &old, stamps));
        assert!(differs(&spec(json!({"proof": "p"}), "admin"), &old, stamps));
        assert!(differs(&spec(Value::Null, "member"), &old, stamps));
        let with_null = json!({"spec": {"role": "x", "ttl": null, "lastWriter": 3}});
        assert!(!differs(&with_null, &json!({"spec": {"role": "x"}}), stamps));
    }
}
