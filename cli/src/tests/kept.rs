//! Backups: what is in them, what is made again of them, and what a member's own key still opens.

use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    values::wrapped,
    world::{CONNECTIONS, GITHUB, MEMBERS, VAULT, VAULTS, World, github, list_of, member, ready, status},
};
use crate::{Failure, backup::file::Backup, random};

const KEYRINGS: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/keyrings";
const KEYRING: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/keyrings/team";
const ENVELOPES: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/envelopes";
const ENVELOPE: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/envelopes/github";
const TEAM: &str = "/api/v1/namespaces/team";

fn object(kind: &str, name: &str, spec: &impl serde::Serialize) -> Value {
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "team", "uid": format!("uid-{kind}-{name}"), "resourceVersion": "3",
            "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "1"}]},
        "spec": spec})
}

/// The team with credential `github`, which bob's key opens; and that key.
fn team() -> (World, MemberSecretKey) {
    let mut world = World::new("restorer").with_team();
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let sealed = sealed_for(&mut world, &key);
    list(&mut world, sealed);
    (world, key)
}

async fn saved(world: &mut World) -> String {
    world.run(&["backup", "-o", "json"]).await.answer().to_owned()
}

/// The path of a file with a backup of what is there.
async fn backup_of(world: &mut World) -> String {
    let text = saved(world).await;
    kept(world, &text)
}

fn kept(world: &World, text: &str) -> String {
    let path = world.path().join("team.json");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

/// The present Keyring as an object, and an Envelope of `github` for this key.
fn sealed_for(world: &mut World, key: &MemberSecretKey) -> [Value; 2] {
    let envelope = object("Envelope", "github", &wrapped(world, key, 1).envelope);
    [object("Keyring", "team", &world.keyring.to_spec()), envelope]
}

/// Has them listed, to be saved.
fn list(world: &mut World, [keyring, envelope]: [Value; 2]) {
    world.answers.insert(0, ("GET", KEYRINGS, 200, list_of("Keyring", &[keyring])));
    world.answers.insert(0, ("GET", ENVELOPES, 200, list_of("Envelope", &[envelope])));
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
}

/// C16: everything that a vault is made of, in the order in which it can be made, and nothing that belongs to one
/// incarnation of it.
#[tokio::test]
async fn a_backup_holds_what_a_vault_is_made_of_and_no_uid_of_its_objects() {
    let (mut world, _) = team();
    let text = saved(&mut world).await;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let items = list["items"].as_array().expect("items");
    let kinds: Vec<&str> = items.iter().filter_map(|item| item["kind"].as_str()).collect();
    let expected =
        ["Keyring", "Envelope", "VaultMember", "VaultMember", "VaultMember", "Vault", "Connection"];
    assert_eq!(kinds, expected);
    for item in items {
        let metadata = item["metadata"].as_object().expect("metadata");
        assert!(metadata.keys().all(|field| ["name", "namespace"].contains(&field.as_str())), "{metadata:?}");
    }
    assert!(world.written().is_empty(), "saving writes nothing");
    // YAML by default; a file is made for its owner alone, and never over another.
    let path = world.path().join("team.yaml");
    let file = path.to_str().expect("a path").to_owned();
    world.run(&["backup", "-f", &file]).await.answer();
    let read = Backup::parse(&std::fs::read_to_string(&path).expect("a file")).expect("a backup");
    assert_eq!((read.keyrings.len(), read.connections[0].name_any()), (1, "github".to_owned()));
    assert_eq!(world.run(&["backup", "-f", &file]).await.refused().0, Failure::CONFLICT);
}

/// Keyrings come before Vaults, the Vault is annotated last and with the uid that its Keyring names, and what is there
/// stays.
#[tokio::test]
async fn a_restore_makes_what_is_gone_in_order_and_has_the_keyring_adopted() {
    let (mut world, _) = team();
    let file = backup_of(&mut world).await;
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let [keyring, envelope] = sealed_for(&mut world, &key);
    let mut again = world.vault();
    again["metadata"]["uid"] = json!("uid-again");
    let mut world = world
        .answering(("POST", KEYRINGS, 201, keyring.clone()))
        .answering(("POST", ENVELOPES, 409, status(409, "envelopes \"github\" already exists")))
        .answering(("GET", ENVELOPE, 200, envelope))
        .answering(("POST", MEMBERS, 201, member("alice", "owner", "Active")))
        .answering(("POST", VAULTS, 201, again.clone()))
        .answering(("GET", VAULT, 200, again.clone()))
        .answering(("PATCH", VAULT, 200, again))
        .answering(("GET", KEYRING, 200, keyring))
        .answering(("POST", CONNECTIONS, 201, github()))
        .answering(("GET", TEAM, 200, namespace()));
    // Who is in force afterwards is the real cluster's to tell.
    let said = world.run(&["restore", &file, "--no-wait"]).await;
    assert!(said.answer().contains("Restored: 6 objects; 1 were there"), "{said:?}");
    let written = world.written();
    let places: Vec<String> =
        written.iter().map(|(method, place, _)| format!("{method} {}", last(place))).collect();
    let expected = [
        "POST keyrings",
        "POST envelopes",
        "POST vaultmembers",
        "POST vaultmembers",
        "POST vaultmembers",
        "POST vaults",
        "POST connections",
        "PATCH team",
    ];
    assert_eq!(places, expected, "{said:?}");
    let annotated = &written.last().expect("a patch").2["metadata"]["annotations"]["coffer.dev/restore"];
    assert_eq!(annotated, "uid-team", "the uid of the Vault that is gone");
}

fn last(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or_default()
}

/// A namespace is whoever's it was; it is not made without its labels.
#[tokio::test]
async fn a_restore_into_a_namespace_that_is_gone_says_so_and_writes_nothing() {
    let (mut world, _) = team();
    let file = backup_of(&mut world).await;
    let mut world = world.answering(("GET", TEAM, 404, status(404, "namespaces \"team\" not found")));
    let (code, text) = world.run(&["restore", &file]).await.refused();
    assert_eq!(code, Failure::NOT_FOUND);
    assert!(text.contains("namespaces are missing: team"), "{text}");
    assert!(world.written().is_empty());
    let (code, text) = world.run(&["restore", &file, "-n", "other"]).await.refused();
    assert!(code == Failure::NOT_FOUND && text.contains("holds no vault of namespace 'other'"), "{text}");
    kept(&world, "kind: Vault");
    let (code, text) = world.run(&["restore", &file]).await.refused();
    assert!(code == Failure::USAGE && text.contains("kind is not List"), "{text}");
}

/// Losing the custodian root loses nothing that a member's own key opens; and another key opens nothing.
#[tokio::test]
async fn a_members_own_key_opens_a_backup_without_any_custodian() {
    let (mut world, _) = team();
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    let file = std::fs::read(world.home().key).expect("a file");
    let key = MemberSecretKey::from_file(&file, None).expect("a key");
    let sealed = sealed_for(&mut world, &key);
    list(&mut world, sealed);
    let text = saved(&mut world).await;
    let file = kept(&world, &text);
    let said = world.run(&["recover", "--from", &file, "--dry-run"]).await;
    assert!(said.answer().contains("member 'bob': this key opens 1 of 1 credentials"), "{said:?}");
    assert!(said.answer().contains("opens     team/github") && !said.answer().contains("ghp_"), "{said:?}");
    assert!(said.notes.contains("never seen on this machine"), "{said:?}");

    // Whoever recovers owns what is made.
    let (code, said) = world.run(&["recover", "--from", &file, "--yes"]).await.refused();
    assert!(code == Failure::DENIED && said.contains("'restorer' is no owner of vault 'team'"), "{said}");
    assert!(world.written().is_empty());

    // An Envelope that lies under another name, to be sealed for whom that one is for, opens for nobody.
    let mut moved: Value = serde_json::from_str(&text).expect("JSON");
    for item in moved["items"].as_array_mut().expect("items") {
        if ["Envelope", "Connection"].contains(&item["kind"].as_str().expect("a kind")) {
            item["metadata"]["name"] = json!("public");
        }
    }
    kept(&world, &moved.to_string());
    let said = world.run(&["recover", "--from", &file, "--dry-run"]).await;
    assert!(said.answer().contains("this key opens 0 of 1 credentials"), "{said:?}");

    let stranger = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let others = sealed_for(&mut world, &stranger);
    list(&mut world, others);
    backup_of(&mut world).await;
    let (code, text) = world.run(&["recover", "--from", &file, "--dry-run"]).await.refused();
    assert!(code == Failure::DENIED && text.contains("is no member's of vault 'team'"), "{text}");
    // A register that the vault's own key does not vouch for names whom it likes.
    let mut forged: Value = serde_json::from_str(&saved(&mut world).await).expect("JSON");
    forged["items"][0]["spec"]["members"][0]["name"] = json!("mallory");
    kept(&world, &forged.to_string());
    let (code, text) = world.run(&["recover", "--from", &file, "--dry-run"]).await.refused();
    assert!(code == Failure::CONFLICT && text.contains("does not vouch for its Keyring"), "{text}");
}

/// Somebody who made the vault anew in between chooses what its members may: the keys are not given to that one.
#[tokio::test]
async fn a_vault_that_is_not_the_one_that_was_saved_gets_no_keys() {
    let (mut world, _) = team();
    let file = backup_of(&mut world).await;
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let [keyring, envelope] = sealed_for(&mut world, &key);
    let mut strangers = world.vault();
    strangers["metadata"]["uid"] = json!("uid-again");
    strangers["spec"]["roles"] = json!([{"name": "ci", "verbs": ["read"]}]);
    let there = |what: &str| status(409, &format!("{what} already exists"));
    let mut world = world
        .answering(("POST", KEYRINGS, 201, keyring.clone()))
        .answering(("POST", ENVELOPES, 201, envelope))
        .answering(("POST", MEMBERS, 201, member("alice", "owner", "Active")))
        .answering(("POST", VAULTS, 409, there("vault")))
        .answering(("GET", VAULT, 200, strangers))
        .answering(("POST", CONNECTIONS, 201, github()))
        .answering(("GET", KEYRING, 200, keyring))
        .answering(("GET", TEAM, 200, namespace()));
    let (code, text) = world.run(&["restore", &file]).await.refused();
    assert!(code == Failure::CONFLICT && text.contains("its spec differs"), "{text}");
    assert!(world.written().iter().all(|(method, ..)| method == "POST"), "nothing is annotated");

    // One that has keys of its own is left alone from the start.
    let mut other: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("a file")).expect("JSON");
    other["items"][0]["spec"]["vaultID"] = json!("00112233445566778899aabbccddeeff");
    kept(&world, &other.to_string());
    let before = world.written().len();
    let (code, text) = world.run(&["restore", &file]).await.refused();
    assert!(code == Failure::CONFLICT && text.contains("was made anew, with keys of its own"), "{text}");
    assert_eq!(world.written().len(), before);
}

/// Whoever saves one namespace is told what of its vaults lies in others.
#[tokio::test]
async fn a_backup_of_one_namespace_says_how_many_credentials_lie_in_others() {
    for (all, warned) in [(1, false), (3, true)] {
        let (world, _) = team();
        let mut vault = world.vault();
        vault["status"]["connections"] = json!(all);
        let mut world = world.answering(("GET", VAULTS, 200, list_of("Vault", &[vault])));
        let said = world.run(&["backup", "-o", "json"]).await;
        said.answer();
        let text = "warning: 2 credentials of vault 'team' are not in it: they lie in other namespaces";
        assert_eq!(said.notes.contains(text), warned, "{said:?}");
        assert_eq!(said.notes.contains("warning"), warned, "{said:?}");
    }
}

/// What was restored under a root that is lost for good is in the new vault's place: who recovers is told what to take away
/// once it is certain that the garbage collector does not do so.
#[tokio::test(start_paused = true)]
async fn a_restored_keyring_in_the_place_of_the_new_one_is_told_of() {
    let mut world = World::new("bob").with_team();
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    let file = std::fs::read(world.home().key).expect("a file");
    let key = MemberSecretKey::from_file(&file, None).expect("a key");
    let [_, envelope] = sealed_for(&mut world, &key);
    let mut bob = world.keyring.members()[0].clone();
    bob.role = String::from("owner");
    world.keyring.register(bob).expect("a register");
    let keyring = object("Keyring", "team", &world.keyring.to_spec());
    list(&mut world, [keyring, envelope]);
    let file = backup_of(&mut world).await;
    let mut unadopted = world.vault();
    unadopted["status"]["conditions"] = ready("False", "NotAdopted");
    let mut world = world
        .answering(("GET", VAULT, 404, status(404, "vaults \"team\" not found")))
        .answering(("GET", MEMBERS, 200, list_of("VaultMember", &[])))
        .answering(("GET", GITHUB, 404, status(404, "connections \"github\" not found")))
        .answering(("POST", VAULTS, 201, unadopted.clone()));
    world.once_made.push((VAULTS, ("GET", VAULT, 200, unadopted)));
    let started = tokio::time::Instant::now();
    let (code, text) = world.run(&["recover", "--from", &file, "--yes"]).await.refused();
    assert!(code == Failure::CONFLICT && text.contains("kubectl delete keyring -n team team"), "{text}");
    assert!(started.elapsed().as_secs() >= 45, "the garbage collector had no time");
    let written: Vec<_> =
        world.written().into_iter().map(|(method, place, _)| format!("{method} {place}")).collect();
    assert_eq!(written, [format!("POST {VAULTS}")], "nobody is invited, nothing is sealed");
}
