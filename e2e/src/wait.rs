//! Waiting for a condition, with a deadline: the only way in which tests wait.

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often something that cannot be watched is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The deadline for what a healthy cluster does in a second or two.
pub const SOON: Duration = Duration::from_secs(60);

/// Look again until `look` finds something; for what no server can tell us of.
///
/// An error of `look` means "not yet"; the last one is told when the deadline has passed.
///
/// # Errors
/// If the deadline passes, naming what was waited for.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let last = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            return Err(late(what, within, last));
        }
    }
}

/// Watch one object until `condition` holds; gives the object as it then is.
///
/// # Errors
/// If the deadline passes or the object cannot be watched.
pub async fn object<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    within: Duration,
    condition: impl Condition<K>,
) -> Result<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let found = watched(api, name, what, within, condition).await?;
    found.with_context(|| format!("'{name}' is absent, waited for: {what}"))
}

/// Wait until an object of this name is gone.
///
/// # Errors
/// If the deadline passes.
pub async fn absent<K>(api: &Api<K>, name: &str, within: Duration) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watched(api, name, "to be gone", within, |object: Option<&K>| object.is_none()).await?;
    Ok(())
}

/// A watch that outlives a restart of the API server: a broken one is begun again until the deadline.
async fn watched<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    within: Duration,
    condition: impl Condition<K>,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut broken = None;
    let watching = async {
        let mut ticks = interval(LOOK);
        loop {
            ticks.tick().await;
            match await_condition(api.clone(), name, |object: Option<&K>| condition.matches_object(object))
                .await
            {
                Ok(found) => return found,
                Err(error) => broken = Some(error),
            }
        }
    };
    match timeout(within, watching).await {
        Ok(found) => Ok(found),
        Err(_) => Err(late(&format!("'{name}': {what}"), within, broken.map(Into::into))),
    }
}

fn late(what: &str, within: Duration, last: Option<anyhow::Error>) -> anyhow::Error {
    let late = format!("waited {} s for {what}", within.as_secs());
    match last {
        None => anyhow!(late),
        Some(error) => error.context(late),
    }
}

/// Wait until every container of a pod runs and is ready.
///
/// # Errors
/// If the pod ends instead, or the deadline passes; tells what its containers wait for.
pub async fn pod_ready(api: &Api<Pod>, name: &str, within: Duration) -> Result<Pod> {
    let settled = object(api, name, "pod ready", within, |pod: Option<&Pod>| {
        pod.is_some_and(|pod| pod_condition(pod, "Ready") || matches!(phase(pod), "Failed" | "Succeeded"))
    })
    .await;
    match settled {
        Ok(pod) if pod_condition(&pod, "Ready") => Ok(pod),
        Ok(pod) => bail!("pod '{name}' ended as {} instead of becoming ready", phase(&pod)),
        Err(error) => {
            let seen = api.get_opt(name).await.ok().flatten();
            Err(error.context(seen.map_or_else(|| "no such pod".into(), |pod| waiting(&pod))))
        }
    }
}

/// Wait until a pod that runs to an end has done so.
///
/// # Errors
/// If it failed, or the deadline passes.
pub async fn pod_succeeded(api: &Api<Pod>, name: &str, within: Duration) -> Result<Pod> {
    let pod = object(api, name, "pod to end", within, |pod: Option<&Pod>| {
        pod.is_some_and(|pod| matches!(phase(pod), "Failed" | "Succeeded"))
    })
    .await?;
    if phase(&pod) == "Failed" {
        bail!("pod '{name}' failed: {}", waiting(&pod));
    }
    Ok(pod)
}

/// The pod's phase, empty before it has one.
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether a pod's condition of this type is `True`.
#[must_use]
pub fn pod_condition(pod: &Pod, kind: &str) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

/// What the containers of a pod that is not ready say.
fn waiting(pod: &Pod) -> String {
    let mut lines = vec![format!("pod is {}", phase(pod))];
    for container in pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()) {
        let Some(state) = &container.state else { continue };
        if let Some(waiting) = &state.waiting {
            lines.push(format!(
                "{} waits: {} {}",
                container.name,
                waiting.reason.as_deref().unwrap_or_default(),
                waiting.message.as_deref().unwrap_or_default()
            ));
        }
        if let Some(ended) = &state.terminated {
            lines.push(format!("{} ended with {}", container.name, ended.exit_code));
        }
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait_with_what_was_found() {
        let mut looks = 0;
        let found = until("three looks", SOON, async || {
            looks += 1;
            Ok((looks == 3).then_some("found"))
        })
        .await
        .unwrap();
        assert_eq!(found, "found");
    }

    #[tokio::test]
    async fn a_missed_deadline_names_what_was_waited_for_and_the_last_error() {
        let error =
            until::<()>("the impossible", Duration::ZERO, async || bail!("no luck")).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 0 s for the impossible: no luck");
    }
}
