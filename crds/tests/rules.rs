//! Each CEL rule with one object that it accepts and one that it refuses, evaluated by kube's own CEL engine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use coffer_crds::generate::crds;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Compiled once: compiling costs twenty times what evaluating does.
static SCHEMAS: LazyLock<BTreeMap<String, CompiledSchema>> = LazyLock::new(|| {
    crds()
        .iter()
        .map(|crd| {
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
            let compiled = compile_schema(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
            assert!(!compiled.has_errors(), "{kind}: {:?}", compiled.compilation_errors());
            (kind, compiled)
        })
        .collect()
});

struct Case {
    kind: &'static str,
    /// The beginning of the rule's message.
    message: &'static str,
    old: Option<Value>,
    accept: Value,
    reject: Value,
}

fn create(kind: &'static str, message: &'static str, accept: Value, reject: Value) -> Case {
    Case { kind, message, old: None, accept, reject }
}

fn update(kind: &'static str, message: &'static str, old: Value, accept: Value, reject: Value) -> Case {
    Case { kind, message, old: Some(old), accept, reject }
}

fn cases() -> Vec<Case> {
    [identities(), vaults(), members(), connections(), custody(), requests()].into_iter().flatten().collect()
}

/// T25: nobody is everybody.
fn identities() -> Vec<Case> {
    let vault = |owner: Value| json!({ "owners": [owner] });
    let member = |subject: Value| json!({ "vault": "v", "role": "member", "subject": subject });
    let mut cases = Vec::new();
    for (kind, with) in
        [("Vault", &vault as &dyn Fn(Value) -> Value), ("VaultMember", &member), ("Keyring", &registered)]
    {
        cases.extend([
            create(
                kind,
                "'*' is no identity",
                with(json!({"user": {"name": "alice"}})),
                with(json!({"user": {"name": "*"}})),
            ),
            create(
                kind,
                "'*' is no identity",
                with(json!({"group": {"name": "devs"}})),
                with(json!({"group": {"name": "*"}})),
            ),
            create(
                kind,
                "groups of the system",
                with(json!({"group": {"name": "devs"}})),
                with(json!({"group": {"name": "system:authenticated"}})),
            ),
            create(
                kind,
                "a ServiceAccount is named by serviceAccount",
                with(json!({"serviceAccount": {"name": "web"}})),
                with(json!({"user": {"name": "system:serviceaccount:a:web"}})),
            ),
            create(
                kind,
                "a ServiceAccount is named by serviceAccount",
                with(json!({"external": {}})),
                with(json!({"user": {"name": "system:anonymous"}})),
            ),
        ]);
    }
    cases
}

fn registered(subject: Value) -> Value {
    let mut keyring = keyring(1, 1);
    keyring["members"] = json!([{
        "name": "a", "uid": "u", "subject": subject, "role": "member", "custody": "Brokered", "acceptedAt": "2026-01-01T00:00:00Z"
    }]);
    keyring
}

fn vaults() -> Vec<Case> {
    let role = |name: &str| json!({ "roles": [{ "name": name, "verbs": ["list"] }] });
    vec![
        create("Vault", "owner, admin and member are built in", role("ci"), role("owner")),
        create("Vault", "owner, admin and member are built in", role("administrator"), role("admin")),
    ]
}

fn members() -> Vec<Case> {
    let with = |more: Value| {
        let mut spec = json!({ "vault": "v", "role": "member", "subject": {"user": {"name": "alice"}} });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let accepted = with(json!({"acceptance": {"publicKey": "k", "proof": "p"}}));
    vec![
        update(
            "VaultMember",
            "a member never moves",
            with(json!({})),
            with(json!({"role": "admin"})),
            with(json!({"vault": "w"})),
        ),
        update(
            "VaultMember",
            "a member's subject never changes",
            with(json!({})),
            with(json!({"suspended": true})),
            with(json!({"subject": {"user": {"name": "bob"}}})),
        ),
        update("VaultMember", "acceptance is set once", with(json!({})), accepted.clone(), json!(null)),
        update(
            "VaultMember",
            "acceptance is set once",
            accepted.clone(),
            with(json!({"acceptance": {"publicKey": "k", "proof": "again"}, "role": "admin"})),
            with(json!({"acceptance": {"publicKey": "other", "proof": "p"}})),
        ),
        update(
            "VaultMember",
            "acceptance is set once",
            accepted.clone(),
            accepted.clone(),
            with(json!({"acceptance": {"publicKey": "k"}})),
        ),
        update("VaultMember", "acceptance is set once", accepted.clone(), accepted, with(json!({}))),
        // A key that cannot sign answers its challenge. Whether it still may is the webhook's to say.
        update(
            "VaultMember",
            "acceptance is set once",
            with(json!({"acceptance": {"publicKey": "k"}})),
            with(json!({"acceptance": {"publicKey": "k", "proof": "p", "by": {"username": "bob"}}})),
            with(json!({"acceptance": {"publicKey": "other", "proof": "p"}})),
        ),
        update(
            "VaultMember",
            "a declined invite stays declined",
            with(json!({"declined": true})),
            with(json!({"declined": true})),
            with(json!({"declined": false})),
        ),
        create(
            "VaultMember",
            "an invite is either accepted or declined",
            with(json!({"declined": true})),
            with(json!({"declined": true, "acceptance": {}})),
        ),
        create(
            "VaultMember",
            "set expiresAt or ttl",
            with(json!({"ttl": "90d"})),
            with(json!({"ttl": "90d", "expiresAt": "2026-01-01T00:00:00Z"})),
        ),
        create(
            "VaultMember",
            "a proof belongs to a publicKey",
            with(json!({"acceptance": {"publicKey": "k"}})),
            with(json!({"acceptance": {"proof": "p"}})),
        ),
    ]
}

fn connections() -> Vec<Case> {
    let vault = |reference: Value| json!({ "vault": reference });
    vec![
        // C27, T35: plaintext is refused even without any webhook.
        create(
            "Connection",
            "the webhook did not seal stringData",
            json!({"sealedData": {"token": "c2VhbGVk"}}),
            json!({"stringData": {"token": "plain"}}),
        ),
        create(
            "Connection",
            "the webhook did not seal stringData",
            json!({}),
            json!({"stringData": {"port": 5432, "nested": {"deep": [true]}}}),
        ),
        create("Connection", "the webhook did not seal stringData", json!({}), json!({"stringData": {}})),
        // T31
        create(
            "Connection",
            "'*' means every member",
            json!({"members": ["*"]}),
            json!({"members": ["*", "a"]}),
        ),
        create(
            "Connection",
            "'*' means every member",
            json!({"members": ["a", "b"]}),
            json!({"members": ["a", "*"]}),
        ),
        create(
            "Connection",
            "'*' means every member",
            json!({"members": []}),
            json!({"members": ["*", "*"]}),
        ),
        create(
            "Connection",
            "item keys are",
            json!({"sealedData": {"tls.crt": "x", "A_b-9": "x"}}),
            json!({"sealedData": {"a/b": "x"}}),
        ),
        create(
            "Connection",
            "item keys are",
            json!({"sealedData": {"...": "x"}}),
            json!({"sealedData": {"..": "x"}}),
        ),
        create(
            "Connection",
            "set expiresAt or ttl",
            json!({"ttl": "90d"}),
            json!({"ttl": "90d", "expiresAt": "2026-01-01T00:00:00Z"}),
        ),
        create(
            "Connection",
            "names of variables",
            json!({"inject": {"env": {"variables": {"GH_TOKEN": "token"}}}}),
            json!({"inject": {"env": {"variables": {"1GH": "token"}}}}),
        ),
        update(
            "Connection",
            "a Connection never moves to another vault",
            json!({}),
            vault(json!({"name": "a"})),
            json!(null),
        ),
        update(
            "Connection",
            "a Connection never moves to another vault",
            vault(json!({"name": "a"})),
            vault(json!({"name": "a"})),
            vault(json!({"name": "b"})),
        ),
        update(
            "Connection",
            "a Connection never moves to another vault",
            vault(json!({"name": "a"})),
            vault(json!({"name": "a"})),
            json!({}),
        ),
        update(
            "Connection",
            "a Connection never moves to a vault of another namespace",
            vault(json!({"name": "a", "namespace": "n"})),
            vault(json!({"name": "a", "namespace": "n"})),
            vault(json!({"name": "a", "namespace": "m"})),
        ),
        update(
            "Connection",
            "a Connection never moves to a vault of another namespace",
            vault(json!({"name": "a"})),
            vault(json!({"name": "a"})),
            vault(json!({"name": "a", "namespace": "n"})),
        ),
    ]
}

fn keyring(revision: i64, current: i64) -> Value {
    json!({ "vaultID": "0123456789abcdef0123456789abcdef", "revision": revision, "current": current })
}

fn envelope(version: i64, revision: i64, epoch: i64) -> Value {
    json!({ "version": version, "revision": revision, "epoch": epoch })
}

/// DESIGN §8: epoch, version, revision never decrease.
fn custody() -> Vec<Case> {
    let mut other = keyring(3, 2);
    other["vaultID"] = json!("ffffffffffffffffffffffffffffffff");
    let rooted = |generation: i64| {
        let mut keyring = keyring(3, 2);
        keyring["rootGeneration"] = json!(generation);
        keyring
    };
    vec![
        update("Keyring", "a Keyring's vault id never changes", keyring(3, 2), keyring(4, 2), other),
        update("Keyring", "a Keyring's revision never falls", keyring(3, 2), keyring(3, 2), keyring(2, 2)),
        update("Keyring", "a Keyring's root generation never falls", rooted(2), rooted(3), rooted(1)),
        update(
            "Keyring",
            "a Keyring's current epoch never falls",
            keyring(3, 2),
            keyring(4, 3),
            keyring(4, 1),
        ),
        update(
            "Envelope",
            "an Envelope's version never falls",
            envelope(2, 5, 3),
            envelope(3, 6, 3),
            envelope(1, 6, 3),
        ),
        update(
            "Envelope",
            "an Envelope's revision never falls",
            envelope(2, 5, 3),
            envelope(2, 5, 3),
            envelope(2, 4, 3),
        ),
        update(
            "Envelope",
            "an Envelope's epoch never falls",
            envelope(2, 5, 3),
            envelope(2, 6, 4),
            envelope(2, 6, 2),
        ),
    ]
}

fn requests() -> Vec<Case> {
    let release = |vault: &str| json!({ "vault": vault, "connections": [{"name": "a"}], "publicKey": "k" });
    let query = |vault: &str| json!({ "vault": vault, "publicKey": "k" });
    let token = |member: &str| json!({ "member": member, "sha256": "s", "prefix": "cof_1" });
    vec![
        update("Release", "a Release never changes", release("a"), release("a"), release("b")),
        update("AuditQuery", "an AuditQuery never changes", query("a"), query("a"), query("b")),
        update("AccessToken", "an AccessToken never changes", token("a"), token("a"), token("b")),
    ]
}

fn refusals(kind: &str, name: &str, spec: &Value, old: Option<&Value>) -> Vec<String> {
    let object = |spec: &Value| json!({ "apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec });
    let old = old.map(object);
    let result = Validator::new().validate_compiled(&SCHEMAS[kind], &object(spec), old.as_ref());
    result.err().map(|errors| errors.into_vec().into_iter().map(|e| e.message).collect()).unwrap_or_default()
}

#[test]
fn each_rule_accepts_and_refuses() {
    for case in cases() {
        let old = case.old.as_ref();
        let accepted = refusals(case.kind, "name", &case.accept, old);
        assert!(accepted.is_empty(), "{} should accept {}: {accepted:?}", case.kind, case.accept);
        if case.reject.is_null() {
            continue;
        }
        let refused = refusals(case.kind, "name", &case.reject, old);
        let meant = !refused.is_empty() && refused.iter().any(|m| m.starts_with(case.message));
        assert!(meant, "{} should refuse {} with '{}': {refused:?}", case.kind, case.reject, case.message);
    }
}

#[test]
fn no_rule_is_without_a_case() {
    let mut cased: BTreeSet<(String, &str)> =
        cases().iter().filter(|c| !c.reject.is_null()).map(|c| (c.kind.to_owned(), c.message)).collect();
    cased.extend(crds().iter().map(|crd| {
        (crd["spec"]["names"]["kind"].as_str().unwrap().to_owned(), "metadata.name must be a DNS-1123 label")
    }));
    for crd in crds() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let mut messages = Vec::new();
        messages_of(&crd["spec"], &mut messages);
        for message in messages {
            let found = cased.iter().any(|(k, m)| k == kind && message.starts_with(m));
            assert!(found, "{kind} has a rule without a case: {message}");
        }
    }
}

fn messages_of(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for rule in object.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                messages.push(rule["message"].as_str().expect("each rule has a message").to_owned());
            }
            object.values().for_each(|v| messages_of(v, messages));
        }
        Value::Array(list) => list.iter().for_each(|v| messages_of(v, messages)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// DESIGN §10: object names are DNS-1123 labels.
#[test]
fn names_are_labels() {
    let longest = "a".repeat(63);
    let too_long = "a".repeat(64);
    let specs = [
        ("Vault", json!({})),
        ("Connection", json!({})),
        ("VaultMember", json!({"vault": "v", "role": "member", "subject": {"user": {"name": "a"}}})),
        ("Release", json!({"vault": "v", "connections": [], "publicKey": "k"})),
        ("AuditQuery", json!({"vault": "v", "publicKey": "k"})),
        ("AccessToken", json!({"member": "a", "sha256": "s", "prefix": "cof_1"})),
    ];
    for (kind, spec) in specs {
        for good in ["a", "web-1", longest.as_str()] {
            assert_eq!(refusals(kind, good, &spec, None), Vec::<String>::new(), "{kind} {good}");
        }
        for bad in ["a.b", too_long.as_str()] {
            let refused = refusals(kind, bad, &spec, None);
            assert!(
                refused.iter().any(|m| m.starts_with("metadata.name must be")),
                "{kind} {bad}: {refused:?}"
            );
        }
    }
}

/// T35: neither the API server's words nor ours repeat a value.
#[test]
fn a_refusal_never_repeats_plaintext() {
    let refused = refusals("Connection", "name", &json!({"stringData": {"token": "hunter2"}}), None);
    assert!(refused.iter().all(|m| !m.contains("hunter2")), "{refused:?}");
}
