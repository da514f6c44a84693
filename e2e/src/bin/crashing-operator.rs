//! The operator, killed before or after one of its writes: what the tests of crash points run. It is the real one but
//! for its way to the API server, which counts what changes something.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use clap::Parser;
use coffer_operator::{Args, operate};
use coffer_runtime::{Metrics, Readiness, Shutdown};
use futures::future::BoxFuture;
use http::{Method, Request};
use kube::client::{Body, ClientBuilder};
use kube::config::{AuthInfo, Config, KubeConfigOptions};
use tower::{Service, layer::layer_fn};

/// What the process ends with when it comes to the point.
const KILLED: i32 = 77;

/// How to run it.
#[derive(Parser)]
struct Cli {
    /// Which write is its last, from 1; absent: none is
    #[arg(long)]
    die_at: Option<usize>,
    /// Die after that write is answered, not before it is sent
    #[arg(long)]
    after: bool,
    /// The token of the operator's ServiceAccount
    #[arg(long, env = "OPERATOR_TOKEN", hide_env_values = true)]
    token: String,
    #[command(flatten)]
    operate: Args,
}

/// Passes requests on until the point is reached.
#[derive(Clone)]
struct Deadly<S> {
    inner: S,
    writes: Arc<AtomicUsize>,
    die_at: Option<usize>,
    after: bool,
}

/// Whether a request changes what the protocol is about. Leases, events and reviews come and go as time passes.
fn counts(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let ours = path.starts_with("/apis/coffer.dev/") || path.contains("/rolebindings");
    ours && request.method() != Method::GET
}

impl<S> Service<Request<Body>> for Deadly<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let at = if counts(&request) { self.writes.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
        let last = self.die_at.is_some_and(|die_at| at >= die_at);
        if last && !self.after {
            std::process::exit(KILLED);
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if last {
                std::process::exit(KILLED);
            }
            answer
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut config = Config::from_kubeconfig(&KubeConfigOptions::default()).await.context("KUBECONFIG")?;
    config.auth_info = AuthInfo { token: Some(cli.token.into()), ..AuthInfo::default() };
    let (writes, die_at, after) = (Arc::<AtomicUsize>::default(), cli.die_at, cli.after);
    let deadly = layer_fn(move |inner| Deadly { inner, writes: writes.clone(), die_at, after });
    let client = ClientBuilder::try_from(config)?.with_layer(&deadly).build();
    let (metrics, readiness, shutdown) = (Metrics::new(), Readiness::new(), Shutdown::new());
    operate(&cli.operate, client, &metrics, &readiness, &shutdown).await;
    Ok(())
}
