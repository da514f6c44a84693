//! The webhook's doors whole, before a small cluster: what is admitted must be fit to be stored.

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use coffer_policy::BreakGlass;
use coffer_webhook::{
    draft::Op,
    inject,
    refusal::Refusal,
    review::{self, Admitted, Operation, Request},
    state::{Change, Directory, Patience},
    validate::{self, Circumstances, restored},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Lies in every Connection of the cluster; no answer may hold it.
const SEALED: &str = "c2VhbGVkLWFuZC1uZXZlci10b2xk";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Waiting for the cluster needs a timer, although nobody here waits for long.
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O")
});

/// Vault `a/team` of alice, with bob as admin and ServiceAccounts; `b/shared`, which admits every namespace; and
/// Connections of each fate: ready, of one alias, pending, not for files.
static CLUSTER: LazyLock<Directory> = LazyLock::new(|| {
    let directory = Directory::new(Patience { lag: Duration::ZERO, making: Duration::ZERO });
    let owners = json!([{"user": {"name": "alice"}}]);
    let roles = json!([{"name": "ci", "verbs": ["list", "use"], "connections": ["gh-*"]}]);
    let status = json!({"vaultID": "00112233445566778899aabbccddeeff"});
    for (namespace, name, more) in [
        ("a", "team", json!({"roles": roles})),
        ("b", "shared", json!({"access": {"namespaces": "All"}, "sharing": "Owner"})),
    ] {
        let mut spec = more;
        spec["owners"] = owners.clone();
        directory.change(Change::Vault(object("Vault", namespace, name, spec, status.clone())));
    }
    let user = |name: &str| json!({"user": {"name": name}});
    let account = |name: &str| json!({"serviceAccount": {"name": name, "namespace": "a"}});
    for (namespace, name, vault, subject, role, phase) in [
        ("a", "alice", "team", user("alice"), "owner", "Active"),
        ("a", "bob", "team", user("bob"), "admin", "Active"),
        ("a", "carol", "team", user("carol"), "member", "Invited"),
        ("a", "web", "team", account("web"), "member", "Active"),
        ("a", "ci", "team", account("ci"), "ci", "Active"),
        ("a", "gone", "team", account("gone"), "member", "Suspended"),
        ("b", "alice", "shared", user("alice"), "owner", "Active"),
        ("b", "web", "shared", account("web"), "member", "Active"),
    ] {
        let spec = json!({"vault": vault, "role": role, "subject": subject});
        let member = object("VaultMember", namespace, name, spec, json!({"phase": phase}));
        directory.change(Change::Member(member));
    }
    for (namespace, name, vault, more, phase) in [
        ("a", "github", "team", json!({"members": ["web"]}), "Ready"),
        ("a", "gh-main", "team", json!({"alias": "github", "owner": "bob"}), "Ready"),
        ("a", "slack", "team", json!({"members": ["*"]}), "Ready"),
        ("a", "later", "team", json!({"members": ["web"]}), "Pending"),
        ("a", "env", "team", json!({"inject": {"files": {"disabled": true}}}), "Ready"),
        ("b", "chat", "shared", json!({"members": ["web"]}), "Ready"),
        ("b", "private", "shared", json!({}), "Ready"),
    ] {
        let mut spec = json!({"vault": {"name": vault}, "owner": "alice", "sealedData": {"token": SEALED}});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let connection = object("Connection", namespace, name, spec, json!({"phase": phase, "version": 1}));
        directory.change(Change::Connection(connection));
    }
    directory
});

fn object<K: DeserializeOwned>(
    kind: &str,
    namespace: &str,
    name: &str,
    spec: Value,
    status: Value,
) -> Arc<K> {
    let metadata = json!({
        "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    });
    let object = json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status,
    });
    Arc::new(serde_json::from_value(object).expect("an object of the cluster fits its kind"))
}

/// Nobody may break glass.
static NOBODY: LazyLock<BreakGlass> = LazyLock::new(BreakGlass::default);

fn circumstances() -> Circumstances<'static> {
    let now = Timestamp::from_second(1_767_225_630).expect("a time of this century");
    Circumstances {
        operator: "system:serviceaccount:coffer-system:coffer-operator",
        break_glass: &NOBODY,
        now,
    }
}

/// Runs a door. What it answers is JSON and tells nothing of the Connections' values; the patch of what it admits
/// applies to the object that was sent. Gives that object as it would be stored.
fn decided(sent: &Value, uid: &str, door: impl Future<Output = Result<Admitted, Refusal>>) -> Option<Value> {
    let decision = RUNTIME.block_on(door);
    let stored = decision.as_ref().ok().map(|admitted| patched(sent, &admitted.patch));
    let answer = review::answer(uid, decision);
    assert!(serde_json::from_slice::<Value>(&answer).is_ok(), "every answer is JSON");
    let before = sent.to_string();
    let told = |text: &str| text.contains(SEALED) && !before.contains(SEALED);
    assert!(!told(&String::from_utf8_lossy(&answer)), "a value is told");
    assert!(!stored.as_ref().is_some_and(|stored| told(&stored.to_string())), "a value is added");
    stored
}

/// By another implementation of RFC 6902 than the one that wrote the patch.
fn patched(object: &Value, patch: &[Op]) -> Value {
    let mut object = object.clone();
    if !patch.is_empty() {
        let patch = serde_json::to_value(patch).expect("a patch is JSON");
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch is one of RFC 6902");
        json_patch::patch(&mut object, &patch).expect("a patch applies to what was sent");
    }
    object
}

fn parsed(data: &[u8]) -> Option<(Request, Value)> {
    let request = review::parse(data).ok()?;
    let sent = request.object.expose().clone();
    Some((request, sent))
}

/// T20: a stamp is the caller, or as it was.
fn is_stamped(stored: &Value, old: &Value, path: &str, username: &str) -> bool {
    let stamp = stored.pointer(path).filter(|stamp| !stamp.is_null());
    let before = old.pointer(path).filter(|stamp| !stamp.is_null());
    stamp == before || stamp.is_some_and(|stamp| stamp["username"] == *username)
}

/// A new pod. Gives what is stored, as the others do.
pub(crate) fn pod(data: &[u8]) -> Option<Value> {
    let (request, sent) = parsed(data)?;
    let (uid, circumstances) = (request.uid.clone(), circumstances());
    let creates = request.operation == Operation::Create && request.sub_resource.is_empty();
    let stored = decided(&sent, &uid, inject::admit(request, &CLUSTER, &circumstances))?;
    assert!(creates || stored == sent, "T36: only a new pod is touched");
    if let (Some(after), Some(before)) = (stored.as_object(), sent.as_object()) {
        let kept = before.iter().all(|(name, value)| name == "spec" || after.get(name) == Some(value));
        assert!(kept, "only its spec is touched");
    }
    // The API server calls again when another webhook changed the pod after this one.
    let (mut again, _) = parsed(data)?;
    again.object = stored.clone().into();
    let twice = decided(&stored, &uid, inject::admit(again, &CLUSTER, &circumstances));
    assert!(twice.is_none_or(|twice| twice == stored), "a second call adds nothing");
    Some(stored)
}

/// A Vault, made, changed or deleted.
pub(crate) fn vault(data: &[u8]) -> Option<Value> {
    let (request, sent) = parsed(data)?;
    let (uid, circumstances) = (request.uid.clone(), circumstances());
    let (old, username) = (request.old_object.expose().clone(), request.user_info.username.clone());
    if request.operation == Operation::Delete {
        return decided(&sent, &uid, validate::vault::delete(&request, &CLUSTER, &circumstances));
    }
    let stored = decided(&sent, &uid, validate::vault::admit(request, &CLUSTER, &circumstances))?;
    assert!(is_stamped(&stored, &old, "/spec/lastWriter", &username), "T20");
    Some(stored)
}

/// A VaultMember, made, changed or deleted.
pub(crate) fn vault_member(data: &[u8]) -> Option<Value> {
    let (request, sent) = parsed(data)?;
    let (uid, circumstances) = (request.uid.clone(), circumstances());
    let (old, username) = (request.old_object.expose().clone(), request.user_info.username.clone());
    if request.operation == Operation::Delete {
        return decided(&sent, &uid, validate::vault_member::delete(&request, &CLUSTER, &circumstances));
    }
    let stored = decided(&sent, &uid, validate::vault_member::admit(request, &CLUSTER, &circumstances))?;
    for stamp in ["/spec/lastWriter", "/spec/invitedBy", "/spec/acceptance/by"] {
        assert!(is_stamped(&stored, &old, stamp, &username), "T20: {stamp}");
    }
    Some(stored)
}

/// An AccessToken, made or deleted.
pub(crate) fn access_token(data: &[u8]) -> Option<Value> {
    let (request, sent) = parsed(data)?;
    let (uid, circumstances) = (request.uid.clone(), circumstances());
    let username = request.user_info.username.clone();
    let creates = request.operation == Operation::Create;
    if request.operation == Operation::Delete {
        return decided(&sent, &uid, validate::access_token::delete(&request, &CLUSTER, &circumstances));
    }
    let stored = decided(&sent, &uid, validate::access_token::admit(request, &CLUSTER, &circumstances))?;
    assert!(!creates || stored["spec"]["issuedBy"]["username"] == *username, "T20");
    Some(stored)
}

/// What a restore user makes anew.
pub(crate) fn restored(data: &[u8]) -> Option<Value> {
    let (request, sent) = parsed(data)?;
    let (uid, username) = (request.uid.clone(), request.user_info.username.clone());
    if !restored::is_restored(&request, std::slice::from_ref(&username)) {
        return None;
    }
    let _ = restored::has_owners(&request);
    let kind = sent["kind"].as_str().unwrap_or_default().to_owned();
    let door = async {
        match kind.as_str() {
            "Vault" => restored::vault(request),
            "VaultMember" => restored::vault_member(request),
            _ => restored::connection(request),
        }
    };
    let stored = decided(&sent, &uid, door)?;
    assert!(is_stamped(&stored, &Value::Null, "/spec/lastWriter", &username), "T20");
    let values = stored.pointer("/spec/stringData").filter(|values| !values.is_null());
    let none = values.is_none_or(|values| values.as_object().is_some_and(serde_json::Map::is_empty));
    assert!(none, "T35: no backup holds values, and these would pass by the seal");
    Some(stored)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a seed that cannot be read is a failed test")]

    use std::{fs, path::Path};

    use super::*;

    type Door = fn(&[u8]) -> Option<Value>;

    /// A target whose seeds are all turned away at the first step looks at nothing.
    #[test]
    fn of_each_door_s_seeds_some_are_admitted_with_a_patch_and_some_are_not() {
        let doors: [(&str, Door, usize); 5] = [
            ("admit_pod", pod, 8),
            ("admit_vault", vault, 5),
            ("admit_vault_member", vault_member, 3),
            ("admit_access_token", access_token, 1),
            ("admit_restored", restored, 4),
        ];
        for (name, door, wanted) in doors {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|seed| seed.unwrap()).collect();
            let patched = seeds.iter().filter(|seed| {
                let data = fs::read(seed.path()).unwrap();
                let sent = parsed(&data).unwrap().1;
                door(&data).is_some_and(|stored| stored != sent)
            });
            let patched: Vec<_> = patched.map(|seed| seed.file_name()).collect();
            assert!(patched.len() >= wanted && patched.len() < seeds.len(), "{name}: {patched:?}");
        }
    }
}
