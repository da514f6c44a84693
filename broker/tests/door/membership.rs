//! Whose membership counts: by the register, its uid, the vault's and the namespace's.

use crate::world::{World, account, account_in, group, identity};
use coffer_crds::{MemberPhase, NamespaceAccess, RoleSpec, Verb};

/// The register says who a member is, not the live object that its namespace's people may edit.
#[tokio::test]
async fn a_role_or_subject_that_only_the_live_object_claims_does_not_count() {
    let mut world = World::new();
    world.vault.spec.roles = vec![RoleSpec {
        name: "lister".into(),
        verbs: vec![Verb::List],
        connections: None,
        rate_limit: None,
        max_connections: None,
    }];
    world.apply_vault();
    world.member("web", account("web"), "lister");
    world.connection("github", &["*"], "v");
    let mut promoted = world.members["web"].clone();
    promoted.spec.role = "owner".into();
    world.apply_member(promoted);
    assert_eq!(world.ask(&world.tokens.pod("web"), &["team-a/github"]).await.status, 403);

    let mut taken_over = world.members["alice"].clone();
    taken_over.spec.subject = account("intruder");
    taken_over.status.get_or_insert_default().phase = Some(MemberPhase::Active);
    world.apply_member(taken_over);
    assert_eq!(world.ask(&world.tokens.pod("intruder"), &["team-a/github"]).await.status, 404);
}

/// A member of the same name that was deleted and made again is not the one that the register and the Envelope mean.
#[tokio::test]
async fn a_member_made_again_under_the_same_name_gains_nothing() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "v");
    let pod = world.tokens.pod("web");
    let mut again = world.members["web"].clone();
    again.metadata.uid = Some("uid-web-again".into());
    world.apply_member(again.clone());
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 404, "the register knows another");

    let mut registered = world.keyring.member("web").unwrap().clone();
    registered.uid = "uid-web-again".into();
    world.keyring.register(registered).unwrap();
    world.apply_keyring();
    let answer = world.ask(&pod, &["team-a/github"]).await;
    assert_eq!(answer.status, 403, "the Envelope means another: {}", answer.error().message);
}

/// A Keyring that a deleted vault of the same name left behind says nothing about this one.
#[tokio::test]
async fn a_vault_made_again_inherits_no_members() {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "v");
    world.vault.metadata.uid = Some("uid-main-again".into());
    world.apply_vault();
    assert_eq!(world.ask(&world.tokens.pod("web"), &["team-a/github"]).await.status, 404);
}

/// `Vault.spec.access`: pods get nothing in a namespace that the vault does not admit, by label and at once.
#[tokio::test]
async fn a_pod_outside_the_admitted_namespaces_gets_what_a_stranger_gets() {
    let mut world = World::new();
    world.member("web", account_in("team-b", "web"), "member");
    world.connection("github", &["web"], "v");
    let pod = world.tokens.pod_in("team-b", "web", "n1");
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 404);
    assert_eq!(world.records().await[0].entry.reason.as_deref(), Some("NamespaceNotAdmitted"));

    let selector = serde_json::json!({"selector": {"matchLabels": {"team": "b"}}});
    world.vault.spec.access.namespaces = serde_json::from_value::<NamespaceAccess>(selector).unwrap();
    world.apply_vault();
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 404);
    world.apply_namespace("team-b", &[("team", "b")]);
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.values(&pod), ["v"]);
    world.apply_namespace("team-b", &[]);
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 404);
}

/// A group's membership serves whoever the API server says is in it; a suspended direct one stands before it.
#[tokio::test]
async fn a_group_member_is_served_unless_its_own_membership_is_suspended() {
    let mut world = World::new();
    world.member("bots", group("bots"), "member");
    world.connection("github", &["bots"], "v");
    let pod = world.tokens.pod("web");
    let mut in_group = identity(&pod, Some("n1"));
    in_group.caller.groups.push("bots".into());
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 404);
    world.tokens.accept(&pod.token, in_group);
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.values(&pod), ["v"]);
    let record = world.records().await.pop().unwrap().entry;
    assert_eq!(record.member.as_deref(), Some("bots"));
    assert_eq!(record.actor.name.as_deref(), Some("system:serviceaccount:team-a:web"));
    assert!(record.cross_identity, "C10: alice owns it");

    world.member("web", account("web"), "member");
    let mut suspended = world.members["web"].clone();
    suspended.spec.suspended = true;
    world.apply_member(suspended);
    assert_eq!(world.ask(&pod, &["team-a/github"]).await.status, 404);
}
