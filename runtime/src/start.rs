//! The first call of every `main`.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::Shutdown;

/// Installs ring as the process's crypto provider, JSON logs on standard error (level by `RUST_LOG`, default
/// `info`) and the handlers of SIGTERM and SIGINT. Call it once, first, inside the tokio runtime.
///
/// A second SIGTERM or SIGINT ends the process at once, for a drain that hangs.
///
/// # Errors
/// When the kernel refuses a signal handler.
pub fn start(program: &'static str) -> io::Result<Shutdown> {
    install_crypto_provider();
    // A second subscriber (a test that called start before) is kept as it is.
    let _ = tracing_subscriber::registry()
        .with(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with(fmt::layer().json().flatten_event(true).with_writer(io::stderr))
        .try_init();
    let shutdown = Shutdown::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            loop {
                let name = tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                };
                if shutdown.is_requested() {
                    tracing::warn!(signal = name, "asked twice to end: ending without draining");
                    std::process::exit(1);
                }
                tracing::info!(signal = name, "asked to end");
                shutdown.request();
            }
        }
    });
    tracing::info!(program, version = env!("CARGO_PKG_VERSION"), "starting");
    Ok(shutdown)
}

/// Installs ring as the process-wide rustls provider; nothing happens when one is installed already.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
