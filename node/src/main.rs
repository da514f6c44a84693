//! `coffer-node`, the CSI driver.

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
    let shutdown = coffer_runtime::start("coffer-node")?;
    driver::run(cli.serve, shutdown).await
}
