//! `coffer-node`, the CSI driver.

use clap::Parser as _;
use coffer_node::{config::Config, driver};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let shutdown = coffer_runtime::start("coffer-node")?;
    driver::run(config, shutdown).await
}
