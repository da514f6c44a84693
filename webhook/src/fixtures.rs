//! A small cluster for tests: vault `team` in namespace `a`, owned by alice; members `web` and `intern`.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be built is a failed test")]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use coffer_crds::{Connection, Vault, VaultMember};
use coffer_keys::{
    VaultId,
    hierarchy::CustodianRoot,
    intake::{InputContext, IntakePublicKey, IntakeSecretKey},
};
use coffer_policy::BreakGlass;
use getrandom::{SysRng, rand_core::UnwrapErr};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    draft::Op,
    review::{self, Request},
    state::{Change, Directory, Patience},
    validate::Circumstances,
};

pub(crate) const OPERATOR: &str = "system:serviceaccount:coffer-system:coffer-operator";

/// Whose people may do what an owner may.
pub(crate) static GLASS: LazyLock<BreakGlass> =
    LazyLock::new(|| BreakGlass::new(vec![String::from("oncall")]));

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Half a minute after everything here was made: fresh, so that what is being made is worth waiting for.
pub(crate) fn circumstances() -> Circumstances<'static> {
    let now = "2026-01-01T00:00:30Z".parse::<Timestamp>().unwrap();
    Circumstances { operator: OPERATOR, break_glass: &GLASS, now }
}

/// What the operator holds and the webhook does not.
pub(crate) struct Custodian {
    id: VaultId,
    intake: IntakeSecretKey,
}

impl Custodian {
    pub(crate) fn new() -> Self {
        let id = VaultId::generate(&mut rng());
        let intake = CustodianRoot::generate(1, &mut rng()).intake_key(&id, 1);
        Self { id, intake }
    }

    pub(crate) fn status(&self) -> Value {
        let key = self.intake.public();
        json!({
            "vaultID": self.id.to_string(),
            "intakeKey": {"kid": key.kid().to_string(), "publicKey": key.to_base64(), "signature": ""},
        })
    }

    /// What everybody may know.
    pub(crate) fn public(&self) -> (VaultId, IntakePublicKey) {
        (self.id, self.intake.public().clone())
    }

    /// Opens one item of a stored Connection, for the place that the object itself says it is.
    pub(crate) fn open(&self, connection: &Value, item: &str) -> Option<String> {
        use base64::Engine as _;
        let text = |path: &str| connection.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let context = InputContext {
            vault_id: self.id,
            namespace: text("/metadata/namespace"),
            connection: text("/metadata/name"),
            owner: text("/spec/owner"),
            item,
        };
        let sealed = connection.pointer("/spec/sealedData")?.get(item)?.as_str()?;
        let sealed = base64::engine::general_purpose::STANDARD.decode(sealed).ok()?;
        let opened = self.intake.open(&context, &sealed).ok()?;
        Some(String::from_utf8(opened.expose().to_vec()).unwrap())
    }
}

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn metadata(namespace: &str, name: &str) -> Value {
    json!({
        "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    })
}

pub(crate) fn vault(namespace: &str, name: &str, spec: Value, status: Value) -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Vault",
        "metadata": metadata(namespace, name), "spec": spec, "status": status,
    })
}

pub(crate) fn member(namespace: &str, name: &str, spec: Value, phase: &str) -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember",
        "metadata": metadata(namespace, name), "spec": spec, "status": {"phase": phase},
    })
}

pub(crate) fn connection(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Connection",
        "metadata": metadata(namespace, name), "spec": spec, "status": {"phase": "Ready", "version": 1},
    })
}

pub(crate) fn account(vault: &str, name: &str, role: &str) -> Value {
    json!({"vault": vault, "role": role, "subject": {"serviceAccount": {"name": name}}})
}

pub(crate) fn user(vault: &str, name: &str, role: &str) -> Value {
    json!({"vault": vault, "role": role, "subject": {"user": {"name": name}}})
}

pub(crate) fn put(directory: &Directory, value: Value) {
    directory.change(match value["kind"].as_str().unwrap() {
        "Vault" => Change::Vault(object::<Vault>(value)),
        "VaultMember" => Change::Member(object::<VaultMember>(value)),
        "Connection" => Change::Connection(object::<Connection>(value)),
        "Namespace" => Change::Namespace(object(value)),
        other => panic!("no table for {other}"),
    });
}

/// Vault `a/team` (owner alice), ServiceAccounts web and intern of `a` as members, bob as admin; no Connections.
/// Nothing is waited for, so that refusals come at once.
pub(crate) fn cluster(custodian: &Custodian) -> Directory {
    let directory = Directory::new(Patience { lag: Duration::ZERO, making: Duration::ZERO });
    put(&directory, vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), custodian.status()));
    put(&directory, member("a", "alice", user("team", "alice", "owner"), "Active"));
    put(&directory, member("a", "bob", user("team", "bob", "admin"), "Active"));
    put(&directory, member("a", "web", account("team", "web", "member"), "Active"));
    put(&directory, member("a", "intern", account("team", "intern", "member"), "Active"));
    directory
}

pub(crate) fn review(operation: &str, username: &str, object: Value, old: Value) -> Value {
    let of = |path: &str| {
        let found = object.pointer(path).or_else(|| old.pointer(path));
        found.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "operation": operation,
            "kind": {"group": "coffer.dev", "version": "v1alpha1", "kind": "Connection"},
            "name": of("/metadata/name"), "namespace": of("/metadata/namespace"),
            "userInfo": {"username": username, "uid": format!("uid-of-{username}"), "groups": ["system:authenticated"]},
            "object": object, "oldObject": old, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "tests"},
        },
    })
}

pub(crate) fn request(operation: &str, username: &str, object: Value, old: Value) -> Request {
    review::parse(&serde_json::to_vec(&review(operation, username, object, old)).unwrap()).unwrap()
}

/// The object with the patch applied, by another implementation of RFC 6902.
pub(crate) fn patched(object: &Value, patch: &[Op]) -> Value {
    let mut object = object.clone();
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(patch).unwrap()).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}
