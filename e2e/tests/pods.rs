//! Pods of every shape: whoever runs in them, whoever made them, they find their files, and nobody else does.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use e2e::images::SHELL;
use e2e::install;
use e2e::layout::KUBELET_ROOT;
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const TOKEN: &str = "/coffer/github/token";
/// A CronJob begins at a full minute.
const NEXT_MINUTE: Duration = Duration::from_secs(150);

/// A team with the credential `github` for the ServiceAccount `web`.
async fn team(ns: &Namespace) -> Result<Team<'_>> {
    let team = Team::make(ns).await?;
    team.workload("web").await?;
    team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
    Ok(team)
}

/// Where the node keeps the files of a pod.
fn on_the_node(pod: &Pod) -> PathBuf {
    let volume = format!("pods/{}/volumes/kubernetes.io~csi/coffer/mount", pod.uid().unwrap());
    PathBuf::from(KUBELET_ROOT).join(volume)
}

/// T39. What the files' mode, owner and group are for pods that say this or that of their user and group.
#[tokio::test]
async fn whatever_user_a_pod_runs_as_it_reads_its_files_and_writes_none() -> Result<()> {
    let cluster = install::installed().await?;
    let labels = [INJECTED, ("pod-security.kubernetes.io/enforce", "restricted")];
    Namespace::lend(&cluster, "users", &labels, async |ns| {
        team(ns).await?;
        let web = |context: Value| json!({"spec": {"serviceAccountName": "web", "securityContext": context}});
        let mut read_only = web(json!({}));
        let mut container = shell_pod("", json!({}))["spec"]["containers"][0].clone();
        container["securityContext"]["readOnlyRootFilesystem"] = true.into();
        read_only["spec"]["containers"] = json!([container]);
        let mut no_token = web(json!({}));
        no_token["spec"]["automountServiceAccountToken"] = false.into();
        let shapes = [
            ("group", web(json!({"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 4321})), "440 0 4321"),
            (
                "no-group",
                web(json!({"runAsUser": 1_234_567, "runAsGroup": 7_654_321, "fsGroup": null})),
                "444 0 0",
            ),
            (
                "user-alone",
                web(json!({"runAsUser": 2_000_000_000, "runAsGroup": null, "fsGroup": null})),
                "444 0 0",
            ),
            ("read-only-root", read_only, "440 0 1000"),
            ("no-token", no_token, "440 0 1000"),
        ];
        for (name, changes, _) in &shapes {
            ns.create::<Pod>(shell_pod(name, changes.clone())).await?;
        }
        let kubectl = ns.kubectl();
        for (name, _, mode) in shapes {
            wait::pod_ready(&ns.api(), name, wait::SOON).await?;
            assert_eq!(kubectl.exec(name, &["cat", TOKEN]).await?, "ghp_value", "{name}");
            let said = kubectl.exec(name, &["stat", "-L", "-c", "%a %u %g", TOKEN]).await?;
            assert_eq!(said.trim(), mode, "{name}");
            for path in [TOKEN, "/coffer/new", "/coffer/github/new"] {
                let write = format!("echo x > {path}");
                kubectl.run(["exec", name, "--", "sh", "-c", &write]).refused().await?;
            }
        }
        // Coffer's own token reaches the driver by another way than the pod's.
        kubectl.run(["exec", "no-token", "--", "ls", "/var/run/secrets/kubernetes.io"]).refused().await?;
        Ok(())
    })
    .await
}

/// T36: containers that come with the pod have its files; one that comes later says itself that it wants them.
#[tokio::test]
async fn init_containers_sidecars_and_host_network_are_served_and_an_ephemeral_container_that_asks()
-> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "containers", &[INJECTED], async |ns| {
        team(ns).await?;
        let container = |name: &str, command: &str| {
            json!({"name": name, "image": SHELL, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command]})
        };
        let mut sidecar = container("sidecar", &format!("cat {TOKEN} && echo && exec sleep 100000"));
        sidecar["restartPolicy"] = "Always".into();
        let pod = json!({
            "metadata": {"generateName": "many-", "name": null},
            "spec": {
                "serviceAccountName": "web",
                "hostNetwork": true,
                "initContainers": [container("first", &format!("cat {TOKEN}")), sidecar],
                "containers": [
                    container("one", &format!("cat {TOKEN} && echo && exec sleep 100000")),
                    container("two", &format!("cat {TOKEN} && echo && exec sleep 100000")),
                ],
            },
        });
        let pods = ns.api::<Pod>();
        let name = ns.create::<Pod>(shell_pod("", pod)).await?.name_any();
        assert!(name.starts_with("many-"), "{name}");
        wait::pod_ready(&pods, &name, wait::SOON).await?;
        for container in ["first", "sidecar", "one", "two"] {
            wait_for_log(ns, &name, container, "ghp_value").await?;
        }

        let ephemeral = |name: &str, mounts: Value| {
            json!({"spec": {"ephemeralContainers": [{
                "name": name, "image": SHELL, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", format!("cat {TOKEN} 2>/dev/null || echo none")], "volumeMounts": mounts,
            }]}})
        };
        let mount = json!([{"name": "coffer", "mountPath": "/coffer", "readOnly": true}]);
        for (container, mounts, expected) in [("asks", mount, "ghp_value"), ("does-not", json!([]), "none")] {
            let patch = Patch::Strategic(ephemeral(container, mounts));
            pods.patch_ephemeral_containers(&name, &PatchParams::default(), &patch).await?;
            wait_for_log(ns, &name, container, expected).await?;
        }
        Ok(())
    })
    .await
}

async fn wait_for_log(ns: &Namespace, pod: &str, container: &str, expected: &str) -> Result<()> {
    let what = format!("container '{container}' to have said '{expected}'");
    wait::until(&what, wait::SOON, async || {
        let of = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        let log = ns.api::<Pod>().logs(pod, &of).await?;
        ensure!(log.trim_end().ends_with(expected), "it said: {log}");
        Ok(Some(()))
    })
    .await
}

/// T41 for files.
#[tokio::test]
async fn pods_of_deployments_daemonsets_statefulsets_and_jobs_get_their_files_and_jobs_end() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "owners", &[INJECTED], async |ns| {
        team(ns).await?;
        let template = |command: &str, restart: &str| {
            let mut pod = shell_pod("", asking("web", "github"));
            pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", command]);
            pod["spec"]["restartPolicy"] = restart.into();
            json!({"metadata": {"labels": {"app": "it"}, "annotations": pod["metadata"]["annotations"]},
                   "spec": pod["spec"]})
        };
        let serves = template(&format!("cat {TOKEN} && echo && exec sleep 100000"), "Always");
        let ends = template(&format!("grep -q ghp_value {TOKEN}"), "Never");
        let named = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let selector = json!({"matchLabels": {"app": "it"}});
        let served = json!({"selector": selector, "template": serves});
        ns.create::<Job>(named("job", json!({"backoffLimit": 0, "template": ends}))).await?;
        let job = json!({"spec": {"backoffLimit": 0, "template": ends}});
        let cron = json!({"schedule": "* * * * *", "jobTemplate": job});
        ns.create::<CronJob>(named("cron", cron)).await?;
        ns.create::<DaemonSet>(named("daemon", served.clone())).await?;
        let mut deployment = served.clone();
        deployment["replicas"] = 2.into();
        ns.create::<Deployment>(named("deploy", deployment)).await?;
        let mut set = served;
        set["serviceName"] = "state".into();
        ns.create::<StatefulSet>(named("state", set)).await?;

        let kubectl = ns.kubectl();
        for owner in ["daemonset/daemon", "deployment/deploy", "statefulset/state"] {
            kubectl.run(["rollout", "status", owner, "--timeout=60s"]).ok().await?;
            assert_eq!(kubectl.exec(owner, &["cat", TOKEN]).await?, "ghp_value", "{owner}");
        }
        let complete = |job: Option<&Job>| job.is_some_and(is_complete);
        wait::object(&ns.api::<Job>(), "job", "job complete", wait::SOON, complete).await?;
        wait::until("a Job of the CronJob to be complete", NEXT_MINUTE, async || {
            let jobs = ns.api::<Job>().list(&ListParams::default()).await?;
            let of_cron = jobs.into_iter().filter(|job| job.name_any().starts_with("cron-"));
            Ok(of_cron.into_iter().any(|job| is_complete(&job)).then_some(()))
        })
        .await?;
        // Nothing was put beside the containers that their authors wrote.
        for pod in ns.api::<Pod>().list(&ListParams::default()).await? {
            let spec = pod.spec.context("a pod without a spec")?;
            assert_eq!((spec.containers.len(), spec.init_containers.unwrap_or_default().len()), (1, 0));
        }
        Ok(())
    })
    .await
}

fn is_complete(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Complete" && condition.status == "True")
}

/// T39. The node's folders are what keeps others out, so it is tried on the node itself and from another pod.
#[tokio::test]
async fn nobody_else_on_the_node_reads_a_pods_files_not_even_with_its_user_and_group() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "others", &[INJECTED], async |ns| {
        team(ns).await?;
        let plain = json!({"spec": {"serviceAccountName": "web", "securityContext": {"fsGroup": null}}});
        let with_group = ns.shell("group", asking("web", "github")).await?;
        let without = ns.shell("no-group", plain).await?;
        let spy = json!({
            "metadata": {"labels": {"coffer.dev/inject": "false"}},
            "spec": {"volumes": [{"name": "node", "hostPath": {"path": KUBELET_ROOT}}]},
        });
        let mut spy = shell_pod("spy", spy);
        spy["spec"]["containers"][0]["volumeMounts"] = json!([
            {"name": "node", "mountPath": KUBELET_ROOT, "readOnly": true, "mountPropagation": "HostToContainer"},
        ]);
        ns.create::<Pod>(spy).await?;
        wait::pod_ready(&ns.api(), "spy", wait::SOON).await?;

        for pod in [with_group, without] {
            let file = on_the_node(&pod).join("github/token");
            // Root of the node does: the path is right, and what stops the others is their identity.
            assert_eq!(std::fs::read_to_string(&file)?, "ghp_value");
            for (user, group) in [(65_534, 65_534), (1000, 1000)] {
                let cat = Command::new("cat").arg(&file).uid(user).gid(group).output()?;
                let said = String::from_utf8_lossy(&cat.stderr).into_owned();
                assert!(!cat.status.success() && said.contains("Permission denied"), "{user}: {said}");
            }
            let path = file.display().to_string();
            let said = ns.kubectl().run(["exec", "spy", "--", "cat", &path]).refused().await?;
            assert!(said.contains("Permission denied"), "{said}");
        }
        Ok(())
    })
    .await
}
