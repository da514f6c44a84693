//! Writes answers, each replica its own.

use coffer_crds::{AuditQuery, AuditQueryStatus};
use coffer_runtime::{CallError, within};
use futures::future::BoxFuture;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// Writes the status of AuditQueries.
pub trait Answers: Send + Sync + 'static {
    /// Adds what `replica` says to the very object that was read. What others said stays.
    fn answer<'a>(
        &'a self,
        query: &'a AuditQuery,
        replica: &'a str,
        status: &'a AuditQueryStatus,
    ) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Applies the status. Needs `patch` on the status of AuditQueries.
pub struct ApiServerAnswers(pub kube::Client);

impl Answers for ApiServerAnswers {
    fn answer<'a>(
        &'a self,
        query: &'a AuditQuery,
        replica: &'a str,
        status: &'a AuditQueryStatus,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        let api = Api::<AuditQuery>::namespaced(self.0.clone(), &query.namespace().unwrap_or_default());
        let body = json!({
            "apiVersion": AuditQuery::api_version(&()),
            "kind": AuditQuery::kind(&()),
            // With the uid, an object of that name that came later is refused as a conflict.
            "metadata": {"name": query.name_any(), "namespace": query.namespace(), "uid": query.uid()},
            "status": status,
        });
        // All say the same of the phase; forced, because the operator's word on it may come first.
        let params = PatchParams::apply(replica).force();
        Box::pin(async move {
            let patch = Patch::Apply(&body);
            within(PATIENCE, api.patch_status(&query.name_any(), &params, &patch)).await.map(drop)
        })
    }
}
