//! The first call of every `main`.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::Shutdown;

/// Forbids core dumps, installs ring as the process's crypto provider, JSON logs on standard error (level by
/// `RUST_LOG`, default `info`) and the handlers of SIGTERM and SIGINT. Call it once, first, inside the tokio runtime.
///
/// A second SIGTERM or SIGINT ends the process at once, for a drain that hangs.
///
/// # Errors
/// When the kernel refuses a signal handler, or to forbid core dumps.
pub fn start(program: &'static str) -> io::Result<Shutdown> {
    forbid_core_dumps()?;
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

/// Keys and credentials are in this memory. The limit keeps it out of core files; being undumpable also keeps it from
/// a core handler that the kernel pipes to, which knows no limit, and from other processes of the same user.
fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    /// C27: plaintext is never on disk, not even when a server crashes.
    #[test]
    fn a_server_s_memory_is_never_dumped() {
        forbid_core_dumps().expect("any process may lower its own limits");
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
