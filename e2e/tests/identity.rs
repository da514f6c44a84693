//! Who is asking: only what a server authenticated counts.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Result, bail};
use e2e::broker::{Door, Knock, pod_token, token_for};
use e2e::install::{self, NAMESPACE};
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

/// How a pod came off that asked for a credential.
enum Outcome {
    /// Admission refused it with these words.
    Refused(String),
    /// It was admitted, but its volume was not filled; what the kubelet said.
    NotReleased(String),
}

/// Start a pod that must not get what it asks for.
async fn try_pod(ns: &Namespace, name: &str, account: &str, connection: &str) -> Result<Outcome> {
    if let Err(error) = ns.create::<Pod>(shell_pod(name, asking(account, connection))).await {
        return Ok(Outcome::Refused(format!("{error:#}")));
    }
    wait::until("the pod's volume to be refused", wait::SOON, async || {
        let pod = ns.api::<Pod>().get(name).await?;
        if wait::pod_condition(&pod, "Ready") {
            bail!("the pod got what it may not have");
        }
        let events = ns.api::<Event>().list(&ListParams::default().fields("reason=FailedMount")).await?;
        let told = events.into_iter().filter(|event| event.involved_object.uid == pod.uid());
        Ok(told
            .filter_map(|event| event.message)
            .find(|message| message.contains("Credential"))
            .map(Outcome::NotReleased))
    })
    .await
}

/// T26.
#[tokio::test]
async fn a_serviceaccount_that_was_deleted_and_made_again_is_a_stranger() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "remade", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
        ns.shell("before", asking("web", "github")).await?;

        let accounts = ns.api::<ServiceAccount>();
        let first = accounts.get("web").await?;
        accounts.delete("web", &DeleteParams::default()).await?;
        wait::absent(&accounts, "web", wait::SOON).await?;
        let second = ns.service_account("web").await?;
        assert_ne!(first.uid(), second.uid());

        let (Outcome::Refused(said) | Outcome::NotReleased(said)) =
            try_pod(ns, "after", "web", "github").await?;
        // The webhook says it as the annotation does, the broker as the volume does: with the namespace.
        assert!(said.contains("github' not found"), "{said}");
        // And not by going round the webhook either.
        let plain = ns.shell(
            "plain",
            json!({
                "metadata": {"labels": {"coffer.dev/inject": "false"}},
                "spec": {"serviceAccountName": "web"},
            }),
        );
        let plain = plain.await?;
        let knock = Knock::new(&plain, &["github"])?;
        let answer = Door::find(&cluster).await?.ask_as(&pod_token(&accounts, &plain).await?, &knock).await?;
        assert_eq!((answer.status, answer.message().as_str()), (404, "Credential 'github' not found"));
        Ok(())
    })
    .await
}

/// A pod may ask for itself, without the driver (door 1, as the agent does).
#[tokio::test]
async fn a_members_own_pod_gets_an_answer_that_only_its_request_opens() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "door", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
        let pod = ns.shell("web", json!({"spec": {"serviceAccountName": "web"}})).await?;
        let token = pod_token(&ns.api(), &pod).await?;
        let door = Door::find(&cluster).await?;

        let knock = Knock::new(&pod, &["github"])?;
        let answer = door.ask_as(&token, &knock).await?;
        let account = ns.api::<ServiceAccount>().get("web").await?;
        let released = knock.open(&answer, &account)?;
        assert_eq!(released.connections[0].items["token"].expose(), b"ghp_value");
        assert!(Knock::new(&pod, &["github"])?.open(&answer, &account).is_err());
        let sent = String::from_utf8_lossy(answer.body()).into_owned();
        assert!(!sent.contains("ghp_value"));
        Ok(())
    })
    .await
}

/// T20.
#[tokio::test]
async fn an_actor_named_in_headers_or_body_is_ignored() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "claimed", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
        let web = ns.shell("web", json!({"spec": {"serviceAccountName": "web"}})).await?;
        let intern = ns.shell("intern", json!({"spec": {"serviceAccountName": "intern"}})).await?;
        let token = pod_token(&ns.api(), &intern).await?;
        let door = Door::find(&cluster).await?;

        let bearer = format!("Bearer {token}");
        let username = format!("system:serviceaccount:{}:web", ns.name());
        let claims = [
            ("authorization", bearer.as_str()),
            ("impersonate-user", username.as_str()),
            ("x-remote-user", username.as_str()),
            ("x-forwarded-user", username.as_str()),
        ];
        let knock = Knock::new(&intern, &["github"])?;
        let mut body = serde_json::to_value(&knock.request)?;
        let answer = door.ask(&claims, body.to_string()).await?;
        assert_eq!(answer.status, 403);
        assert_eq!(
            answer.message(),
            "Credential 'github' is not accessible to member 'intern'. Allowed: web"
        );

        for field in ["username", "user", "requester", "member", "serviceAccount"] {
            body[field] = json!(username);
        }
        let answer = door.ask(&claims, body.to_string()).await?;
        assert!([400, 403].contains(&answer.status), "{}", answer.status);

        // Another's pod named in the body, with one's own token.
        let knock = Knock::new(&web, &["github"])?;
        let answer = door.ask(&claims, serde_json::to_vec(&knock.request)?).await?;
        assert_eq!(answer.status, 401, "{}", answer.message());
        Ok(())
    })
    .await
}

/// T25.
#[tokio::test]
async fn no_identity_and_the_wrong_kind_of_identity_get_nothing() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "nobody", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["*"], &[("token", "ghp_value")]).await?;
        let pod = ns.shell("web", json!({"spec": {"serviceAccountName": "web"}})).await?;
        let stranger = ns.shell("stranger", json!({})).await?;
        let door = Door::find(&cluster).await?;
        let accounts = ns.api::<ServiceAccount>();
        let body = |pod: &Pod| anyhow::Ok(serde_json::to_vec(&Knock::new(pod, &["github"])?.request)?);

        assert_eq!(door.ask(&[], body(&pod)?).await?.status, 401);
        let other_audience =
            token_for(&accounts, &pod, "https://kubernetes.default.svc.cluster.local").await?;
        for header in
            ["", "Bearer ", "Bearer not-a-token", "Basic d2ViOg==", &format!("Bearer {other_audience}")]
        {
            let answer = door.ask(&[("authorization", header)], body(&pod)?).await?;
            assert_eq!(answer.status, 401, "{header:.20}");
            assert!(!answer.message().contains("github"), "{}", answer.message());
        }
        // An identity without a membership: told what an absent one is told.
        let token = pod_token(&accounts, &stranger).await?;
        let answer = door.ask_as(&token, &Knock::new(&stranger, &["github"])?).await?;
        assert_eq!((answer.status, answer.message().as_str()), (404, "Credential 'github' not found"));
        Ok(())
    })
    .await
}

/// T25.
#[tokio::test]
async fn a_subject_named_star_is_invalid_and_not_everybody() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "star", &[], async |ns| {
        let team = Team::make(ns).await?;
        for (subject, field) in [
            (json!({"user": {"name": "*"}}), "spec.subject.user"),
            (json!({"group": {"name": "*"}}), "spec.subject.group"),
            (json!({"serviceAccount": {"name": "*"}}), "spec.subject.serviceAccount"),
            (json!({"group": {"name": "system:authenticated"}}), "spec.subject.group"),
            (json!({}), "spec.subject"),
        ] {
            let refused = team.invite("everybody", "member", subject.clone()).await;
            let said = format!("{:#}", refused.expect_err(&format!("{subject} was taken")));
            assert!(said.contains(field), "{subject}: {said}");
        }
        // Nothing else was wrong with them.
        for (name, subject) in [
            ("user", json!({"user": {"name": "somebody"}})),
            ("group", json!({"group": {"name": "some"}})),
            ("account", json!({"serviceAccount": {"name": "some"}})),
        ] {
            team.invite(name, "member", subject).await?;
        }
        Ok(())
    })
    .await
}

/// Coffer reads no Secrets but its own few: least identity, asked of the API server itself.
#[tokio::test]
async fn no_component_may_read_secrets_of_a_namespace_that_is_not_its_own() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "rights", &[], async |ns| {
        for account in ["coffer-operator", "coffer-webhook", "coffer-broker", "coffer-node"] {
            let user = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
            for verb in ["get", "list", "watch", "create"] {
                let said = ns.kubectl().run(["auth", "can-i", verb, "secrets", user.as_str()]).said().await?;
                assert_eq!(said.out.trim(), "no", "{account} may {verb} Secrets");
            }
        }
        Ok(())
    })
    .await
}
