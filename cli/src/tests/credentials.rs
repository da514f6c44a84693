//! Credentials from a terminal: set, seal, share, transfer, delete.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_keys::intake::InputContext;
use serde_json::{Value, json};

use super::world::{CONNECTIONS, GITHUB, World, github, status};
use crate::Failure;

/// What the operator opens of an item that was sealed for `alice`.
fn opened(world: &World, item: &str, sealed: &Value) -> String {
    let bytes = STANDARD.decode(sealed.as_str().expect("text")).expect("base64");
    let context = InputContext {
        vault_id: world.keyring.vault_id(),
        namespace: "team",
        connection: "github",
        owner: "alice",
        item,
    };
    let value = world.keyring.open_sealed(&context, &bytes).expect("sealed for this very place");
    String::from_utf8(value.expose().to_vec()).expect("text")
}

fn nothing_there(user: &str) -> World {
    let absent = status(404, "connections.coffer.dev \"github\" not found");
    let mut made = github();
    made["spec"] = json!({"vault": {"name": "team"}});
    World::new(user).with_team().answering(("GET", GITHUB, 404, absent)).answering((
        "POST",
        CONNECTIONS,
        201,
        made,
    ))
}

/// C27: sealed on this machine, to a key that the vault's own key vouches for; typed hidden, shown nowhere.
#[tokio::test]
async fn a_typed_value_is_sealed_here_and_only_the_operator_opens_it() {
    let mut world = nothing_there("alice");
    world.person.types = ["ghp_hunter2"].into();
    let words =
        ["set", "github", "--item", "token", "--members", "bob,dave", "--provider", "github", "--no-wait"];
    let said = world.run(&words).await;
    assert_eq!(
        said.answer(),
        "Connection 'github' in vault 'team' is made:\n  item token: added\n  members: bob, dave\n  provider: github\n"
    );
    assert!(said.notes.contains("'dave' is no member of vault 'team' yet"), "{said:?}");
    let (method, _, body) = world.written().remove(0);
    assert_eq!(method, "POST");
    assert_eq!(body["spec"]["members"], json!(["bob", "dave"]));
    assert_eq!(opened(&world, "token", &body["spec"]["sealedData"]["token"]), "ghp_hunter2");
    let everything = format!("{said:?}{body}");
    assert!(!everything.contains("hunter2"), "nothing that is printed or sent holds it");
}

#[tokio::test]
async fn values_come_from_files_standard_input_and_env_files() {
    let mut world = nothing_there("alice");
    let file = world.path().join("tls.crt");
    std::fs::write(&file, "certificate\n").expect("a file");
    let env = world.path().join(".env");
    std::fs::write(&env, "USER=bot\nexport PASS='p w'\n").expect("a file");
    world.person.pipes = Some("from-a-pipe\n");
    let (file, env) = (file.display().to_string(), env.display().to_string());
    let words = [
        "set",
        "github",
        "--from-file",
        &file,
        "--from-file",
        "token=-",
        "--from-env-file",
        &env,
        "--no-wait",
    ];
    world.run(&words).await.answer();
    let sealed = world.written().remove(0).2["spec"]["sealedData"].clone();
    for (item, value) in
        [("tls.crt", "certificate\n"), ("token", "from-a-pipe"), ("USER", "bot"), ("PASS", "p w")]
    {
        assert_eq!(opened(&world, item, &sealed[item]), value, "{item}");
    }
}

/// T27: setting again takes effect or is refused, and is shown.
#[tokio::test]
async fn setting_again_replaces_and_shows_what_changed_and_what_stays() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("PATCH", GITHUB, 200, github()));
    world.person.pipes = Some("new\n");
    let words = ["set", "github", "--from-file", "token=-", "--members", "*", "--no-wait"];
    let said = world.run(&words).await;
    assert_eq!(
        said.answer(),
        "Connection 'github' in vault 'team' is changed:\n  item token: new value\n  item user: as it was\n  members: bob → *\n"
    );
    let body = world.written().remove(0).2;
    assert_eq!(body["metadata"]["resourceVersion"], "9");
    assert_eq!(opened(&world, "token", &body["spec"]["sealedData"]["token"]), "new");
    assert!(body["spec"]["sealedData"].get("user").is_none());
}

#[tokio::test]
async fn wrong_steps_of_set_say_what_to_do() {
    let mut world = nothing_there("alice");
    for (words, code, text) in [
        (vec!["set", "github"], Failure::USAGE, "name items"),
        (vec!["set", "github", "--item", "token"], Failure::USAGE, "--from-file token=-"),
        (vec!["set", "github", "--item", "token=hunter2"], Failure::USAGE, "--item token"),
        (vec!["set", "github", "--from-file", "token=/nowhere"], Failure::NOT_FOUND, "/nowhere"),
        (vec!["set", "github", "--from-file", "-"], Failure::USAGE, "ITEM=-"),
        (vec!["set", "github", "--vault", "team/", "--from-file", "a=-"], Failure::USAGE, "NAMESPACE/NAME"),
        (vec!["set", "github", "--vault", "a/b/c", "--from-file", "a=-"], Failure::USAGE, "NAMESPACE/NAME"),
        (vec!["set", "github", "--from-file", "a=-", "--from-file", "b=-"], Failure::USAGE, "once"),
        (vec!["set", "github", "--from-file", "a=-", "--members", "*,a"], Failure::USAGE, "stands alone"),
    ] {
        let (said, message) = world.run(&words).await.refused();
        assert_eq!(said, code, "{words:?}: {message}");
        assert!(message.contains(text) && !message.contains("hunter2"), "{words:?}: {message}");
    }
    assert!(world.written().is_empty());
    let mut stranger = nothing_there("eve");
    let (code, text) = stranger.run(&["set", "github", "--from-file", "token=-"]).await.refused();
    assert_eq!(code, Failure::DENIED);
    assert!(text.contains("'eve' is no member of vault 'team'"), "{text}");
    let mut member = nothing_there("bob");
    let (code, text) = member.run(&["set", "github", "--from-file", "token=-"]).await.refused();
    assert_eq!(code, Failure::DENIED);
    assert!(text.contains("does not allow 'write'"), "{text}");
}

/// C2: a namespace that has no vault: what is made there goes where admission puts it, which is asked before anything is
/// sealed.
#[tokio::test]
async fn where_no_vault_is_a_credential_goes_to_the_cluster_s_default_one_or_to_one_that_is_named() {
    const THERE: &str = "/apis/coffer.dev/v1alpha1/namespaces/vaults/vaults/default";
    const MEMBERS_THERE: &str = "/apis/coffer.dev/v1alpha1/namespaces/vaults/vaultmembers";
    let everywhere = || {
        let world = nothing_there("alice");
        let mut vault = world.vault();
        vault["metadata"]["name"] = json!("default");
        vault["metadata"]["namespace"] = json!("vaults");
        let mut alice = super::world::member("alice", "owner", "Active");
        alice["metadata"]["namespace"] = json!("vaults");
        alice["spec"]["vault"] = json!("default");
        let mut made = github();
        made["spec"] = json!({"vault": {"namespace": "vaults", "name": "default"}});
        let mut world = world
            .answering(("GET", super::world::VAULTS, 200, super::world::list_of("Vault", &[])))
            .answering(("GET", THERE, 200, vault))
            .answering(("GET", MEMBERS_THERE, 200, super::world::list_of("VaultMember", &[alice])))
            .answering(("POST", CONNECTIONS, 201, made));
        world.person.pipes = Some("ghp_1");
        world
    };
    let mut world = everywhere();
    let words = ["set", "github", "--from-file", "token=-", "--provider", "github", "--no-wait"];
    let said = world.run(&words).await;
    assert!(said.answer().starts_with("Connection 'github' in vault 'default' is made"), "{said:?}");
    let written = world.written();
    let places: Vec<_> = written.iter().map(|(_, place, _)| place.as_str()).collect();
    assert_eq!(places, [format!("{CONNECTIONS}?dryRun").as_str(), CONNECTIONS]);
    let asked = &written[0].2["spec"];
    assert_eq!(
        (&asked["provider"], asked.get("sealedData")),
        (&json!("github"), None),
        "no value is sent to ask that"
    );
    assert_eq!(written[1].2["spec"]["vault"], json!({"namespace": "vaults", "name": "default"}));
    assert_eq!(opened(&world, "token", &written[1].2["spec"]["sealedData"]["token"]), "ghp_1");

    let mut world = everywhere();
    let named = ["set", "github", "--vault", "vaults/default", "--from-file", "token=-", "--no-wait"];
    world.run(&named).await.answer();
    assert_eq!(world.written().len(), 1, "where it is named nothing is asked");
    let none = "spec.vault: names no vault, and neither namespace 'team' nor the cluster has a default one";
    let mut world = everywhere().answering(("POST", CONNECTIONS, 422, status(422, none)));
    let (code, text) = world.run(&words).await.refused();
    assert_eq!(code, Failure::NOT_FOUND);
    assert!(text.contains("namespace 'team' has no vault, and the cluster no default one"), "{text}");
    assert!(text.contains("--vault NAMESPACE/NAME"), "{text}");
    let mut world = everywhere().answering(("POST", CONNECTIONS, 403, status(403, "you are no member")));
    assert_eq!(world.run(&words).await.refused(), (Failure::DENIED, "you are no member".to_owned()));
}

/// An intake key that the vault's own key did not sign is somebody else's.
#[tokio::test]
async fn nothing_is_sealed_to_a_key_that_the_vault_did_not_sign() {
    let world = nothing_there("alice");
    let mut forged = world.vault();
    forged["status"]["intakeKey"] = World::new("alice").vault()["status"]["intakeKey"].clone();
    let list = super::world::list_of("Vault", &[forged]);
    let mut world = world.answering(("GET", super::world::VAULTS, 200, list));
    world.person.types = ["ghp_hunter2"].into();
    let (code, text) = world.run(&["set", "github", "--item", "token"]).await.refused();
    assert_eq!(code, Failure::CONFLICT);
    assert!(text.contains("did not sign"), "{text}");
    assert!(!world.person.types.is_empty(), "nobody was asked to type the value");
}

/// A manifest for Git is made without any cluster from a saved key, which is checked.
#[tokio::test]
async fn a_manifest_for_git_is_sealed_without_a_cluster() {
    let mut world = World::new("alice").with_team();
    let saved = world.run(&["seal-key"]).await;
    let file = world.path().join("team-key.yaml");
    std::fs::write(&file, saved.answer()).expect("a file");
    let path = file.display().to_string();
    world.person.pipes = Some("ghp_hunter2\n");
    let words = [
        "seal",
        "github",
        "--owner",
        "alice",
        "--members",
        "bob",
        "--from-file",
        "token=-",
        "--seal-key",
        &path,
    ];
    let said = world.run(&words).await;
    let manifest: Value = serde_saphyr::from_str(said.answer()).expect("YAML");
    assert_eq!(manifest["metadata"], json!({"name": "github", "namespace": "team"}));
    assert_eq!(manifest["spec"]["owner"], "alice");
    assert_eq!(manifest["spec"]["members"], json!(["bob"]));
    assert_eq!(opened(&world, "token", &manifest["spec"]["sealedData"]["token"]), "ghp_hunter2");
    assert!(!said.answer.contains("hunter2"));

    // Another machine has never seen the vault: whoever wrote the file could have put in a key of their own.
    std::fs::remove_file(world.home().pins).expect("a file");
    world.person.pipes = Some("ghp_hunter2\n");
    let (code, text) = world.run(&words).await.refused();
    assert_eq!(code, Failure::DENIED);
    let key = world.keyring.custodian_key();
    assert!(text.contains(&key) && text.contains("--trust KEY"), "{text}");
    let other = World::new("alice").keyring.custodian_key();
    let with = |key: &str| {
        words.iter().map(|word| (*word).to_owned()).chain(["--trust".into(), key.into()]).collect()
    };
    let (not_so, so): (Vec<String>, Vec<String>) = (with(&other), with(&key));
    let typed: Vec<&str> = not_so.iter().map(String::as_str).collect();
    assert_eq!(world.run(&typed).await.refused().0, Failure::CONFLICT);
    let typed: Vec<&str> = so.iter().map(String::as_str).collect();
    world.run(&typed).await.answer();
    world.run(&words).await.answer();

    let mut altered: Value = serde_saphyr::from_str(&saved.answer).expect("YAML");
    altered["custodianKey"] = World::new("alice").vault()["status"]["custodianKey"].clone();
    std::fs::write(&file, altered.to_string()).expect("a file");
    assert_eq!(world.run(&words).await.refused().0, Failure::CONFLICT);
}

#[tokio::test]
async fn an_edit_shows_what_will_change_asks_and_changes_that_alone() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("PATCH", GITHUB, 200, github()));
    world.person.edits = Some(|text| text.replace("spec:\n", "spec:\n  provider: github\n  alias: gh\n"));
    assert_eq!(world.run(&["edit", "github"]).await.refused().0, Failure::USAGE, "nobody said yes");
    assert!(world.written().is_empty());
    world.person.types = ["y"].into();
    let said = world.run(&["edit", "github", "--no-wait"]).await;
    assert_eq!(said.answer(), "Connection 'github' is changed.\n");
    assert!(
        said.notes.contains("  spec.alias: not set → gh\n  spec.provider: not set → github\n"),
        "{said:?}"
    );
    let expected =
        json!({"metadata": {"resourceVersion": "9"}, "spec": {"alias": "gh", "provider": "github"}});
    assert_eq!(world.written()[0].2, expected);
    world.person.edits = Some(str::to_owned);
    let said = world.run(&["edit", "github"]).await;
    assert_eq!(said.answer(), "Connection 'github': nothing was edited, nothing is changed.\n");
}

/// What somebody typed is not lost with the refusal, and is where the refusal says.
#[tokio::test]
async fn an_edit_that_fails_keeps_what_was_written() {
    let mut world = World::new("alice").with_team();
    world.person.edits = Some(|text| text.replace("owner: alice", "owner: bob"));
    let (code, text) = world.run(&["edit", "github", "--yes"]).await.refused();
    assert_eq!(code, Failure::USAGE);
    assert!(text.contains("spec.owner is changed by kubectl coffer transfer"), "{text}");
    let (_, path) = text.split_once("kept in ").expect("a path");
    let kept = std::fs::read_to_string(path).expect("a file");
    assert!(kept.contains("owner: bob") && !kept.contains("c2VhbGVk"), "{kept}");
    std::fs::remove_file(path).expect("it is there");
    assert!(world.written().is_empty());
    world.person.edits = None;
    let (code, text) = world.run(&["edit", "github"]).await.refused();
    assert_eq!(code, Failure::USAGE);
    assert!(text.contains("the editor failed") && !text.contains("kept in"), "{text}");
}

/// C33: who gains and who loses.
#[tokio::test]
async fn sharing_shows_who_gains_and_who_loses() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("PATCH", GITHUB, 200, github()));
    let said = world.run(&["share", "github", "--add", "carol", "--drop", "bob", "--no-wait"]).await;
    assert_eq!(said.answer(), "Connection 'github' is for carol.\n  gains: carol\n  loses: bob\n");
    assert!(said.notes.contains("change it at the provider"), "{said:?}");
    assert_eq!(world.written()[0].2["spec"], json!({"members": ["carol"]}));
    let said = world.run(&["share", "github", "--members", "dave", "--no-wait"]).await;
    assert!(said.notes.contains("'dave' is no member of vault 'team' yet"), "{said:?}");
    assert_eq!(world.run(&["share", "github"]).await.refused().0, Failure::USAGE);
    let said = world.run(&["share", "github", "--members", "bob"]).await;
    assert_eq!(said.answer(), "Connection 'github' is shared so already.\n");
    assert_eq!(world.run(&["share", "github", "--drop", "eve"]).await.refused().0, Failure::NOT_FOUND);
}

#[tokio::test]
async fn a_transfer_names_a_member_and_asks() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("PATCH", GITHUB, 200, github()));
    assert_eq!(world.run(&["transfer", "github", "eve", "--yes"]).await.refused().0, Failure::NOT_FOUND);
    assert_eq!(world.run(&["transfer", "github", "bob"]).await.refused().0, Failure::USAGE);
    let said = world.run(&["transfer", "github", "bob", "--yes", "--no-wait"]).await;
    assert_eq!(said.answer(), "Connection 'github': owner 'alice' → 'bob'.\n");
    assert_eq!(world.written()[0].2["spec"], json!({"owner": "bob"}));
}

#[tokio::test]
async fn deletion_asks_and_deletes_this_very_object() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("DELETE", GITHUB, 200, status(200, "")));
    assert_eq!(world.run(&["delete", "github"]).await.refused().0, Failure::USAGE);
    let said = world.run(&["delete", "github", "--yes"]).await;
    assert_eq!(said.answer(), "Connection 'github' is deleted.\n");
    assert_eq!(world.written()[0].2["preconditions"]["uid"], "uid-github");
    let quiet = world.run(&["delete", "github", "--yes", "--quiet"]).await;
    assert!(quiet.notes.is_empty(), "{quiet:?}");
}

/// C11: owner and scope, and who may; never a value.
#[tokio::test]
async fn describe_shows_all_but_the_values() {
    let mut world = World::new("alice").with_team();
    let said = world.run(&["describe", "github"]).await;
    for line in [
        "Owner:        alice",
        "Shared with:  bob",
        "May use:      alice, bob",
        "May write:    alice",
        "Version:      2",
    ] {
        assert!(said.answer().contains(line), "{line}: {}", said.answer);
    }
    assert!(!said.answer.contains("c2VhbGVk"), "nor sealed ones");
}
