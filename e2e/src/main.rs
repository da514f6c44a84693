//! `coffer-e2e`: the cluster for demonstrations and tests, from the command line.

use clap::Parser;
use e2e::commands::Arguments;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            e2e::progress::note(format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
