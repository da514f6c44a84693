//! Backups: what is in them, what is made again of them, and what a member's own key still opens.

use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    values::wrapped,
    world::{CONNECTIONS, MEMBERS, VAULT, VAULTS, World, github, list_of, member, status},
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
    let envelope = wrapped(&mut world, &key, 1).envelope;
    let keyring = object("Keyring", "team", &world.keyring.to_spec());
    let envelope = object("Envelope", "github", &envelope);
    world.answers.push(("GET", KEYRINGS, 200, list_of("Keyring", &[keyring])));
    world.answers.push(("GET", ENVELOPES, 200, list_of("Envelope", &[envelope])));
    (world, key)
}

async fn saved(world: &mut World) -> String {
    world.run(&["backup", "-o", "json"]).await.answer().to_owned()
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
    let backup = world.path().join("team.json");
    std::fs::write(&backup, saved(&mut world).await).expect("a file");
    let file = backup.to_str().expect("a path").to_owned();
    let keyring = object("Keyring", "team", &world.keyring.to_spec());
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let envelope = object("Envelope", "github", &wrapped(&mut world, &key, 1).envelope);
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
        .answering((
            "GET",
            TEAM,
            200,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        ));
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
    let backup = world.path().join("team.json");
    std::fs::write(&backup, saved(&mut world).await).expect("a file");
    let file = backup.to_str().expect("a path").to_owned();
    let mut world = world.answering(("GET", TEAM, 404, status(404, "namespaces \"team\" not found")));
    let (code, text) = world.run(&["restore", &file]).await.refused();
    assert_eq!(code, Failure::NOT_FOUND);
    assert!(text.contains("namespaces are missing: team"), "{text}");
    assert!(world.written().is_empty());
    let (code, text) = world.run(&["restore", &file, "-n", "other"]).await.refused();
    assert!(code == Failure::NOT_FOUND && text.contains("holds no vault of namespace 'other'"), "{text}");
    std::fs::write(&backup, "kind: Vault").expect("a file");
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
    let envelope = object("Envelope", "github", &wrapped(&mut world, &key, 1).envelope);
    let keyring = object("Keyring", "team", &world.keyring.to_spec());
    world.answers.insert(0, ("GET", ENVELOPES, 200, list_of("Envelope", &[envelope])));
    world.answers.insert(0, ("GET", KEYRINGS, 200, list_of("Keyring", &[keyring])));
    let backup = world.path().join("team.json");
    let text = saved(&mut world).await;
    std::fs::write(&backup, &text).expect("a file");
    let file = backup.to_str().expect("a path").to_owned();
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
    std::fs::write(&backup, moved.to_string()).expect("a file");
    let said = world.run(&["recover", "--from", &file, "--dry-run"]).await;
    assert!(said.answer().contains("this key opens 0 of 1 credentials"), "{said:?}");

    let stranger = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let other = object("Envelope", "github", &wrapped(&mut world, &stranger, 1).envelope);
    world.answers.insert(0, ("GET", ENVELOPES, 200, list_of("Envelope", &[other])));
    let keyring = object("Keyring", "team", &world.keyring.to_spec());
    world.answers.insert(0, ("GET", KEYRINGS, 200, list_of("Keyring", &[keyring])));
    std::fs::write(&backup, saved(&mut world).await).expect("a file");
    let (code, text) = world.run(&["recover", "--from", &file, "--dry-run"]).await.refused();
    assert!(code == Failure::DENIED && text.contains("is no member's of vault 'team'"), "{text}");
    // A register that the vault's own key does not vouch for names whom it likes.
    let mut forged: Value = serde_json::from_str(&saved(&mut world).await).expect("JSON");
    forged["items"][0]["spec"]["members"][0]["name"] = json!("mallory");
    std::fs::write(&backup, forged.to_string()).expect("a file");
    let (code, text) = world.run(&["recover", "--from", &file, "--dry-run"]).await.refused();
    assert!(code == Failure::CONFLICT && text.contains("does not vouch for its Keyring"), "{text}");
}

/// Somebody who made the vault anew in between chooses what its members may: the keys are not given to that one.
#[tokio::test]
async fn a_vault_that_is_not_the_one_that_was_saved_gets_no_keys() {
    let (mut world, _) = team();
    let backup = world.path().join("team.json");
    std::fs::write(&backup, saved(&mut world).await).expect("a file");
    let file = backup.to_str().expect("a path").to_owned();
    let keyring = object("Keyring", "team", &world.keyring.to_spec());
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut random());
    let envelope = object("Envelope", "github", &wrapped(&mut world, &key, 1).envelope);
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
        .answering((
            "GET",
            TEAM,
            200,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        ));
    let (code, text) = world.run(&["restore", &file]).await.refused();
    assert!(code == Failure::CONFLICT && text.contains("its spec differs"), "{text}");
    assert!(world.written().iter().all(|(method, ..)| method == "POST"), "nothing is annotated");

    // One that has keys of its own is left alone from the start.
    let mut other: Value =
        serde_json::from_str(&std::fs::read_to_string(&backup).expect("a file")).expect("JSON");
    other["items"][0]["spec"]["vaultID"] = json!("00112233445566778899aabbccddeeff");
    std::fs::write(&backup, other.to_string()).expect("a file");
    let before = world.written().len();
    let (code, text) = world.run(&["restore", &file]).await.refused();
    assert!(code == Failure::CONFLICT && text.contains("was made anew, with keys of its own"), "{text}");
    assert_eq!(world.written().len(), before);
}
