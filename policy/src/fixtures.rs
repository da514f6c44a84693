//! Objects for tests: one vault `team/v`, its members and Connections.

use crate::identity::{Caller, Evidence, MemberState, MemberView};
use coffer_crds::{
    Connection, KeyringSpec, NamedSubject, ServiceAccountSubject, Subject, Vault, VaultMember,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const OPERATOR: &str = "system:serviceaccount:coffer-system:coffer-operator";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a test's own time")
}

pub(crate) fn now() -> Timestamp {
    at("2026-06-01T12:00:00Z")
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, uid: &str, spec: &Value) -> T {
    serde_json::from_value(json!({
        "apiVersion": "coffer.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "team", "uid": uid, "creationTimestamp": "2026-06-01T00:00:00Z",
        },
        "spec": spec,
    }))
    .expect("a test's own object")
}

pub(crate) fn vault(spec: Value) -> Vault {
    object("Vault", "v", "vault-uid", &spec)
}

pub(crate) fn connection(name: &str, spec: Value) -> Connection {
    object("Connection", name, &format!("{name}-uid"), &spec)
}

/// A VaultMember of `team/v` for a user of the same name; `more` is merged into the spec.
pub(crate) fn member(name: &str, more: Value) -> VaultMember {
    let mut spec = json!({ "vault": "v", "role": "member", "subject": {"user": {"name": name}} });
    merge(&mut spec, more);
    object("VaultMember", name, &format!("{name}-uid"), &spec)
}

pub(crate) fn keyring(members: Value) -> KeyringSpec {
    let wrap = json!({ "v": 1, "suite": "s", "kid": "k", "ct": "c" });
    serde_json::from_value(json!({
        "vaultID": "0123456789abcdef0123456789abcdef", "vaultUID": "vault-uid", "revision": 1, "rootGeneration": 1,
        "brokeredGeneration": 1, "intakeGenerations": [], "signingKey": wrap, "current": 1, "epochs": [],
        "members": members, "signature": "s",
    }))
    .expect("a test's own Keyring")
}

pub(crate) fn registered(name: &str, role: &str) -> Value {
    json!({
        "name": name, "uid": format!("{name}-uid"), "subject": {"user": {"name": name}}, "role": role,
        "custody": "Brokered", "acceptedAt": "2026-06-01T06:00:00Z",
    })
}

pub(crate) fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

pub(crate) fn user(name: &str) -> Caller {
    Caller { username: name.to_owned(), uid: None, groups: Vec::new() }
}

pub(crate) fn user_of(name: &str, groups: &[&str]) -> Caller {
    Caller { groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..user(name) }
}

pub(crate) fn account(namespace: &str, name: &str, uid: &str) -> Caller {
    Caller { uid: Some(uid.to_owned()), ..user(&format!("system:serviceaccount:{namespace}:{name}")) }
}

pub(crate) fn user_subject(name: &str) -> Subject {
    Subject::User(NamedSubject { name: name.to_owned() })
}

pub(crate) fn group_subject(name: &str) -> Subject {
    Subject::Group(NamedSubject { name: name.to_owned() })
}

pub(crate) fn account_subject(namespace: &str, name: &str) -> Subject {
    Subject::ServiceAccount(ServiceAccountSubject {
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    })
}

/// An Active, registered member for the user of the same name.
pub(crate) fn view(name: &str, role: &str) -> MemberView {
    MemberView {
        name: name.to_owned(),
        uid: format!("{name}-uid"),
        subject: user_subject(name),
        subject_uid: None,
        role: role.to_owned(),
        state: MemberState::Active,
        rate_limit: None,
        evidence: Evidence::Register,
    }
}

pub(crate) fn view_of(name: &str, role: &str, subject: Subject) -> MemberView {
    MemberView { subject, ..view(name, role) }
}
