//! The whole operator against an API server in memory: watches, election, reconciles and writes are the real ones, and
//! so are the keys. Time is tokio's own and passes only while everybody waits, so what is measured is waiting.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod api;
mod brokers;
mod default_vault;
mod installation;
mod restored;

use std::time::Duration;

use api::Api;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brokers::Brokers;
use clap::Parser as _;
use coffer_keys::{
    VaultId,
    intake::{InputContext, IntakePublicKey},
};
use coffer_operator::{Cli, operate};
use coffer_runtime::{Metrics, Readiness, Shutdown};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

struct Operator {
    shutdown: Shutdown,
    readiness: Readiness,
    metrics: Metrics,
    task: JoinHandle<()>,
}

impl Operator {
    fn start(api: &Api, pod: &str) -> Self {
        Self::start_with(api, pod, &[])
    }

    fn start_with(api: &Api, pod: &str, more: &[&str]) -> Self {
        // Shown for tests that fail, as RUST_LOG says.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        install(api);
        let (shutdown, readiness, metrics) = (Shutdown::new(), Readiness::new(), Metrics::new());
        let args = ["coffer-operator", "--namespace", "coffer-system", "--pod-name", pod];
        let args = Cli::parse_from(args.iter().chain(more)).operate;
        let task = tokio::spawn({
            let (client, metrics, readiness, shutdown) =
                (api.client(), metrics.clone(), readiness.clone(), shutdown.clone());
            async move { operate(&args, client, &metrics, &readiness, &shutdown).await }
        });
        Self { shutdown, readiness, metrics, task }
    }

    async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }

    /// How many reconciles ended so.
    fn reconciles(&self, kind: &str, outcome: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let start = format!("coffer_operator_reconciles_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&start))
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    }
}

/// Waits until `holds`, at most a minute of tokio's time.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for {what} in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ready(object: Option<Value>) -> Option<(String, String)> {
    let object = object?;
    let conditions = object["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    let text = |field: &str| ready[field].as_str().map(String::from);
    Some((text("status")?, text("reason")?))
}

fn is_ready(api: &Api, plural: &str, name: &str) -> bool {
    ready(api.get(plural, "team-a", name)).is_some_and(|(status, _)| status == "True")
}

fn reason(api: &Api, plural: &str, name: &str) -> String {
    ready(api.get(plural, "team-a", name)).map(|(_, reason)| reason).unwrap_or_default()
}

fn alice() -> Value {
    json!({"username": "alice", "groups": ["system:authenticated"]})
}

fn coffer(kind: &str, name: &str, mut spec: Value) -> Value {
    spec["lastWriter"] = alice();
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "team-a"}, "spec": spec})
}

const POLICIES: &str = "validatingadmissionpolicies";
const BINDINGS: &str = "validatingadmissionpolicybindings";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

fn guard(kind: &str, spec: &Value) -> Value {
    let metadata = json!({"name": "coffer-authors", "labels": {"app.kubernetes.io/part-of": "coffer"}});
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// The guards that the chart ships, as far as they are not there.
fn install(api: &Api) {
    if api.get("configmaps", "coffer-system", "coffer-guards").is_some() {
        return;
    }
    let policy = json!({"failurePolicy": "Fail", "validations": [{"expression": "true"}]});
    let binding = json!({"policyName": "coffer-authors", "validationActions": ["Deny"]});
    let shipped = json!([
        {"kind": "ValidatingAdmissionPolicy", "name": "coffer-authors", "spec": policy},
        {"kind": "ValidatingAdmissionPolicyBinding", "name": "coffer-authors", "spec": binding},
    ]);
    let metadata = json!({"name": "coffer-guards", "namespace": "coffer-system"});
    let data = json!({"guards.json": shipped.to_string()});
    api.put(
        "configmaps",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
    );
    api.put(POLICIES, guard("ValidatingAdmissionPolicy", &policy));
    api.put(BINDINGS, guard("ValidatingAdmissionPolicyBinding", &binding));
    for name in ["coffer", "coffer-pods"] {
        api.put(MUTATING, webhooks("MutatingWebhookConfiguration", name));
    }
    api.put(VALIDATING, webhooks("ValidatingWebhookConfiguration", "coffer"));
}

fn webhooks(kind: &str, name: &str) -> Value {
    let hook = json!({"name": format!("{name}.coffer.dev"), "clientConfig": {"service": {"name": "coffer-webhook", "namespace": "coffer-system"}},
        "sideEffects": "None", "admissionReviewVersions": ["v1"]});
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [hook]})
}

/// A namespace with ServiceAccounts `web` and `intern`, and what the quickstart applies.
async fn quickstart(api: &Api) {
    api.put("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}}));
    api.put("vaults", coffer("Vault", "main", json!({"owners": [{"user": {"name": "alice"}}]})));
    for name in ["web", "intern"] {
        let metadata = json!({"name": name, "namespace": "team-a"});
        api.put(
            "serviceaccounts",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        );
        let mut spec =
            json!({"vault": "main", "subject": {"serviceAccount": {"name": name}}, "role": "member"});
        spec["invitedBy"] = alice();
        api.put("vaultmembers", coffer("VaultMember", name, spec));
    }
    // What the webhook does: it waits for the intake key and seals.
    until("the intake key", || {
        api.get("vaults", "team-a", "main").is_some_and(|vault| vault["status"]["intakeKey"].is_object())
    })
    .await;
    let spec = json!({"vault": {"name": "main"}, "owner": "alice", "members": ["web"], "sealedData": {"token": seal(api, "t0p")}});
    api.put("connections", coffer("Connection", "github", spec));
}

fn seal(api: &Api, value: &str) -> String {
    let vault = api.get("vaults", "team-a", "main").unwrap();
    let text = |value: &Value| String::from(value.as_str().unwrap());
    let key = &vault["status"]["intakeKey"];
    let key = IntakePublicKey::parse(&text(&key["kid"]), &text(&key["publicKey"])).unwrap();
    let context = InputContext {
        vault_id: VaultId::parse(&text(&vault["status"]["vaultID"])).unwrap(),
        namespace: "team-a",
        connection: "github",
        owner: "alice",
        item: "token",
    };
    let mut rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    STANDARD.encode(key.seal(&context, value.as_bytes(), &mut rng))
}

async fn all_ready(api: &Api) {
    until("everything to be Ready", || {
        is_ready(api, "vaults", "main")
            && ["alice", "web", "intern"].iter().all(|name| is_ready(api, "vaultmembers", name))
            && is_ready(api, "connections", "github")
    })
    .await;
}

fn slots(api: &Api) -> Vec<String> {
    let envelope = api.get("envelopes", "team-a", "github").unwrap();
    let slots = envelope["spec"]["slots"].as_array().unwrap().iter();
    slots.map(|slot| String::from(slot["name"].as_str().or(slot["to"].as_str()).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_folder_applied_at_once_is_ready_without_anybody_waiting() {
    let api = Api::new();
    let operator = Operator::start(&api, "operator-0");
    until("leadership and custody", || api.get("secrets", "coffer-system", "coffer-custodian").is_some())
        .await;
    let began = Instant::now();
    quickstart(&api).await;
    all_ready(&api).await;
    assert!(began.elapsed() < Duration::from_millis(500), "nobody polls or backs off: {:?}", began.elapsed());
    assert_eq!(slots(&api), ["custodian", "alice", "web"]);
    let conflicts = operator.reconciles("Vault", "Conflict") + operator.reconciles("Connection", "Conflict");
    assert_eq!(conflicts, 0, "a reconcile sees its own writes");
    assert!(operator.readiness.is_ready(), "{}", operator.readiness.report());
    until("the counts", || {
        api.get("vaults", "team-a", "main").is_some_and(|vault| vault["status"]["connections"] == 1)
    })
    .await;
    operator.stop().await;
}

/// T40.
#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing() {
    let api = Api::new();
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    until("the counts", || {
        api.get("vaults", "team-a", "main").is_some_and(|vault| vault["status"]["connections"] == 1)
    })
    .await;
    operator.stop().await;
    api.take_writes();
    let operator = Operator::start(&api, "operator-0");
    until("a look at everything", || {
        operator.reconciles("Vault", "Unchanged") > 0 && operator.reconciles("Connection", "Unchanged") > 0
    })
    .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(api.take_writes(), Vec::<String>::new());
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_member_loses_entry_slot_and_binding_at_once_and_the_keys_are_turned_over() {
    let api = Api::new();
    let _brokers = Brokers::start(&api, 2, &[]);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    let subjects = || {
        let binding = api.get("rolebindings", "team-a", "coffer-vault-main-member").unwrap();
        binding["subjects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|subject| subject["name"].clone())
            .collect::<Vec<_>>()
    };
    until("both bindings", || subjects() == ["intern", "web"]).await;
    let began = Instant::now();
    api.remove("vaultmembers", "team-a", "web");
    until("the slot to go", || slots(&api) == ["custodian", "alice"]).await;
    until("the binding to go", || subjects() == ["intern"]).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    let keyring = api.get("keyrings", "team-a", "main").unwrap();
    let names: Vec<_> =
        keyring["spec"]["members"].as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["alice", "intern"]);
    until("the new epoch to be the only one", || {
        let keyring = api.get("keyrings", "team-a", "main").unwrap();
        keyring["spec"]["current"] == 2 && keyring["spec"]["epochs"].as_array().unwrap().len() == 1
    })
    .await;
    let envelope = api.get("envelopes", "team-a", "github").unwrap();
    assert_eq!(envelope["spec"]["epoch"], 2);
    assert_eq!(slots(&api), ["custodian", "alice"]);
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_writes_nothing_and_takes_over_when_the_leader_ends() {
    let api = Api::new();
    let leader = Operator::start(&api, "operator-0");
    until("custody", || api.get("secrets", "coffer-system", "coffer-custodian").is_some()).await;
    let standby = Operator::start(&api, "operator-1");
    until("the standby's caches", || standby.readiness.is_ready()).await;
    quickstart(&api).await;
    all_ready(&api).await;
    assert_eq!(standby.reconciles("Vault", "Changed") + standby.reconciles("Vault", "Unchanged"), 0);
    leader.stop().await;
    let began = Instant::now();
    api.edit("connections", "team-a", "github", |connection| {
        connection["spec"]["members"] = json!(["web", "intern"])
    });
    until("the new leader's work", || slots(&api) == ["custodian", "alice", "intern", "web"]).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    standby.stop().await;
}

/// T3, as far as it concerns writes whose answer is an error or is lost.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_every_third_write_delays_and_loses_nothing() {
    let api = Api::new();
    api.fail_every(3);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    assert_eq!(slots(&api), ["custodian", "alice", "web"]);
    api.remove("vaultmembers", "team-a", "web");
    until("the slot to go", || slots(&api) == ["custodian", "alice"]).await;
    until("the entry to go and the epoch to come", || {
        let keyring = api.get("keyrings", "team-a", "main").unwrap();
        let epochs = keyring["spec"]["epochs"].as_array().unwrap().len();
        epochs == 1
            && keyring["spec"]["current"] == 2
            && !keyring["spec"]["members"].to_string().contains("\"web\"")
    })
    .await;
    operator.stop().await;
}

/// T45.
#[tokio::test(start_paused = true)]
async fn a_malformed_object_stops_only_itself() {
    let api = Api::new();
    let operator = Operator::start(&api, "operator-0");
    until("custody", || api.get("secrets", "coffer-system", "coffer-custodian").is_some()).await;
    api.put("connections", coffer("Connection", "broken", json!({"members": 7, "sealedData": "?"})));
    api.put("vaultmembers", coffer("VaultMember", "broken", json!({"subject": {"nobody": {}}})));
    api.put("keyrings", coffer("Keyring", "broken", json!({"epochs": "none"})));
    quickstart(&api).await;
    all_ready(&api).await;
    operator.stop().await;
}
