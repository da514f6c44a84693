//! `kubectl coffer`: kubectl finds this program by its name.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Ring is the only provider of the workspace; a second install cannot happen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    coffer_cli::run(std::env::args_os()).await
}
