//! Puts the rooms together.

use crate::{
    args::{AuditArgs, ServeArgs},
    audit::{self, AuditLog, DenialBudget, FileSink},
    branch::{KeyFiles, Keys},
    doors::{
        self,
        audit::AuditDoor,
        people::{self, ApiServerAnswers, PeopleDoor, Turns},
        workload::{WorkloadDoor, routes},
    },
    facts::{ApiServerReread, Stores},
    identity::{ApiServerReviews, CachedReviews},
    last_used::{ApiServerStatus, LastUsed},
    limits::LocalWindows,
    metrics::{AuditHealth, BrokerMetrics},
    peers::ReadyReplicas,
    release::{Glass, Registers, Releaser, Seen, SharedReleaser},
};
use anyhow::Context as _;
use coffer_keys::signature::CheckedSignatures;
use coffer_policy::BreakGlass;
use coffer_runtime::{
    Admin, Events, Metrics, Readiness, ServeTls, Shutdown, client, clock, serve_tls, start,
};
use jiff::Timestamp;
use kube::Client;
use std::{io::Write as _, process::ExitCode, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// Records of denials that one identity may cause at once, one more per time, and how many identities have a budget of
/// their own; the others share one.
const DENIALS: (u32, Duration, usize) = (100, Duration::from_secs(10), 1000);
/// The same for requests without an identity, by address: a few megabytes a day, however many come.
const ANONYMOUS: (u32, Duration, usize) = (20, Duration::from_secs(60), 50);
/// Releases that are answered at one time, and of one requester.
const TURNS: (usize, usize) = (16, 2);
/// AuditQueries that are answered at one time, and of one requester: each reads the whole log.
const INQUIRIES: (usize, usize) = (4, 2);
/// How long the audit log's last commit may take at the end.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// Serves until SIGTERM.
///
/// # Errors
/// What cannot be mended by waiting: no API server address, no port.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = start("coffer-broker").context("handle signals")?;
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let admin = Admin::new(readiness.clone(), metrics.clone());
    admin.start(args.admin.admin_listen, &shutdown).await.context("open the admin port")?;
    let broker_metrics = BrokerMetrics::new(&metrics);
    let health = AuditHealth { metrics: broker_metrics.clone(), check: readiness.check("audit") };
    let sink = FileSink::new(args.audit_dir.clone(), args.file_limits());
    let (audit, writer) =
        AuditLog::start(sink, health, &args.replica, Timestamp::now).context("start the audit log")?;
    let client = client().await.context("make a Kubernetes client")?;
    clock::watch(&client, &metrics, &shutdown);
    let releaser = releaser(&args, &client, audit, broker_metrics, &readiness, &shutdown);
    let replicas = ReadyReplicas::watch(&client, &args.namespace, &args.replica, &readiness, &shutdown);
    let people = people(&args, &client, replicas.clone(), releaser.clone(), &readiness, &shutdown);
    let auditors = auditors(&args, &client, replicas, releaser.clone(), &readiness, &shutdown);
    let door = workload_door(&args, client, releaser);
    let service = warp::service(routes(Arc::new(door)));
    serve_tls(ServeTls::from(args.tls), service, &readiness, &shutdown)
        .await
        .context("open the HTTPS port")?;
    // They end when they are asked to; a panic there is in the log.
    let _ = tokio::join!(people, auditors);
    // The doors are gone, and with them the last ways into the log: what still waits there becomes durable now.
    let ended = tokio::task::spawn_blocking(move || writer.join());
    if tokio::time::timeout(LAST_COMMIT, ended).await.is_err() {
        tracing::warn!("the audit log was still busy at the end");
    }
    Ok(())
}

fn releaser(
    args: &ServeArgs,
    client: &Client,
    audit: AuditLog,
    metrics: BrokerMetrics,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> SharedReleaser {
    let files = KeyFiles { root_dir: args.root_dir.clone(), branch_dir: args.branch_dir.clone() };
    Arc::new(Releaser {
        stores: Stores::watch(client, readiness, shutdown),
        reread: Box::new(ApiServerReread::new(client.clone())),
        keys: Keys::follow(files, readiness.check("keys"), shutdown),
        registers: Registers::default(),
        seen: Seen::default(),
        signatures: CheckedSignatures::default(),
        audit,
        glass: Glass {
            groups: Arc::new(BreakGlass::new(args.break_glass_groups.clone())),
            witness: Box::new(Events::new(client.clone(), "coffer-broker", &args.replica, "Release")),
        },
        limits: Box::new(LocalWindows::default()),
        denials: DenialBudget::new(DENIALS.0, DENIALS.1, DENIALS.2),
        last_used: LastUsed::start(ApiServerStatus(client.clone())),
        metrics,
        clock: Timestamp::now,
    })
}

/// The people's door, open.
fn people(
    args: &ServeArgs,
    client: &Client,
    replicas: ReadyReplicas,
    releaser: SharedReleaser,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> JoinHandle<()> {
    let (releases, seen) = people::watch(client, readiness, shutdown);
    let door = PeopleDoor {
        replica: args.replica.clone(),
        releases,
        peers: Box::new(replicas),
        answers: Box::new(ApiServerAnswers(client.clone())),
        turns: Turns::new(TURNS.0, TURNS.1),
        limit: args.requester_limit,
        windows: LocalWindows::default(),
        releaser,
    };
    tokio::spawn(Arc::new(door).run(readiness.clone(), seen, shutdown.clone()))
}

/// The audit door, open.
fn auditors(
    args: &ServeArgs,
    client: &Client,
    replicas: ReadyReplicas,
    releaser: SharedReleaser,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> JoinHandle<()> {
    let (queries, seen) = doors::audit::watch(client, readiness, shutdown);
    let door = AuditDoor {
        replica: args.replica.clone(),
        queries,
        peers: Box::new(replicas),
        log: args.audit_dir.clone(),
        operator: args.operator_user.clone(),
        answers: Box::new(doors::audit::ApiServerAnswers(client.clone())),
        turns: Turns::new(INQUIRIES.0, INQUIRIES.1),
        limit: args.requester_limit,
        windows: LocalWindows::default(),
        releaser,
    };
    tokio::spawn(Arc::new(door).run(readiness.clone(), seen, shutdown.clone()))
}

fn workload_door(args: &ServeArgs, client: Client, releaser: SharedReleaser) -> WorkloadDoor {
    WorkloadDoor {
        reviews: Box::new(CachedReviews::new(ApiServerReviews::new(client))),
        driver_user: args.driver_user.clone(),
        anonymous: DenialBudget::new(ANONYMOUS.0, ANONYMOUS.1, ANONYMOUS.2),
        releaser,
    }
}

/// Prints the audit log, and checks it when asked to.
///
/// # Errors
/// The log cannot be read, or the output is closed.
pub fn print_audit(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    audit::print(&args.dir, args.last, &mut out).with_context(|| format!("read {}", args.dir.display()))?;
    let mut code = ExitCode::SUCCESS;
    if args.verify {
        let found = audit::verify(&args.dir).with_context(|| format!("verify {}", args.dir.display()))?;
        writeln!(out, "{found}")?;
        if !found.intact() {
            code = ExitCode::FAILURE;
        }
    }
    out.flush()?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T16
    #[test]
    fn the_operations_guide_tells_the_budgets_that_denials_have() {
        let guide = include_str!("../../docs/guides/operations.md");
        assert_eq!(DENIALS, (100, Duration::from_secs(10), 1000));
        assert!(guide.contains("| an identity | 100 records | one every 10 s | 1,000 identities;"));
        assert_eq!(ANONYMOUS, (20, Duration::from_secs(60), 50));
        assert!(guide.contains("| requests without an identity | 20 records | one a minute | 50 addresses;"));
    }
}
