//! Writes claims and answers, each to the very state of the object that was read.

use coffer_crds::{Release, ReleaseStatus, RequestPhase};
use coffer_runtime::{CallError, within};
use futures::future::BoxFuture;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// Writes the status of Releases.
pub trait Answers: Send + Sync + 'static {
    /// Marks a Release as taken up by `replica`, if it is still as it was read; the object as it then is.
    fn claim<'a>(&'a self, read: &'a Release, replica: &'a str) -> BoxFuture<'a, Result<Release, CallError>>;

    /// Answers a Release, if it is still as it was claimed.
    fn answer<'a>(
        &'a self,
        claimed: &'a Release,
        status: &'a ReleaseStatus,
    ) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Patches the status. Needs `patch` on the status of Releases.
pub struct ApiServerAnswers(pub kube::Client);

impl ApiServerAnswers {
    /// With the resourceVersion in it, a patch of another state is refused as a conflict.
    async fn patch(&self, read: &Release, status: Value) -> Result<Release, CallError> {
        let api = Api::<Release>::namespaced(self.0.clone(), &read.namespace().unwrap_or_default());
        let version = read.resource_version().unwrap_or_default();
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "status": status}));
        within(PATIENCE, api.patch_status(&read.name_any(), &PatchParams::default(), &patch)).await
    }
}

impl Answers for ApiServerAnswers {
    fn claim<'a>(&'a self, read: &'a Release, replica: &'a str) -> BoxFuture<'a, Result<Release, CallError>> {
        // What it waited for is over.
        let status = json!({"phase": RequestPhase::Claimed, "answeredBy": replica, "message": null});
        Box::pin(self.patch(read, status))
    }

    fn answer<'a>(
        &'a self,
        claimed: &'a Release,
        status: &'a ReleaseStatus,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        let status = serde_json::to_value(status).expect("plain data always serializes");
        Box::pin(async move { self.patch(claimed, status).await.map(drop) })
    }
}
