//! What is printed for what an API server answers, against a mock of one.

#![allow(clippy::expect_used, reason = "a failed expectation is the test's failure")]

mod credentials;
mod delivery;
mod golden;
mod kept;
mod people;
mod reseal;
mod values;
mod world;

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::{Failure, cluster::Cluster, list, members, output::Format, vaults};

/// An API server that gives these answers by path, to as many requests as come.
fn cluster(answers: &[(&'static str, u16, Value)]) -> Cluster {
    let answers = answers.to_vec();
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let path = request.uri().path().to_owned();
            let found = answers.iter().find(|(expected, ..)| *expected == path);
            let (code, body) = found.map_or_else(
                || (404, status(404, &format!("{path} was not expected"))),
                |(_, code, body)| (*code, body.clone()),
            );
            let body = serde_json::to_vec(&body).expect("a JSON value");
            let response = Response::builder().status(code).header("content-type", "application/json");
            send.send_response(response.body(Body::from(body)).expect("a response"));
        }
    });
    Cluster {
        client: Client::new(service, "team"),
        namespace: "team".to_owned(),
        server: "https://cluster.example".to_owned(),
        dry_run: false,
    }
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "", "code": code})
}

fn items(kind: &str, items: &[Value]) -> Value {
    let list = format!("{kind}List");
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": list, "metadata": {"resourceVersion": "7"}, "items": items})
}

fn metadata(name: &str) -> Value {
    let fields = [{ json!({"manager": "kubectl", "operation": "Update"}) }];
    json!({"name": name, "namespace": "team", "creationTimestamp": "2020-01-01T00:00:00Z", "managedFields": fields})
}

fn ready(status: &str, reason: &str) -> Value {
    json!([{"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z"}])
}

fn vault(name: &str, sharing: &str, status: &Value) -> Value {
    json!({"metadata": metadata(name), "spec": {"sharing": sharing}, "status": status})
}

const VAULTS: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/vaults";
const CONNECTIONS: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/connections";
const MEMBERS: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/vaultmembers";

/// The lines of a table without their padding and without the age, which grows as this test does.
fn rows(answer: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8(answer.to_vec()).expect("text");
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let words =
        |line: &str| line.split("   ").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
    let mut rows: Vec<Vec<String>> = vec![words(heading)];
    rows.extend(lines.map(words));
    let age = rows[0].iter().position(|cell| cell == "AGE").expect("every table has an age");
    for row in &mut rows {
        row.remove(age);
    }
    rows
}

fn ready_vault() -> Value {
    let status = json!({"conditions": ready("True", "Available"), "members": {"active": 3, "invited": 1}, "connections": 2, "keyEpoch": 1});
    vault("team", "All", &status)
}

#[tokio::test]
async fn vaults_shows_what_is_asked_for_first() {
    let pending = vault("new", "All", &json!({"conditions": ready("False", "Pending")}));
    let unseen = json!({"metadata": metadata("unseen"), "spec": {}});
    let cluster = cluster(&[(VAULTS, 200, items("Vault", &[ready_vault(), pending, unseen]))]);
    let (mut answer, mut notes) = (Vec::new(), Vec::new());
    vaults::print(&cluster, vaults::Arguments::default(), Format::Table, &mut answer, &mut notes)
        .await
        .expect("a list");
    assert_eq!(
        rows(&answer),
        [
            vec!["NAME", "READY", "MEMBERS", "CONNECTIONS"],
            vec!["team", "True", "3", "2"],
            vec!["new", "False", "0", "0"],
            vec!["unseen", "Unknown", "0", "0"],
        ]
    );
    assert!(notes.is_empty());
}

#[tokio::test]
async fn an_empty_answer_is_a_remark_and_no_failure() {
    let cluster = cluster(&[(VAULTS, 200, items("Vault", &[]))]);
    let (mut answer, mut notes) = (Vec::new(), Vec::new());
    vaults::print(&cluster, vaults::Arguments::default(), Format::Table, &mut answer, &mut notes)
        .await
        .expect("a list");
    assert!(answer.is_empty());
    assert_eq!(String::from_utf8_lossy(&notes), "No vaults found in namespace team.\n");
}

/// T45: a malformed object stops only itself.
#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_the_others_are_shown() {
    let broken = json!({"metadata": metadata("odd"), "spec": {"sharing": 7}});
    let cluster = cluster(&[(VAULTS, 200, items("Vault", &[broken, ready_vault()]))]);
    let (mut answer, mut notes) = (Vec::new(), Vec::new());
    vaults::print(&cluster, vaults::Arguments::default(), Format::Table, &mut answer, &mut notes)
        .await
        .expect("a list");
    assert_eq!(rows(&answer)[1][0], "team");
    assert!(String::from_utf8_lossy(&notes).starts_with("warning: Vault odd cannot be read"));
}

#[tokio::test]
async fn programs_get_the_objects_as_the_server_has_them() {
    let mut odd = ready_vault();
    odd["spec"]["fieldOfALaterVersion"] = json!("kept");
    let cluster = cluster(&[(VAULTS, 200, items("Vault", &[odd]))]);
    for format in [Format::Json, Format::Yaml, Format::Name] {
        let (mut answer, mut notes) = (Vec::new(), Vec::new());
        vaults::print(&cluster, vaults::Arguments::default(), format, &mut answer, &mut notes)
            .await
            .expect("a list");
        let text = String::from_utf8(answer).expect("text");
        match format {
            Format::Json => {
                let list: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(list["items"][0]["apiVersion"], "coffer.dev/v1alpha1");
                assert_eq!(list["items"][0]["spec"]["fieldOfALaterVersion"], "kept");
                assert!(list["items"][0]["metadata"].get("managedFields").is_none());
            }
            Format::Yaml => assert!(text.contains("fieldOfALaterVersion: kept"), "{text}"),
            Format::Name => assert_eq!(text, "vault.coffer.dev/team\n"),
            Format::Table | Format::Wide => {}
        }
    }
}

/// C11, C33: the owner and the scope stand in the list.
#[tokio::test]
async fn list_shows_owner_and_scope_and_lets_the_vault_say_what_no_scope_means() {
    let connection = |name: &str, vault: &str, members: Value| {
        let mut connection = json!({"metadata": metadata(name),
            "spec": {"vault": {"name": vault}, "owner": "alice", "sealedData": {"token": "c2VhbGVk"}},
            "status": {"version": 2, "conditions": ready("True", "Available")}});
        if !members.is_null() {
            connection["spec"]["members"] = members;
        }
        connection
    };
    let connections = [
        connection("listed", "team", json!(["web", "ci"])),
        connection("everyone", "team", json!(["*"])),
        connection("by-vault", "team", Value::Null),
        connection("private", "own", Value::Null),
        connection("elsewhere", "unseen", Value::Null),
    ];
    let vaults = [ready_vault(), vault("own", "Owner", &json!({}))];
    let cluster = cluster(&[
        (CONNECTIONS, 200, items("Connection", &connections)),
        (VAULTS, 200, items("Vault", &vaults)),
    ]);
    let (mut answer, mut notes) = (Vec::new(), Vec::new());
    list::print(&cluster, &list::Arguments::default(), Format::Table, &mut answer, &mut notes)
        .await
        .expect("a list");
    let scopes: Vec<(String, String)> =
        rows(&answer).into_iter().skip(1).map(|row| (row[0].clone(), row[2].clone())).collect();
    let expected = [
        ("listed", "web,ci"),
        ("everyone", "*"),
        ("by-vault", "*"),
        ("private", "<owner>"),
        ("elsewhere", "<vault>"),
    ];
    assert_eq!(scopes, expected.map(|(name, scope)| (name.to_owned(), scope.to_owned())));
    assert_eq!(rows(&answer)[1], ["listed", "alice", "web,ci", "2", "True"]);
    assert!(!String::from_utf8_lossy(&answer).contains("c2VhbGVk"));
}

#[tokio::test]
async fn list_can_be_narrowed_to_one_vault() {
    let connection =
        |name: &str, vault: &str| json!({"metadata": metadata(name), "spec": {"vault": {"name": vault}}});
    let connections = [connection("a", "team"), connection("b", "other")];
    let cluster = cluster(&[(CONNECTIONS, 200, items("Connection", &connections))]);
    let arguments = list::Arguments { vault: Some("other".to_owned()), ..list::Arguments::default() };
    let (mut answer, mut notes) = (Vec::new(), Vec::new());
    list::print(&cluster, &arguments, Format::Name, &mut answer, &mut notes).await.expect("a list");
    assert_eq!(String::from_utf8_lossy(&answer), "connection.coffer.dev/b\n");
}

#[tokio::test]
async fn members_shows_subjects_as_they_are_typed() {
    let member = |name: &str, subject: Value, phase: &str| json!({"metadata": metadata(name), "spec": {"vault": "team", "subject": subject, "role": "member"}, "status": {"phase": phase}});
    let all = [
        member("web", json!({"serviceAccount": {"name": "web"}}), "Active"),
        member("ci", json!({"serviceAccount": {"name": "builder", "namespace": "ci"}}), "Accepted"),
        member("alice", json!({"user": {"name": "alice"}}), "Active"),
        member("devs", json!({"group": {"name": "devs"}}), "Invited"),
        member("laptop", json!({"external": {}}), "Expired"),
    ];
    let cluster = cluster(&[(MEMBERS, 200, items("VaultMember", &all))]);
    let (mut answer, mut notes) = (Vec::new(), Vec::new());
    let arguments = members::list::Arguments::default();
    members::list::print(&cluster, &arguments, Format::Table, &mut answer, &mut notes).await.expect("a list");
    let shown: Vec<(String, String)> =
        rows(&answer).into_iter().skip(1).map(|row| (row[2].clone(), row[4].clone())).collect();
    let expected = [
        ("sa:team/web", "Active"),
        ("sa:ci/builder", "Accepted"),
        ("user:alice", "Active"),
        ("group:devs", "Invited"),
        ("external", "Expired"),
    ];
    assert_eq!(shown, expected.map(|(subject, phase)| (subject.to_owned(), phase.to_owned())));
}

/// C21: denied, missing and not installed have codes of their own.
#[tokio::test]
async fn refusals_keep_the_servers_words_and_get_their_exit_code() {
    for (code, message, expected) in [
        (403, "vaults.coffer.dev is forbidden: User \"bob\" cannot list", Failure::DENIED),
        (404, "the server could not find the requested resource", Failure::NOT_FOUND),
        (503, "etcdserver: leader changed", Failure::UNREACHABLE),
    ] {
        let cluster = cluster(&[(VAULTS, code, status(code, message))]);
        let (mut answer, mut notes) = (Vec::new(), Vec::new());
        let outcome =
            vaults::print(&cluster, vaults::Arguments::default(), Format::Table, &mut answer, &mut notes)
                .await;
        assert_eq!(outcome.expect_err("a refusal").exit_code(), expected, "{message}");
        assert!(answer.is_empty());
    }
}
