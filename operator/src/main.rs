//! `coffer-operator`: see the library.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = coffer_operator::Args::parse();
    let shutdown = coffer_runtime::start("coffer-operator")?;
    coffer_operator::run(args, shutdown).await
}
