//! What a node may have: the credentials of pods that run on it, by its driver's word, and no others.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result};
use coffer_broker_api::{DRIVER_TOKEN_HEADER, TOKEN_AUDIENCE};
use e2e::broker::{Answer, Door, Knock, pod_token};
use e2e::cluster::Cluster;
use e2e::install::{self, NAMESPACE};
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::Team;
use e2e::wait;
use futures::FutureExt;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;

/// A node that exists for the API server alone, with a pod of the driver's ServiceAccount bound to it.
struct FakeNode {
    nodes: Api<Node>,
    coffer_pods: Api<Pod>,
    name: String,
    driver: Pod,
}

impl FakeNode {
    async fn make(client: &Client, name: &str) -> Result<Self> {
        let nodes = Api::<Node>::all(client.clone());
        let coffer_pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
        // Without labels, and closed from the first moment: nobody's pods come to wait here.
        let node = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
            "unschedulable": true,
            "taints": [{"key": "e2e.coffer.dev/fake", "effect": "NoSchedule"}],
        }}))?;
        nodes.create(&PostParams::default(), &node).await?;
        let driver = pod_on(name, &format!("driver-of-{name}"), "coffer-node");
        let driver = coffer_pods.create(&PostParams::default(), &serde_json::from_value(driver)?).await?;
        Ok(Self { nodes, coffer_pods, name: name.to_owned(), driver })
    }

    async fn remove(self) -> Result<()> {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let pod = self.coffer_pods.delete(&self.driver.name_any(), &at_once).await.map(drop);
        self.nodes.delete(&self.name, &DeleteParams::default()).await?;
        Ok(pod?)
    }
}

fn pod_on(node: &str, name: &str, account: &str) -> Value {
    shell_pod(name, json!({"spec": {"nodeName": node, "serviceAccountName": account}}))
}

/// What the audit log says of a request, on whichever replica it came to.
async fn reason(cluster: &Cluster, request_id: &str) -> Result<(String, String)> {
    let coffer = cluster.kubectl().namespaced(NAMESPACE);
    let brokers =
        coffer.run(["get", "pods", "-l", "app.kubernetes.io/component=broker", "-o", "name"]).ok().await?;
    // The record of a rejection is not waited for by its answer.
    wait::until("the request to be on record", wait::SOON, async || {
        for broker in brokers.lines() {
            let lines = coffer.exec(broker, &["/coffer-broker", "audit"]).await?;
            let mut records = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(record) = records.find(|record| record["requestID"] == request_id) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return Ok(Some((text(&record["reason"]), text(&record["actor"]["node"]))));
            }
        }
        Ok(None)
    })
    .await
}

async fn ask(door: &Door, pod: &str, driver: &str, knock: &Knock) -> Result<Answer> {
    let bearer = format!("Bearer {pod}");
    let headers = [("authorization", bearer.as_str()), (DRIVER_TOKEN_HEADER, driver)];
    door.ask(&headers, serde_json::to_vec(&knock.request)?).await
}

/// T25. A stolen driver, of this node or of another that does not even run, against pods that are not its own.
#[tokio::test]
async fn a_driver_gets_the_credentials_of_its_own_nodes_pods_and_of_no_others() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "nodes", &[], async |ns| {
        let fake = FakeNode::make(&ns.client(), &format!("fake-{}", ns.name())).await?;
        let tried = AssertUnwindSafe(try_drivers(&cluster, ns, &fake)).catch_unwind().await;
        let removed = fake.remove().await;
        tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        removed
    })
    .await
}

async fn try_drivers(cluster: &Cluster, ns: &Namespace, fake: &FakeNode) -> Result<()> {
    let team = Team::make(ns).await?;
    team.workload("web").await?;
    team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
    let accounts = ns.api::<ServiceAccount>();
    let coffer_accounts = Api::<ServiceAccount>::namespaced(ns.client(), NAMESPACE);
    let of_node = ListParams::default().labels("app.kubernetes.io/component=node");
    let drivers = Api::<Pod>::namespaced(ns.client(), NAMESPACE).list(&of_node).await?;
    let real = pod_token(&coffer_accounts, drivers.items.first().context("no node driver runs")?).await?;
    let of_fake = pod_token(&coffer_accounts, &fake.driver).await?;

    let here = ns.shell("here", json!({"spec": {"serviceAccountName": "web"}})).await?;
    let there = ns.create::<Pod>(pod_on(&fake.name, "there", "web")).await?;
    ns.service_account("coffer-node").await?;
    let posing = ns.shell("posing", json!({"spec": {"serviceAccountName": "coffer-node"}})).await?;
    let posing = pod_token(&accounts, &posing).await?;
    let request: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": 600}}))?;
    let unbound =
        coffer_accounts.create_token_request("coffer-node", &PostParams::default(), &request).await?;
    let unbound = unbound.status.context("a token request without an answer")?.token;
    let (token_here, token_there) = (pod_token(&accounts, &here).await?, pod_token(&accounts, &there).await?);
    let door = Door::find(cluster).await?;
    let account = accounts.get("web").await?;

    // Each driver with a pod of its own node is answered, so that nothing else is wrong with what is refused below.
    for (pod, token, driver) in [(&here, &token_here, &real), (&there, &token_there, &of_fake)] {
        let knock = Knock::new(pod, &["github"])?;
        let released = knock.open(&ask(&door, token, driver, &knock).await?, &account)?;
        assert_eq!(released.connections[0].items["token"].expose(), b"ghp_value");
    }

    // (what, the pod that is named, the pod's token, the driver's token, the audit's reason, the node on record)
    let node = here.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("the pod is nowhere")?;
    let cases = [
        ("another node's driver", &here, &token_here, &of_fake, "OtherNode", fake.name.as_str()),
        ("this node's driver for another's pod", &there, &token_there, &real, "OtherNode", &node),
        ("this node's driver naming another pod", &there, &token_here, &real, "OtherPod", &node),
        ("a driver's token as if it were the pod's", &here, &of_fake, &of_fake, "OtherPod", &fake.name),
        ("an account of the same name elsewhere", &here, &token_here, &posing, "NotTheDriver", &node),
        ("a driver's token of no pod", &here, &token_here, &unbound, "NotTheDriver", ""),
        ("the pod's own token as the driver's", &here, &token_here, &token_here, "NotTheDriver", &node),
    ];
    for (what, pod, token, driver, expected, on_record) in cases {
        let knock = Knock::new(pod, &["github"])?;
        let answer = ask(&door, token, driver, &knock).await?;
        assert_eq!(answer.status, 401, "{what}: {}", answer.message());
        assert!(!answer.message().contains("github"), "{what}: {}", answer.message());
        let (reason, node) = reason(cluster, &knock.request.request_id).await?;
        assert_eq!((reason.as_str(), node.as_str()), (expected, on_record), "{what}");
    }

    // Nor can a node mint what it lacks: the API server gives it tokens of its own pods only.
    let said = ns.kubectl().run(["create", "token", "web", "--audience", TOKEN_AUDIENCE]);
    let said = said
        .args(["--bound-object-kind", "Pod", "--bound-object-name", "here"])
        .args(["--bound-object-uid", &here.uid().unwrap_or_default()])
        .args([&format!("--as=system:node:{}", fake.name), "--as-group=system:nodes"]);
    let said = said.refused().await?;
    assert!(said.contains("node requested token bound to a pod scheduled on a different node"), "{said}");
    Ok(())
}
