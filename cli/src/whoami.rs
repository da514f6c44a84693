//! `kubectl coffer whoami`.

use std::io::Write;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, api::PostParams};

use crate::{
    Failure,
    cluster::{Cluster, within},
    output::{self, Format},
};

/// Prints who the API server takes the caller for.
pub(crate) async fn print(cluster: &Cluster, format: Format, answer: &mut dyn Write) -> Result<(), Failure> {
    let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review =
        within(async { Ok(api.create(&PostParams::default(), &SelfSubjectReview::default()).await?) })
            .await?;
    let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
    match format {
        Format::Json | Format::Yaml => output::value(format, &user, answer),
        Format::Name => output::write(answer, &format!("{}\n", user.username.unwrap_or_default())),
        Format::Table | Format::Wide => {
            let uid = user.uid.filter(|uid| !uid.is_empty()).unwrap_or_else(|| "-".to_owned());
            let groups = user.groups.unwrap_or_default().join("\n         ");
            let name = user.username.unwrap_or_default();
            output::write(answer, &format!("User:    {name}\nUID:     {uid}\nGroups:  {groups}\n"))
        }
    }
}
