use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    fixtures::{
        Custodian, account, circumstances, cluster, connection, member, patched, put, request, review, user,
        vault,
    },
    state::Patience,
};

fn pod(account: &str, annotation: Option<&str>) -> Value {
    let annotations = annotation.map_or(json!({}), |text| json!({"coffer.dev/connections": text}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "namespace": "a", "annotations": annotations},
        "spec": {
            "serviceAccountName": account,
            "initContainers": [{"name": "init", "image": "x"}],
            "containers": [{"name": "app", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

/// The story of the quickstart: `github` for `web` alone.
fn shared() -> Directory {
    let directory = cluster(&Custodian::new());
    put(&directory, credential("github", json!({"members": ["web"]})));
    directory
}

fn credential(name: &str, mut spec: Value) -> Value {
    spec["vault"] = json!({"name": "team"});
    spec["owner"] = "alice".into();
    connection("a", name, spec)
}

async fn create(directory: &Directory, pod: &Value) -> Result<(Value, Vec<String>), Refusal> {
    let admitted =
        admit(request("CREATE", "someone", pod.clone(), Value::Null), directory, &circumstances()).await?;
    Ok((patched(pod, &admitted.patch), admitted.warnings))
}

async fn injected(directory: &Directory, pod: &Value) -> Value {
    create(directory, pod).await.expect("must be admitted").0
}

async fn refused(directory: &Directory, pod: &Value) -> Refusal {
    create(directory, pod).await.expect_err("must be refused")
}

fn volume(connections: &str) -> Value {
    let csi = json!({"driver": "csi.coffer.dev", "readOnly": true, "volumeAttributes": {"connections": connections}});
    json!({"name": "coffer", "csi": csi})
}

fn mount() -> Value {
    json!({"name": "coffer", "mountPath": "/coffer", "readOnly": true})
}

#[tokio::test]
async fn a_pod_gets_what_its_service_account_may_use_in_every_container() {
    for annotation in [None, Some("github"), Some(" a/github , github")] {
        let after = injected(&shared(), &pod("web", annotation)).await;
        assert_eq!(after["spec"]["volumes"], json!([{"name": "data", "emptyDir": {}}, volume("a/github")]));
        assert_eq!(after["spec"]["initContainers"][0]["volumeMounts"], json!([mount()]));
        let app = &after["spec"]["containers"][0]["volumeMounts"];
        assert_eq!(app, &json!([{"name": "data", "mountPath": "/data"}, mount()]));
    }
}

/// C34, word by word; and code and reason that clients understand.
#[tokio::test]
async fn a_member_outside_the_scope_is_told_who_is_allowed() {
    let refusal = refused(&shared(), &pod("intern", Some("github"))).await;
    assert_eq!(refusal.to_string(), "Credential 'github' is not accessible to member 'intern'. Allowed: web");
    assert_eq!(refusal.status(), (http::StatusCode::FORBIDDEN, "Forbidden"));

    let directory = cluster(&Custodian::new());
    put(&directory, member("a", "fleet-rev", account("team", "fleet-rev", "member"), "Active"));
    put(&directory, credential("pat", json!({"alias": "github_pat", "members": ["fleet-dev"]})));
    let refusal = refused(&directory, &pod("fleet-rev", Some("github_pat"))).await;
    assert_eq!(
        refusal.to_string(),
        "Credential 'github_pat' is not accessible to member 'fleet-rev'. Allowed: fleet-dev"
    );
}

/// T28: a stranger learns nothing: the answer for what exists is that for what does not.
#[tokio::test]
async fn a_stranger_gets_the_answer_of_an_absent_credential() {
    for account in ["stranger", "default"] {
        for name in ["github", "absent"] {
            let refusal = refused(&shared(), &pod(account, Some(name))).await;
            assert_eq!(refusal, Refusal::Authorize(format!("Credential '{name}' not found")));
        }
    }
    let refusal = refused(&shared(), &pod("web", Some("absent"))).await;
    assert_eq!(refusal, Refusal::Authorize(String::from("Credential 'absent' not found")));
}

/// C12: what is not for the ServiceAccount is not in the way of a word that means something that is.
#[tokio::test]
async fn a_word_means_what_is_in_scope_whatever_others_call_theirs() {
    let directory = shared();
    for (name, members) in [("hers", json!(["web"])), ("theirs", json!(["intern"]))] {
        put(&directory, credential(name, json!({"alias": "slack", "members": members})));
    }
    let pod = injected(&directory, &pod("web", Some("slack"))).await;
    assert_eq!(pod["spec"]["volumes"][1], volume("a/hers"));
}

#[tokio::test]
async fn a_pod_with_nothing_in_scope_is_untouched() {
    for account in ["intern", "stranger", "default"] {
        let pod = pod(account, None);
        assert_eq!(injected(&shared(), &pod).await, pod);
    }
    let pod = pod("web", Some(""));
    assert_eq!(injected(&shared(), &pod).await, pod, "an empty annotation asks for nothing");
}

#[tokio::test]
async fn a_pod_without_a_service_account_is_the_default_one_s() {
    let directory = shared();
    put(&directory, member("a", "default", account("team", "default", "member"), "Active"));
    put(&directory, credential("github", json!({"members": ["default"]})));
    let mut plain = pod("default", None);
    plain["spec"].as_object_mut().expect("an object").remove("serviceAccountName");
    assert_eq!(injected(&directory, &plain).await["spec"]["volumes"][1], volume("a/github"));
    plain["spec"]["serviceAccount"] = "intern".into();
    assert_eq!(injected(&directory, &plain).await, plain, "the old name of the field counts, too");
}

/// A ServiceAccount of that name in another namespace is somebody else.
#[tokio::test]
async fn the_namespace_is_the_request_s_and_not_the_object_s() {
    let directory = shared();
    let mut review = review("CREATE", "someone", pod("web", Some("github")), Value::Null);
    review["request"]["namespace"] = "b".into();
    let request =
        crate::review::parse(&serde_json::to_vec(&review).expect("JSON encodes")).expect("a review");
    let refusal = admit(request, &directory, &circumstances()).await.expect_err("another namespace");
    assert_eq!(refusal.to_string(), "Credential 'github' not found");
}

/// T36: whatever the configuration says.
#[tokio::test]
async fn an_update_of_a_pod_is_never_touched() {
    let (old, mut new) = (pod("intern", Some("github")), pod("intern", Some("github")));
    new["metadata"]["finalizers"] = json!([]);
    for operation in ["UPDATE", "DELETE", "CONNECT"] {
        let request = request(operation, "someone", new.clone(), old.clone());
        let admitted = admit(request, &shared(), &circumstances()).await.expect("always admitted");
        assert!(admitted.patch.is_empty());
    }
    let mut review = review("CREATE", "someone", new, Value::Null);
    review["request"]["subResource"] = "ephemeralcontainers".into();
    let request =
        crate::review::parse(&serde_json::to_vec(&review).expect("JSON encodes")).expect("a review");
    assert!(admit(request, &shared(), &circumstances()).await.expect("always admitted").patch.is_empty());
}

#[tokio::test]
async fn a_pod_may_opt_out() {
    let mut pod = pod("web", None);
    pod["metadata"]["labels"] = json!({"coffer.dev/inject": "false"});
    assert_eq!(injected(&shared(), &pod).await, pod);
}

#[tokio::test]
async fn a_misspelt_label_is_refused_and_a_misspelt_annotation_is_told() {
    let mut wrong = pod("web", None);
    wrong["metadata"]["labels"] = json!({"coffer.dev/inject": "no"});
    let text = refused(&shared(), &wrong).await.to_string();
    assert_eq!(
        text,
        "metadata.labels[coffer.dev/inject]: must be true, or false for a pod that gets nothing"
    );
    let mut odd = pod("web", None);
    odd["metadata"]["annotations"] = json!({"coffer.dev/conections": "github", "example.com/x": "y"});
    let (_, warnings) = create(&shared(), &odd).await.expect("admitted");
    assert_eq!(
        warnings,
        [
            "metadata.annotations[coffer.dev/conections]: is not known and does nothing; a pod may have coffer.dev/connections and coffer.dev/on-revoke"
        ]
    );
}

#[tokio::test]
async fn a_second_call_changes_nothing() {
    let directory = shared();
    let once = injected(&directory, &pod("web", None)).await;
    assert_eq!(injected(&directory, &once).await, once);
}

#[tokio::test]
async fn containers_added_by_another_webhook_are_mounted_by_a_second_call() {
    let directory = shared();
    let mut once = injected(&directory, &pod("web", None)).await;
    once["spec"]["containers"].as_array_mut().expect("a list").push(json!({"name": "mesh", "image": "y"}));
    let twice = injected(&directory, &once).await;
    assert_eq!(twice["spec"]["containers"][1]["volumeMounts"], json!([mount()]));
    assert_eq!(twice["spec"]["volumes"], once["spec"]["volumes"]);
}

#[tokio::test]
async fn what_is_mounted_at_that_path_already_stays() {
    let mut own = pod("web", None);
    let at = json!({"name": "data", "mountPath": "/coffer/"});
    own["spec"]["containers"][0]["volumeMounts"] = json!([at]);
    let after = injected(&shared(), &own).await;
    assert_eq!(after["spec"]["containers"][0]["volumeMounts"], json!([at]));
    assert_eq!(after["spec"]["initContainers"][0]["volumeMounts"], json!([mount()]));
}

#[tokio::test]
async fn a_volume_of_that_name_that_is_not_ours_is_refused() {
    for other in [
        json!({"name": "coffer", "emptyDir": {}}),
        json!({"name": "coffer", "csi": {"driver": "csi.example.com"}}),
    ] {
        let mut pod = pod("web", None);
        pod["spec"]["volumes"] = json!([other]);
        let text = refused(&shared(), &pod).await.to_string();
        assert!(text.starts_with("spec.volumes[0].name: the name 'coffer' is taken by a volume"), "{text}");
    }
    // Written by hand: completed, and what it asks for is the broker's to judge.
    let mut by_hand = pod("web", None);
    by_hand["spec"]["volumes"] = json!([{"name": "coffer", "csi": {"driver": "csi.coffer.dev"}}]);
    assert_eq!(injected(&shared(), &by_hand).await["spec"]["volumes"], json!([volume("a/github")]));
    by_hand["spec"]["volumes"] = json!([volume("a/other")]);
    assert_eq!(injected(&shared(), &by_hand).await["spec"]["volumes"], json!([volume("a/other")]));
}

#[tokio::test]
async fn two_credentials_of_one_alias_are_refused_unless_one_is_named() {
    let directory = shared();
    put(&directory, credential("gh2", json!({"alias": "github", "members": ["web"]})));
    let text = refused(&directory, &pod("web", None)).await.to_string();
    assert!(text.contains("Connections 'a/gh2' and 'a/github' both have the alias 'github'"), "{text}");
    let text = refused(&directory, &pod("web", Some("github"))).await.to_string();
    assert!(text.contains("Name one of: a/gh2 (owner alice), a/github (owner alice)"), "{text}");
    let after = injected(&directory, &pod("web", Some("a/gh2"))).await;
    assert_eq!(after["spec"]["volumes"][1], volume("a/gh2"));
}

/// C12: whoever shares a `github` of theirs takes nothing from who has one already, and stops no pod of theirs.
#[tokio::test]
async fn ones_own_goes_before_what_another_shares_under_the_same_alias() {
    let directory = shared();
    let mut own = credential("gh2", json!({"alias": "github", "members": []}));
    own["spec"]["owner"] = "web".into();
    put(&directory, own.clone());
    let (after, warnings) = create(&directory, &pod("web", None)).await.expect("must be admitted");
    assert_eq!(after["spec"]["volumes"][1], volume("a/gh2"));
    assert_eq!(
        warnings,
        ["Connection 'a/github' is left out of this pod: its own 'a/gh2' has the alias 'github' as well"]
    );
    let after = injected(&directory, &pod("web", Some("github"))).await;
    assert_eq!(after["spec"]["volumes"][1], volume("a/gh2"));
    // Not for files: then they are not in each other's way.
    own["spec"]["inject"] = json!({"files": {"disabled": true}});
    put(&directory, own);
    assert_eq!(injected(&directory, &pod("web", None)).await["spec"]["volumes"][1], volume("a/github"));
}

/// C14: in a vault of everybody's, what was never shared with a pod is absent for it.
#[tokio::test]
async fn what_was_never_shared_looks_absent_to_a_pod_of_a_vault_where_each_keeps_their_own() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    let owners = json!({"owners": [{"user": {"name": "alice"}}], "sharing": "Owner"});
    put(&directory, vault("a", "team", owners, custodian.status()));
    put(&directory, credential("github", json!({})));
    let refusal = |word: &'static str| {
        let directory = directory.clone();
        async move {
            let refusal = refused(&directory, &pod("web", Some(word))).await;
            (refusal.status(), refusal.to_string().replace(word, "…"))
        }
    };
    assert_eq!(refusal("github").await, refusal("absent").await);
    assert_eq!(refusal("a/github").await, refusal("a/absent").await);
    assert_eq!(injected(&directory, &pod("web", None)).await, pod("web", None));
    put(&directory, credential("github", json!({"members": ["web"]})));
    assert_eq!(
        injected(&directory, &pod("web", Some("github"))).await["spec"]["volumes"][1],
        volume("a/github")
    );
}

#[tokio::test]
async fn words_that_cannot_be_names_are_refused_with_the_accepted_form() {
    for words in ["git hub", "a/b/c", "github,,slack", "../etc", "ü"] {
        let text = refused(&shared(), &pod("web", Some(words))).await.to_string();
        assert!(text.starts_with("metadata.annotations[coffer.dev/connections]: "), "{text}");
        assert!(text.contains("such as github, team-a/slack"), "{text}");
    }
}

#[tokio::test]
async fn several_credentials_share_one_volume_in_the_order_of_the_annotation() {
    let directory = shared();
    put(&directory, credential("aws", json!({})));
    put(&directory, credential("later", json!({"inject": {"files": {"disabled": true}}})));
    let after = injected(&directory, &pod("web", Some("github, aws"))).await;
    assert_eq!(after["spec"]["volumes"][1], volume("a/github,a/aws"));
    let after = injected(&directory, &pod("web", None)).await;
    assert_eq!(after["spec"]["volumes"][1], volume("a/aws,a/github"), "without those that are not for files");
    let text = refused(&directory, &pod("web", Some("later"))).await.to_string();
    assert!(text.contains("spec.inject.files.disabled"), "{text}");
}

#[tokio::test]
async fn what_happens_on_revocation_is_handed_on() {
    let mut kept = pod("web", None);
    kept["metadata"]["annotations"]["coffer.dev/on-revoke"] = "Remove".into();
    let after = injected(&shared(), &kept).await;
    assert_eq!(
        after["spec"]["volumes"][1]["csi"]["volumeAttributes"],
        json!({"connections": "a/github", "onRevoke": "Remove"})
    );
    kept["metadata"]["annotations"]["coffer.dev/on-revoke"] = "Forget".into();
    let text = refused(&shared(), &kept).await.to_string();
    assert_eq!(text, "metadata.annotations[coffer.dev/on-revoke]: must be Keep or Remove");
}

#[tokio::test]
async fn a_vault_that_does_not_admit_the_pod_s_namespace_gives_nothing() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    let foreign = json!({"vault": "team", "role": "member", "subject": {"serviceAccount": {"name": "web", "namespace": "b"}}});
    put(&directory, member("a", "b-web", foreign, "Active"));
    put(&directory, credential("github", json!({})));
    let mut pod = pod("web", None);
    pod["metadata"]["namespace"] = "b".into();
    assert_eq!(injected(&directory, &pod).await, pod);
    pod["metadata"]["annotations"] = json!({"coffer.dev/connections": "github"});
    let text = refused(&directory, &pod).await.to_string();
    assert!(text.starts_with("Vault 'a/team' takes no pods of namespace 'b'"), "{text}");
    let open = json!({"owners": [{"user": {"name": "alice"}}], "access": {"namespaces": "All"}});
    put(&directory, vault("a", "team", open, custodian.status()));
    assert_eq!(injected(&directory, &pod).await["spec"]["volumes"][1], volume("a/github"));
}

/// Another member's broken Connection must not keep every pod from starting.
#[tokio::test]
async fn what_is_not_ready_is_left_out_with_a_warning_unless_it_is_named() {
    let directory = shared();
    let mut broken = credential("broken", json!({}));
    broken["status"]["phase"] = "Invalid".into();
    put(&directory, broken);
    let (after, warnings) = create(&directory, &pod("web", None)).await.expect("admitted");
    assert_eq!(after["spec"]["volumes"][1], volume("a/github"));
    assert_eq!(warnings, ["Connection 'a/broken' is not Ready and left out of this pod"]);
    let after = injected(&directory, &pod("web", Some("broken"))).await;
    assert_eq!(after["spec"]["volumes"][1], volume("a/broken"), "the volume waits for it, and says so");
}

#[tokio::test]
async fn an_expired_credential_is_refused() {
    let directory = shared();
    put(&directory, credential("old", json!({"expiresAt": "2026-01-01T00:00:30Z"})));
    let text = refused(&directory, &pod("web", Some("old"))).await.to_string();
    assert_eq!(text, "Credential 'old' expired at 2026-01-01T00:00:30Z");
}

/// A pod applied in the same folder as everything that it needs.
#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_a_membership_and_a_connection_that_are_being_made() {
    for annotation in [None, Some("github")] {
        let directory = Directory::new(Patience::default());
        let spec = json!({"owners": [{"user": {"name": "alice"}}]});
        put(&directory, vault("a", "team", spec, json!({})));
        put(&directory, member("a", "web", account("team", "web", "member"), "Invited"));
        let mut pending = credential("github", json!({"members": ["web"]}));
        pending["status"] = json!({});
        put(&directory, pending);
        let writer = directory.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            put(&writer, member("a", "web", account("team", "web", "member"), "Active"));
            tokio::time::sleep(Duration::from_secs(2)).await;
            put(&writer, credential("github", json!({"members": ["web"]})));
        });
        let start = tokio::time::Instant::now();
        let after = injected(&directory, &pod("web", annotation)).await;
        assert_eq!(after["spec"]["volumes"][1], volume("a/github"));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }
}

/// Whom nobody invited is not kept waiting for long, and as long for what exists as for what does not (T28).
#[tokio::test(start_paused = true)]
async fn a_stranger_waits_the_same_time_for_what_exists_and_what_does_not() {
    let mut took = Vec::new();
    for name in ["github", "absent"] {
        let directory = Directory::new(Patience::default());
        put(&directory, vault("a", "team", json!({}), json!({})));
        put(&directory, member("a", "bob", user("team", "bob", "admin"), "Active"));
        put(&directory, credential("github", json!({})));
        let start = tokio::time::Instant::now();
        refused(&directory, &pod("stranger", Some(name))).await;
        took.push(start.elapsed());
    }
    assert_eq!(took, [Patience::default().lag; 2]);
}

/// §10, C19: said at admission, where it is read, and not by a volume that never mounts.
#[tokio::test]
async fn more_than_a_role_or_the_broker_allows_in_one_request_is_refused() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    for n in 0..257 {
        put(&directory, credential(&format!("c{n}"), json!({})));
    }
    let text = refused(&directory, &pod("web", None)).await.to_string();
    assert_eq!(
        text,
        "metadata.annotations[coffer.dev/connections]: 257 Connections are meant; a pod gets at most 256"
    );
    let roles = json!([{"name": "few", "verbs": ["use"], "maxConnections": 1}]);
    put(
        &directory,
        vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}], "roles": roles}), json!({})),
    );
    put(&directory, member("a", "web", account("team", "web", "few"), "Active"));
    let text = refused(&directory, &pod("web", Some("c1,c2"))).await.to_string();
    assert_eq!(text, "Role 'few' allows 1 credentials in one request, 2 were asked for");
    assert_eq!(injected(&directory, &pod("web", Some("c1"))).await["spec"]["volumes"][1], volume("a/c1"));
}
