//! `coffer-node`, the CSI driver.

use anyhow::Context as _;
use clap::Parser as _;
use coffer_node::{
    config::{Cli, Command},
    driver,
    verify::verify,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Verify(args)) = cli.command {
        return Ok(verify(&args.file, &args.text)?);
    }
    let config = cli.serve.context("read the command line: it has neither a command nor --node-name")?;
    let shutdown = coffer_runtime::start("coffer-node")?;
    driver::run(config, shutdown).await
}
