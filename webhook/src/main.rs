//! `coffer-webhook`: see the library.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = coffer_webhook::Args::parse();
    let shutdown = coffer_runtime::start("coffer-webhook")?;
    coffer_webhook::run(args, shutdown).await
}
