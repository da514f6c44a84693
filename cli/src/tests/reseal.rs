//! Sealing again, after the custodian root was turned over. Issue 6 §1.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_envelope::{
    Custodian,
    custody::{RootOfTrust, open_custodian, seal_new_root, seal_secrets},
    intake_public_key,
};
use coffer_keys::{
    VaultId,
    intake::{InputContext, sealed_to},
};
use serde_json::{Value, json};

use super::{
    values::narrowed,
    world::{CONNECTIONS, GITHUB, World, github, list_of, ready},
};
use crate::{Failure, random};

fn context<'a>(world: &World, item: &'a str) -> InputContext<'a> {
    let vault_id = world.keyring.vault_id();
    InputContext { vault_id, namespace: "team", connection: "github", owner: "alice", item }
}

/// What the broker releases, sealed to the present key.
fn sealed(world: &World) -> Value {
    let (id, key) = (world.keyring.vault_id(), world.keyring.intake_key().expect("a key"));
    let key = intake_public_key(&id, world.keyring.public_key(), &key).expect("the vault signed it");
    let seal = |item: &str, value: &str| {
        STANDARD.encode(key.seal(&context(world, item), value.as_bytes(), &mut random()))
    };
    json!({"token": seal("token", "ghp_0123456789abcdefghij"), "user": seal("user", "bot")})
}

/// By item, the key that it is sealed to and what the operator finds in it.
fn opened(world: &World, sealed: &Value) -> Vec<(String, String, String)> {
    let open = |(item, text): (&String, &Value)| {
        let bytes = STANDARD.decode(text.as_str().expect("text")).expect("base64");
        let kid = sealed_to(&bytes).expect("sealed input").to_string();
        let value = world.keyring.open_sealed(&context(world, item), &bytes).expect("sealed for this place");
        (item.clone(), kid, String::from_utf8(value.expose().to_vec()).expect("text"))
    };
    sealed.as_object().expect("items").iter().map(open).collect()
}

fn values(kid: &str) -> Vec<(String, String, String)> {
    [("token", "ghp_0123456789abcdefghij"), ("user", "bot")]
        .map(|(item, value)| (item.to_owned(), kid.to_owned(), value.to_owned()))
        .into()
}

/// alice's vault under custodian root 2, and her `github`, sealed to root 1.
pub(super) fn turned_over() -> World {
    let rng = &mut random();
    let (trust, first) = (RootOfTrust::generate_local(rng), Custodian::generate(rng));
    let mut world = World::new("alice");
    let id = VaultId::generate(rng);
    world.keyring = first.new_keyring(id, "uid-team", jiff::Timestamp::UNIX_EPOCH, rng);
    let mut old = github();
    old["spec"]["sealedData"] = sealed(&world);

    let mut custody = seal_secrets(&first, &trust, rng).expect("a whole root of trust");
    custody.custodian.extend([seal_new_root(2, &trust, rng).expect("a whole root of trust")]);
    let [roots, branches] = [&custody.custodian, &custody.brokered]
        .map(|data| data.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let both = open_custodian(&trust, roots, branches).expect("both roots");
    world.keyring = both.open_keyring(&world.keyring.to_spec()).expect("a Keyring of root 1");
    world.keyring.rewrap(rng);
    world.broker = Some(Arc::new(narrowed));
    having(world.with_team(), &old)
}

/// With this Connection in place of the one before.
fn having(world: World, connection: &Value) -> World {
    let list = list_of("Connection", std::slice::from_ref(connection));
    world
        .answering(("GET", GITHUB, 200, connection.clone()))
        .answering(("GET", CONNECTIONS, 200, list))
        .answering(("PATCH", GITHUB, 200, connection.clone()))
}

fn live(world: &World) -> Value {
    world.answers.iter().find(|(method, path, ..)| (*method, *path) == ("GET", GITHUB)).expect("it").3.clone()
}

#[tokio::test]
async fn the_same_values_are_sealed_to_the_present_key_and_shown_nowhere() {
    let mut world = turned_over();
    assert_eq!(opened(&world, &live(&world)["spec"]["sealedData"]), values("intake/1/1"));
    let said = world.run(&["reseal", "github", "--no-wait"]).await;
    assert_eq!(
        said.answer(),
        "Connection 'github' is sealed to the present key, intake/2/2: the same values, and so no new version.\n"
    );
    let written = world.written();
    let methods: Vec<_> = written.iter().map(|(method, ..)| method.as_str()).collect();
    assert_eq!(methods, ["POST", "DELETE", "PATCH"]);
    assert_eq!(written[0].2["spec"]["reason"], "kubectl coffer reseal");
    let patch = &written[2].2;
    assert_eq!(patch["metadata"]["resourceVersion"], "9", "nobody has written it in between");
    assert_eq!(patch["spec"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(opened(&world, &patch["spec"]["sealedData"]), values("intake/2/2"));
    assert!(!format!("{said:?}{written:?}").contains("ghp_"));

    let mut again = live(&world);
    again["spec"]["sealedData"] = patch["spec"]["sealedData"].clone();
    let mut world = having(world, &again);
    let said = world.run(&["reseal", "github"]).await;
    assert_eq!(said.answer(), "Connection 'github' is sealed to the present key, intake/2/2, already.\n");
    assert!(world.run(&["reseal", "--all"]).await.notes.contains("Nothing in namespace team"));
    assert_eq!(world.written().len(), 3, "nobody was asked again");
}

/// A value that is not in effect, or not any more, takes the place of none.
#[tokio::test]
async fn only_what_is_in_effect_is_sealed_again() {
    let with = |change: fn(&mut Value)| {
        let world = turned_over();
        let mut connection = live(&world);
        change(&mut connection);
        having(world, &connection)
    };
    let worlds = [
        (with(|it| it["status"]["conditions"] = ready("False", "SealedDataUnreadable")), "coffer set"),
        (with(|it| it["metadata"]["generation"] = json!(3)), "waiting for the operator"),
        (with(|it| it["status"]["version"] = json!(3)), "version 3 is in effect"),
        (with(|it| it["metadata"]["name"] = json!("other")), "nothing is taken"),
        (
            with(|it| {
                let sealed = it["spec"]["sealedData"]["user"].clone();
                it["spec"]["sealedData"] = json!({"user": sealed});
            }),
            "other values",
        ),
    ];
    for (mut world, text) in worlds {
        let (code, said) = world.run(&["reseal", "github", "--no-wait"]).await.refused();
        assert_eq!(code, Failure::CONFLICT, "{said}");
        assert!(said.contains(text) && !said.contains("ghp_"), "{said}");
        assert!(world.written().iter().all(|(method, ..)| method != "PATCH"), "{said}");
    }
}

#[tokio::test]
async fn a_manifest_of_git_is_printed_as_it_was_but_for_what_is_sealed() {
    let mut world = turned_over();
    let sealed = live(&world)["spec"]["sealedData"].clone();
    let text = format!(
        "# Of the platform team.\napiVersion: coffer.dev/v1alpha1\nkind: Connection\nmetadata: {{name: github}}\nspec:\n  \
         vault: {{name: team}}\n  sealedData:\n    token: {} # the fleet's\n    user: {}\n",
        sealed["token"].as_str().expect("text"),
        sealed["user"].as_str().expect("text"),
    );
    let file = world.path().join("github.yaml");
    let path = file.display().to_string();
    std::fs::write(&file, &text).expect("a file");
    let said = world.run(&["reseal", "-f", &path, "--dry-run"]).await;
    assert_eq!(
        said.answer(),
        "Connection 'github' is sealed to intake/1/1; the present key is intake/2/2.\n"
    );

    let said = world.run(&["reseal", "-f", &path, "-o", "yaml"]).await;
    let printed: Value = serde_saphyr::from_str(said.answer()).expect("YAML");
    assert_eq!(opened(&world, &printed["spec"]["sealedData"]), values("intake/2/2"));
    let mut expected = text.clone();
    for item in ["token", "user"] {
        let text = |value: &Value| value[item].as_str().expect("text").to_owned();
        expected = expected.replace(&text(&sealed), &text(&printed["spec"]["sealedData"]));
    }
    assert_eq!(said.answer, expected);
    assert!(world.written().iter().all(|(method, ..)| method != "PATCH"), "nothing changes in the cluster");
    let json = world.run(&["reseal", "-f", &path, "-o", "json"]).await;
    let json: Value = serde_json::from_str(json.answer()).expect("JSON");
    assert_eq!(opened(&world, &json["spec"]["sealedData"]), values("intake/2/2"));

    // Once it is applied.
    std::fs::write(&file, &said.answer).expect("a file");
    let (code, refused) = world.run(&["reseal", "-f", &path]).await.refused();
    assert_eq!(code, Failure::CONFLICT);
    assert!(refused.contains("is not the same") && refused.contains("(items: token, user)"), "{refused}");
    let mut applied = live(&world);
    applied["spec"]["sealedData"] = printed["spec"]["sealedData"].clone();
    let mut world = having(world, &applied);
    assert_eq!(world.run(&["reseal", "-f", &path]).await.answer(), said.answer);
}

#[tokio::test]
async fn a_manifest_that_says_something_else_than_the_cluster_is_refused_with_the_reason() {
    let mut world = turned_over();
    let whole = live(&world);
    let file = world.path().join("github.yaml");
    let path = file.display().to_string();
    type Change = fn(&mut Value);
    let cases: [(Change, u8, &str); 5] = [
        (|it| it["kind"] = json!("Vault"), Failure::USAGE, "kind: is no Connection"),
        (|it| it["spec"]["sealedData"] = Value::Null, Failure::USAGE, "spec.sealedData: is missing"),
        (
            |it| it["spec"]["owner"] = json!("bob"),
            Failure::CONFLICT,
            "spec.owner of connection 'github' is 'bob'",
        ),
        (|it| it["metadata"]["name"] = json!("npm"), Failure::NOT_FOUND, "apply the manifest first"),
        (
            |it| it["metadata"]["namespace"] = json!("elsewhere"),
            Failure::USAGE,
            "metadata.namespace is 'elsewhere'",
        ),
    ];
    for (change, expected, text) in cases {
        let mut manifest = whole.clone();
        change(&mut manifest);
        std::fs::write(&file, manifest.to_string()).expect("a file");
        let (code, said) = world.run(&["reseal", "-n", "team", "-f", &path]).await.refused();
        assert_eq!(code, expected, "{said}");
        assert!(said.contains(text), "{said}");
    }
    assert!(world.written().is_empty());
}
