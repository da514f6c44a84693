//! Puts the driver together and runs it.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use coffer_runtime::{Admin, Metrics, Readiness, Shutdown};
use tokio::time::timeout;
use tonic::transport::Server;

use crate::{
    config::Config,
    csi::{
        IdentityService, NodeService, RegistrationService, Socket, proto::identity_server::IdentityServer,
        proto::node_server::NodeServer, registration_proto::registration_server::RegistrationServer,
    },
    events::PodEvents,
    fetch::Broker,
    metrics::NodeMetrics,
    mount::Kernel,
    publish::Publisher,
};

/// For how long requests that are under way may take after an end was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves the kubelet until an end is asked for.
///
/// Ready (`/readyz`) once the kubelet has taken the driver.
///
/// # Errors
/// When a socket, the admin port or the Kubernetes client cannot be had.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let registered = readiness.check("kubelet-registration");
    Admin::new(readiness, metrics.clone())
        .start(config.admin.admin_listen, &shutdown)
        .await
        .with_context(|| format!("--admin-listen {}: cannot be listened on", config.admin.admin_listen))?;
    let client = coffer_runtime::client().await?;
    let broker = Broker::new(&config.broker, config.ca_file.clone(), config.token_file.clone())?;
    let events = Arc::new(PodEvents::new(client, config.pod_name.clone()));
    let publisher = Publisher::new(Arc::new(Kernel::detect()), broker, events, NodeMetrics::new(&metrics));
    let node_name = config.node_name.clone().context("--node-name is missing")?;
    let node = NodeService::new(Arc::new(publisher), node_name, config.pods_dir());
    serve(&config, node, registered, &shutdown).await
}

async fn serve(
    config: &Config,
    node: NodeService,
    registered: coffer_runtime::Check,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut csi = Socket::open(config.csi_socket())?;
    let csi_server = Server::builder()
        .add_service(IdentityServer::new(IdentityService))
        .add_service(NodeServer::new(node))
        .serve_with_incoming_shutdown(
            csi.incoming().context("a fresh socket listens")?,
            shutdown.requested(),
        );
    // The kubelet calls back at once, so the driver's own socket comes first.
    let mut registration = Socket::open(config.registration_socket())?;
    let registration_server = Server::builder()
        .add_service(RegistrationServer::new(RegistrationService::new(config.csi_socket(), registered)))
        .serve_with_incoming_shutdown(
            registration.incoming().context("a fresh socket listens")?,
            shutdown.requested(),
        );
    tracing::info!(socket = %config.csi_socket().display(), "serving CSI");

    let served = async { tokio::try_join!(csi_server, registration_server) };
    tokio::pin!(served);
    tokio::select! {
        ended = &mut served => {
            ended?;
        }
        () = shutdown.requested() => {
            // Without its socket the kubelet asks for no more; what runs may finish.
            drop(registration);
            if timeout(DRAIN, served).await.is_err() {
                tracing::warn!(after = ?DRAIN, "requests were still under way at the drain's end");
            }
        }
    }
    Ok(())
}
