//! `coffer-broker`: see the library.

use clap::Parser as _;
use coffer_broker::{
    args::{Cli, Command},
    serve,
};
use std::{process::ExitCode, time::Duration};

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Audit(args)) => serve::print_audit(&args),
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let served = runtime.block_on(serve::serve(cli.serve));
            // A disk that hangs must not keep the process from ending.
            runtime.shutdown_timeout(Duration::from_secs(1));
            served?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
