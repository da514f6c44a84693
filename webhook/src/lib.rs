//! Coffer's admission webhook.
//!
//! It seals what Connections bring in `stringData`, stamps who wrote what, asks `coffer-policy` who may write and
//! delete, and wires credentials into pods. It is stateless and holds no private key: what it seals it cannot open.
//!
//! | module | does |
//! | --- | --- |
//! | [`routes`] | which path decides what |
//! | [`review`] | AdmissionReview in and out |
//! | [`draft`] | the object under admission, and its JSON patch |
//! | [`seal`] | `stringData` becomes `sealedData` |
//! | [`applied`] | items that a writer no longer lists |
//! | [`stamp`] | authors |
//! | [`pace`] | how fast one requester may ask |
//! | [`validate`] | one module per kind: facts, policy, early notices |
//! | [`inject`] | pods |
//! | [`state`] | what is known of the cluster, and waiting for it |
//! | [`refusal`] | the one error, and its codes |
//! | [`metrics`] | what is counted |

pub mod applied;
pub mod draft;
pub mod inject;
pub mod metrics;
pub mod pace;
pub mod refusal;
pub mod review;
pub mod routes;
pub mod seal;
pub mod stamp;
pub mod state;
pub mod validate;

#[cfg(test)]
mod fixtures;

use std::{sync::Arc, time::Duration};

use coffer_policy::BreakGlass;
use coffer_runtime::{
    Admin, AdminArgs, Events, Metrics, Readiness, Shutdown, TlsArgs, client, clock, serve_tls,
};

/// Flags and environment of `coffer-webhook`.
#[derive(Debug, clap::Parser)]
#[command(name = "coffer-webhook", version, about = "Coffer's admission webhook")]
pub struct Args {
    /// Address and certificate of the HTTPS port.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Address of the admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// User name of the operator, whose own writes policy knows.
    #[arg(
        long,
        env = "COFFER_OPERATOR_USER",
        default_value = "system:serviceaccount:coffer-system:coffer-operator"
    )]
    pub operator_user: String,
    /// User name of somebody who makes Vaults, members and Connections anew from a backup; may be given several times.
    #[arg(long = "restore-user")]
    pub restore_users: Vec<String>,
    /// A group whose people may do what an owner may, without being members; may be given several times.
    #[arg(long = "break-glass-group", value_name = "GROUP", value_parser = coffer_policy::break_glass::group)]
    pub break_glass_groups: Vec<String>,
    /// This replica's name in the events that it publishes.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "coffer-webhook")]
    pub replica: String,
}

/// Releases that one requester may make at once, and how long until it may make one more.
const RELEASES: u32 = 60;
const EACH: Duration = Duration::from_secs(1);

/// Serves until an end is asked for.
///
/// # Errors
/// When a port cannot be bound or no Kubernetes client can be made.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    Admin::new(readiness.clone(), metrics.clone()).start(args.admin.admin_listen, &shutdown).await?;
    let directory = state::Directory::new(state::Patience::default());
    let client = client().await?;
    clock::watch(&client, &metrics, &shutdown);
    state::watch_cluster(&directory, &client, &readiness, &shutdown);
    let meters = metrics::Meters::register(&metrics);
    let webhook = routes::Webhook {
        directory,
        meters,
        operator: args.operator_user,
        restore_users: args.restore_users,
        break_glass: BreakGlass::new(args.break_glass_groups),
        events: Events::new(client, "coffer-webhook", &args.replica, "Admit"),
        pace: pace::Pace::new(RELEASES, EACH),
    };
    let service = warp::service(routes::routes(Arc::new(webhook)));
    serve_tls(args.tls.into(), service, &readiness, &shutdown).await?;
    Ok(())
}
