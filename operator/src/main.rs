//! `coffer-operator`: see the library.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser as _;
use coffer_operator::{Cli, Command, default_vault, uninstall};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::MayUninstall { to_keep }) => {
            coffer_runtime::start::install_crypto_provider();
            let client = coffer_runtime::client().await.context(uninstall::UNKNOWN)?;
            let injected = uninstall::injected(client).await.context(uninstall::UNKNOWN)?;
            let Some(refusal) = uninstall::refusal(&injected, &to_keep) else { return Ok(ExitCode::SUCCESS) };
            io::stdout().write_all(refusal.as_bytes())?;
            Ok(ExitCode::from(uninstall::REFUSED))
        }
        Some(Command::MakeVault { manifest, patience }) => {
            coffer_runtime::start::install_crypto_provider();
            let client = coffer_runtime::client().await?;
            let made = default_vault::make(client, &manifest, Duration::from_secs(patience)).await?;
            io::stdout().write_all(made.text(&manifest).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let shutdown = coffer_runtime::start("coffer-operator")?;
            coffer_operator::run(cli.operate, shutdown).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
