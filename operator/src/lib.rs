//! The operator: Vaults, members and Connections into Keyrings and Envelopes.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`caches`], [`cache`], [`watches`], [`triggers`], [`queue`] | what is known, and what a change concerns |
//! | [`vault`] | a Vault, its Keyring, its members and their RoleBindings |
//! | [`connection`] | a Connection and its Envelope |
//! | [`usage`] | what still needs an older custodian root |
//! | [`reads`] | who read what, by the brokers' audit logs, when somebody loses access |
//! | [`releases`] | requests that nobody answers, and those that are over |
//! | [`installation`] | the custodian root, the certificates, and who trusts them |
//! | [`standing`] | whether a member is in force: what both reconciles follow |
//! | [`apply`], [`report`], [`meters`] | the one way to write, and what people see |
//! | [`leading`] | what runs while this replica leads |
//! | [`default_vault`] | the vault that the chart installs |
//! | [`uninstall`] | whether the installation may go |
//!
//! Every reconcile is `fetch → plan → apply → report`; `plan` is pure.

pub mod apply;
pub mod cache;
pub mod caches;
pub mod connection;
pub mod context;
pub mod default_vault;
pub mod gates;
pub mod installation;
pub mod leading;
pub mod meters;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
pub mod queue;
pub mod reads;
pub mod releases;
pub mod report;
pub mod rotation;
pub mod standing;
pub mod triggers;
pub mod uninstall;
pub mod usage;
pub mod vault;
pub mod watches;
#[cfg(test)]
mod world;

use std::sync::Arc;

use clap::Parser;
use coffer_runtime::{Admin, AdminArgs, Metrics, Readiness, Shutdown};
use kube::Client;

use crate::{caches::Caches, leading::Installation, queue::Queues, watches::Watched};

/// The root of trust, chosen in the chart; never another by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Root {
    /// A Secret in the installation's own namespace.
    Local,
}

/// Who makes the serving certificates of webhook and broker, and says whom the API server and the driver are to trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Certificates {
    /// This operator, from an authority of its own.
    #[default]
    Own,
    /// Somebody else, as cert-manager; the operator touches none.
    External,
}

/// Turns Vaults, members and Connections into Keyrings and Envelopes.
#[derive(Clone, Debug, Parser)]
#[command(name = "coffer-operator", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Something else than operating.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to operate.
    #[command(flatten)]
    pub operate: Args,
}

/// What the program does besides operating.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Name the running pods that need the node driver; exit code 3 if there are any, 1 if that cannot be found out
    MayUninstall {
        /// What to run in order to keep Coffer, as the refusal says it
        #[arg(
            long,
            default_value = "helm rollback RELEASE REVISION, with the revision that helm history shows"
        )]
        to_keep: String,
    },
    /// Make a Vault and its namespace where there are none, and leave what is there as it is
    MakeVault {
        /// The Vault's manifest, in JSON
        #[arg(value_parser = default_vault::read)]
        manifest: Box<coffer_crds::Vault>,
        /// Seconds to wait for an API server or a webhook that does not answer yet
        #[arg(long, value_name = "SECONDS", default_value_t = 240)]
        patience: u64,
    },
}

/// How to operate.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which root of trust wraps the custodian root.
    #[arg(long, value_enum, default_value = "local")]
    pub root: Root,
    /// Which generation of the custodian root is to be there. One above all that are there is made, and every vault's keys
    /// are turned over under it; one below does nothing.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub root_generation: u32,
    /// Who makes the serving certificates.
    #[arg(long, value_enum, default_value = "own")]
    pub certificates: Certificates,
    /// Namespace of this installation.
    #[arg(long, env = "POD_NAMESPACE", default_value = "coffer-system")]
    pub namespace: String,
    /// This pod's name, by which it stands for election.
    #[arg(long, env = "POD_NAME", default_value = "coffer-operator")]
    pub pod_name: String,
    /// The operator's user name as admission sees it; default: ServiceAccount coffer-operator of the namespace.
    #[arg(long)]
    pub user: Option<String>,
    /// A group whose people may do what an owner may, without being members; may be given several times.
    #[arg(long = "break-glass-group", value_name = "GROUP", value_parser = coffer_policy::break_glass::group)]
    pub break_glass_groups: Vec<String>,
    /// The admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Runs until `shutdown`.
///
/// # Errors
/// When the API server's address or the admin port is not to be had at the start.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let Root::Local = args.root;
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let client = coffer_runtime::client().await?;
    coffer_runtime::clock::watch(&client, &metrics, &shutdown);
    Admin::new(readiness.clone(), metrics.clone()).start(args.admin.admin_listen, &shutdown).await?;
    operate(&args, client, &metrics, &readiness, &shutdown).await;
    Ok(())
}

/// Watches, stands for election, and does the work while leading; until `shutdown`.
pub async fn operate(
    args: &Args,
    client: Client,
    metrics: &Metrics,
    readiness: &Readiness,
    shutdown: &Shutdown,
) {
    let watched = Watched { caches: Arc::new(Caches::new()), queues: Arc::new(Queues::default()) };
    watches::start(&client, &watched, readiness, shutdown);
    let installation = Installation::new(args, client, watched, meters::Meters::new(metrics), readiness);
    installation.run(shutdown).await;
}
