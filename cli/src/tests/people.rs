//! Membership from a terminal: keys, invites, answers, roles, removal.

use std::os::unix::fs::PermissionsExt as _;

use coffer_crds::Subject;
use coffer_keys::{
    acceptance::Acceptance,
    hierarchy::SubjectRef,
    member_key::{MemberPublicKey, MemberSecretKey},
};
use serde_json::json;

use super::world::{
    BOB, CONNECTIONS, GITHUB, MEMBERS, VAULT, VAULTS, World, github, list_of, member, status,
};
use crate::Failure;

/// The message of the invite that the proof of an acceptance is over.
fn accepted<'a>(world: &World, name: &'a str, uid: &'a str, key: &'a MemberPublicKey) -> Acceptance<'a> {
    let vault_id = world.keyring.vault_id();
    Acceptance { vault_id, namespace: "team", name, uid, subject: SubjectRef::User(name), public_key: key }
}

#[tokio::test]
async fn a_new_key_is_private_is_shown_and_is_never_overwritten() {
    let mut world = World::new("alice");
    let made = world.run(&["key", "new", "--no-passphrase"]).await;
    assert!(made.answer().contains("Fingerprint:  SHA256:"), "{made:?}");
    let file = world.home().key;
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = world.run(&["key", "show", "-o", "name"]).await;
    assert!(made.answer.contains(shown.answer().trim()));
    let (code, text) = world.run(&["key", "new", "--no-passphrase"]).await.refused();
    assert_eq!(code, Failure::CONFLICT);
    assert!(text.contains("never overwritten"), "{text}");
}

#[tokio::test]
async fn a_passphrase_is_typed_twice_and_asked_for_at_use() {
    let mut world = World::new("alice");
    world.person.types = ["correct horse", "battery staple"].into();
    assert_eq!(world.run(&["key", "new"]).await.refused().0, Failure::USAGE);
    assert!(!world.home().key.exists());
    world.person.types = ["correct horse", "correct horse"].into();
    world.run(&["key", "new"]).await.answer();
    let content = std::fs::read(world.home().key).expect("a file");
    assert!(MemberSecretKey::from_file(&content, None).is_err(), "the file is encrypted");
    assert!(world.run(&["key", "show"]).await.result.is_ok(), "its public half needs no passphrase");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_with_what_mends_it() {
    let mut world = World::new("alice");
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    std::fs::set_permissions(world.home().key, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let (code, text) = world.run(&["key", "show"]).await.refused();
    assert_eq!(code, Failure::USAGE);
    assert!(text.contains("chmod 600"), "{text}");
}

#[tokio::test]
async fn an_ssh_key_is_found_without_being_named_and_imported_when_it_is() {
    let mut world = World::new("alice");
    world
        .run(&["key", "new", "--no-passphrase", "--key", &world.home().ssh_key.display().to_string()])
        .await
        .answer();
    let found = world.run(&["key", "show"]).await;
    assert!(found.answer().contains("id_ed25519"), "{found:?}");
    world.run(&["key", "import", &world.home().ssh_key.display().to_string()]).await.answer();
    let own = world.run(&["key", "show"]).await;
    assert!(own.answer().contains("config/key"), "{own:?}");
    let missing = world.run(&["key", "import", "/nowhere"]).await.refused();
    assert_eq!(missing.0, Failure::NOT_FOUND);
}

/// C2: making a vault is idempotent.
#[tokio::test]
async fn init_makes_a_vault_once_and_says_what_comes_next() {
    let world = World::new("alice");
    let vault = world.vault();
    let mut world = world.answering(("POST", VAULTS, 201, vault));
    let made = world.run(&["init", "--no-wait"]).await;
    assert_eq!(made.answer(), "Vault 'team' made in namespace 'team'.\n");
    assert_eq!(world.written()[0].0, "POST");
    let mut world = World::new("alice").with_team();
    let again = world.run(&["init", "--brokered"]).await;
    assert_eq!(again.answer(), "Vault 'team' is there already in namespace 'team'.\n");
    assert!(again.notes.contains("kubectl coffer -n team invite"), "{again:?}");
    assert!(world.written().is_empty());
    let other = world.run(&["init", "--self-only"]).await.refused();
    assert_eq!(other.0, Failure::CONFLICT);
}

/// An owner is a member without an invite, and brings a key all the same.
#[tokio::test]
async fn init_brings_the_owners_key_with_a_proof_that_holds() {
    let world = World::new("alice").with_team();
    let alice = member("alice", "owner", "Active");
    let path = "/apis/coffer.dev/v1alpha1/namespaces/team/vaultmembers/alice";
    let mut seen = alice.clone();
    seen["status"]["keyFingerprint"] = json!("SHA256:of-alice");
    let mut world = world.answering(("PATCH", path, 200, alice)).answering(("GET", path, 200, seen));
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    let made = world.run(&["init"]).await;
    assert!(made.answer().contains("is there already"));
    let written = world.written();
    let acceptance = &written[0].2["spec"]["acceptance"];
    let key = MemberPublicKey::parse(acceptance["publicKey"].as_str().expect("a key")).expect("a key");
    let proof = acceptance["proof"].as_str().expect("a proof");
    assert_eq!(accepted(&world, "alice", "uid-alice", &key).verify(proof), Ok(()));
}

/// C4: one command; the member's name is the subject's own.
#[tokio::test]
async fn an_invite_names_the_subject_the_role_and_how_it_is_accepted() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("POST", MEMBERS, 201, member("dave", "admin", "Invited")));
    let invited = world.run(&["invite", "user:dave", "--role", "admin", "--ttl", "90d"]).await;
    assert_eq!(invited.answer(), "Invited user:dave to vault 'team' as member 'dave', with role 'admin'.\n");
    assert!(invited.notes.contains("kubectl coffer -n team accept"), "{invited:?}");
    let (_, _, body) = &world.written()[0];
    assert_eq!(body["metadata"]["name"], "dave");
    assert_eq!(body["spec"]["ttl"], "90d");
    assert_eq!(
        body["spec"]["subject"],
        json!(Subject::User(coffer_crds::NamedSubject { name: "dave".into() }))
    );
}

#[tokio::test]
async fn a_serviceaccount_of_another_namespace_is_accepted_for_by_whoever_may_change_it() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("POST", MEMBERS, 201, {
        let mut invite = member("builder", "member", "Invited");
        invite["spec"]["subject"] = json!({"serviceAccount": {"namespace": "ci", "name": "builder"}});
        invite
    }));
    let invited = world.run(&["invite", "sa:ci/builder"]).await;
    assert!(invited.answer().contains("as member 'builder'"));
    assert!(invited.notes.contains("accept sa:ci/builder --vault team"), "{invited:?}");

    let path = "/api/v1/namespaces/ci/serviceaccounts/builder";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder", "namespace": "ci"}});
    let mut world =
        world.answering(("GET", path, 200, account.clone())).answering(("PATCH", path, 200, account));
    world.run(&["accept", "sa:ci/builder", "--vault", "team"]).await.answer();
    let (_, _, body) = world.written().pop().expect("an annotation");
    assert_eq!(body["metadata"]["annotations"]["coffer.dev/accept"], "team/team");
}

/// C9: refused here in the words of the one policy, before anything is sent.
#[tokio::test]
async fn who_may_not_invite_is_told_so_and_nothing_is_sent() {
    let mut world = World::new("bob").with_team();
    let (code, text) = world.run(&["invite", "user:dave"]).await.refused();
    assert_eq!(code, Failure::DENIED);
    assert!(text.contains("does not allow 'invite'") && text.contains("Ask an owner (alice)"), "{text}");
    assert!(world.written().is_empty());
    for (words, expected) in [
        (vec!["invite", "dave"], Failure::USAGE),
        (vec!["invite", "user:dave", "--fingerprint", "SHA256:short"], Failure::USAGE),
    ] {
        assert_eq!(world.run(&words).await.refused().0, expected, "{words:?}");
    }
}

#[tokio::test]
async fn an_invite_that_is_there_is_told_and_a_name_of_another_is_refused() {
    let mut world = World::new("alice").with_team();
    let again = world.run(&["invite", "user:bob"]).await;
    assert_eq!(again.answer(), "user:bob is member 'bob' already (Active).\n");
    let (code, text) = world.run(&["invite", "user:bob", "--role", "admin"]).await.refused();
    assert_eq!(code, Failure::CONFLICT);
    assert!(text.contains("members role bob admin"), "{text}");
    let (code, _) = world.run(&["invite", "user:dave", "--name", "bob"]).await.refused();
    assert_eq!(code, Failure::CONFLICT);
}

fn invited(user: &str) -> World {
    let world = World::new(user);
    let vault = world.vault();
    let members = [member("alice", "owner", "Active"), member("bob", "member", "Invited")];
    world
        .answering(("GET", MEMBERS, 200, list_of("VaultMember", &members)))
        .answering(("GET", BOB, 200, members[1].clone()))
        .answering(("PATCH", BOB, 200, members[1].clone()))
        .answering(("GET", VAULT, 200, vault))
}

/// C4: with one command and no name; the proof is over this very invite.
#[tokio::test]
async fn bob_accepts_with_his_own_key_and_no_name() {
    let mut world = invited("bob");
    let (code, text) = world.run(&["accept", "--no-wait"]).await.refused();
    assert_eq!(code, Failure::USAGE);
    assert!(text.contains("key new") && text.contains("--brokered"), "{text}");
    world.run(&["key", "new", "--no-passphrase"]).await.answer();
    let done = world.run(&["accept", "--no-wait"]).await;
    assert_eq!(
        done.answer(),
        "You are member 'bob' of vault 'team' in namespace 'team', with role 'member'.\n"
    );
    let written = world.written();
    let acceptance = &written[0].2["spec"]["acceptance"];
    let key = MemberPublicKey::parse(acceptance["publicKey"].as_str().expect("a key")).expect("a key");
    let proof = acceptance["proof"].as_str().expect("a proof");
    assert_eq!(accepted(&world, "bob", "uid-bob", &key).verify(proof), Ok(()));
    assert_eq!(written[0].2["metadata"]["resourceVersion"], "7", "nobody changed it in between");
}

#[tokio::test]
async fn bob_accepts_without_a_key_or_declines() {
    let mut world = invited("bob");
    let done = world.run(&["accept", "--brokered", "--no-wait"]).await;
    assert!(done.answer().starts_with("You are member 'bob'"));
    assert_eq!(world.written()[0].2["spec"]["acceptance"], json!({}));
    let done = world.run(&["decline"]).await;
    assert_eq!(done.answer(), "The invite 'bob' to vault 'team' is declined.\n");
    assert_eq!(world.written()[1].2["spec"]["declined"], true);
}

#[tokio::test]
async fn who_was_not_invited_is_told_so_and_may_not_answer_for_another() {
    let mut world = invited("carol");
    assert_eq!(world.run(&["accept", "--brokered"]).await.refused().0, Failure::NOT_FOUND);
    let (code, text) = world.run(&["accept", "bob", "--brokered"]).await.refused();
    assert_eq!((code, text.as_str()), (Failure::DENIED, "this invite is for user:bob; you are 'carol'"));
    assert!(world.written().is_empty());
}

#[tokio::test]
async fn an_invite_that_has_run_out_has_its_own_exit_code() {
    let world = World::new("bob");
    let gone = [member("bob", "member", "Expired")];
    let mut world = world.answering(("GET", MEMBERS, 200, list_of("VaultMember", &gone)));
    assert_eq!(world.run(&["accept", "--brokered"]).await.refused().0, Failure::EXPIRED);
}

/// A vault that is another one under the same name is not joined, nor sealed to.
#[tokio::test]
async fn a_vault_with_another_key_than_before_is_refused_until_it_is_trusted() {
    let mut first = invited("bob");
    first.run(&["accept", "--brokered", "--no-wait"]).await.answer();
    let mut second = invited("bob");
    std::fs::create_dir_all(second.home().pins.parent().expect("a folder")).expect("a folder");
    std::fs::copy(first.home().pins, second.home().pins).expect("the pins of before");
    let (code, text) = second.run(&["accept", "--brokered", "--no-wait"]).await.refused();
    assert_eq!(code, Failure::CONFLICT);
    assert!(text.contains("kubectl coffer trust team"), "{text}");
    assert!(second.written().is_empty());
    second.run(&["trust", "team", "--yes"]).await.answer();
    second.run(&["accept", "--brokered", "--no-wait"]).await.answer();
}

#[tokio::test]
async fn roles_and_holds_are_changed_and_told() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("PATCH", BOB, 200, member("bob", "member", "Active")));
    let said = world.run(&["members", "role", "bob", "admin", "--no-wait"]).await;
    assert_eq!(said.answer(), "Member 'bob': role 'member' → 'admin'.\n");
    let said = world.run(&["members", "suspend", "bob", "--no-wait"]).await;
    assert_eq!(said.answer(), "Member 'bob' is on hold.\n");
    let said = world.run(&["members", "resume", "bob"]).await;
    assert_eq!(said.answer(), "Member 'bob' is off hold already.\n");
    let bodies: Vec<_> = world.written().into_iter().map(|(_, _, body)| body["spec"].clone()).collect();
    assert_eq!(bodies, [json!({"role": "admin"}), json!({"suspended": true})]);
}

/// C5: removal asks, and says which credentials to change at their providers.
#[tokio::test]
async fn removal_asks_and_lists_what_the_member_may_know() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("DELETE", BOB, 200, status(200, "")));
    let (code, text) = world.run(&["members", "remove", "bob"]).await.refused();
    assert_eq!(code, Failure::USAGE);
    assert!(text.contains("--yes"), "{text}");
    world.person.types = ["no"].into();
    assert_eq!(world.run(&["members", "remove", "bob"]).await.refused().0, Failure::USAGE);
    assert!(world.written().is_empty());
    world.person.types = ["y"].into();
    let said = world.run(&["members", "remove", "bob", "--no-wait"]).await;
    assert_eq!(
        said.answer(),
        "Member 'bob' is removed from vault 'team'.\nWhoever it was may know these. Change them at their providers, then \
         here (kubectl coffer set):\n  github\n"
    );
    assert_eq!(world.written()[0].2["preconditions"]["uid"], "uid-bob");
}

/// C5, C7: once the keys are turned over, what the brokers' logs say that the member did read comes first.
#[tokio::test]
async fn removal_says_what_the_member_did_read_and_what_it_could_have() {
    let world = World::new("alice").with_team();
    let mut vault = world.vault();
    vault["status"]["keyEpoch"] = json!(2);
    let of = |name: &str, reason: &str| {
        let mut connection = github();
        connection["metadata"]["name"] = json!(name);
        connection["status"]["advised"] = json!([{"member": "bob", "reason": reason, "at": "2026-03-01T12:00:00Z"},
                {"member": "carol", "reason": "MemberDidRead", "at": "2026-03-01T12:00:00Z"}]);
        connection
    };
    let connections = [of("github", "MemberCouldRead"), of("aws-root", "MemberDidRead")];
    let mut world = world
        .answering(("DELETE", BOB, 200, status(200, "")))
        .answering(("GET", VAULT, 200, vault))
        .answering(("GET", CONNECTIONS, 200, list_of("Connection", &connections)));
    // The list is of use whether or not the new keys were seen in time.
    let said = world.run(&["members", "remove", "bob", "--yes", "--timeout", "0"]).await;
    assert!(said.notes.contains("were not seen yet"), "{said:?}");
    assert_eq!(
        said.answer(),
        "Member 'bob' is removed from vault 'team'.\nWhoever it was may know these. Change them at their providers, then \
         here (kubectl coffer set):\n  aws-root  did read it\n  github    could read it\n"
    );
}

#[tokio::test]
async fn a_dry_run_is_judged_by_the_server_and_says_so() {
    let world = World::new("alice").with_team();
    let mut world = world.answering(("DELETE", BOB, 200, status(200, "")));
    let said = world.run(&["members", "remove", "bob", "--dry-run"]).await;
    assert!(said.answer().starts_with("Member 'bob' is removed from vault 'team' (dry run).\n"), "{said:?}");
    assert_eq!(world.written()[0].2["dryRun"], json!(["All"]));
}

/// C9: one policy answers.
#[tokio::test]
async fn who_can_and_why_not_answer_in_the_doors_words() {
    let mut world = World::new("alice").with_team();
    let said = world.run(&["who-can", "use", "github", "-o", "name"]).await;
    assert_eq!(said.answer(), "alice\nbob\n");
    let said = world.run(&["why-not", "carol", "github"]).await;
    assert_eq!(
        said.answer(),
        "Member 'carol' cannot use 'github': Credential 'github' is not accessible to member 'carol'. Allowed: bob\n"
    );
    let said = world.run(&["why-not", "bob", "github", "--verb", "write"]).await;
    assert!(said.answer().contains("does not allow 'write'"), "{said:?}");
    let (code, text) = world.run(&["why-not", "eve", "github"]).await.refused();
    assert_eq!(code, Failure::NOT_FOUND);
    assert!(text.contains("It has: alice, bob, carol"), "{text}");
    let said = world.run(&["members", "show", "bob"]).await;
    assert!(said.answer().contains("May use:") && said.answer().contains("github"), "{said:?}");
}

/// C35: what the server authenticated, not what the kubeconfig says.
#[tokio::test]
async fn whoami_shows_the_identity_that_the_server_sees_the_key_and_the_memberships() {
    let mut world = World::new("bob").with_team();
    let said = world.run(&["whoami"]).await;
    assert_eq!(
        said.answer(),
        "User:       bob\nUID:        -\nGroups:     devs\n            system:authenticated\nKey:        none on this \
         machine (kubectl coffer key new makes one)\nMember of:  team/team as 'bob', member, Active\n"
    );
    assert_eq!(world.run(&["whoami", "-o", "name"]).await.answer(), "bob\n");
    let mut blind = World::new("bob").answering(("GET", VAULTS, 403, status(403, "vaults is forbidden")));
    let said = blind.run(&["whoami"]).await;
    assert!(said.answer().contains("cannot be seen: vaults is forbidden"), "{said:?}");
}

#[tokio::test]
async fn refusals_of_the_server_keep_their_words_and_get_their_exit_code() {
    let denied = "admission webhook \"write.coffer.dev\" denied the request: ask an owner (alice)";
    for (code, message, expected, text) in [
        (403, denied, Failure::DENIED, "ask an owner (alice)"),
        (409, "the object has been modified", Failure::CONFLICT, "the object has been modified"),
        (422, "spec.role: too long", Failure::USAGE, "spec.role: too long"),
    ] {
        let world = World::new("alice").with_team();
        let mut world = world.answering(("PATCH", BOB, code, status(code, message)));
        let refused = world.run(&["members", "role", "bob", "admin"]).await.refused();
        assert_eq!(refused, (expected, text.to_owned()));
    }
    let mut empty =
        World::new("alice").answering(("GET", GITHUB, 404, status(404, "connections \"github\" not found")));
    assert_eq!(empty.run(&["describe", "github"]).await.refused().0, Failure::NOT_FOUND);
}
