//! Stub to be written next.
use anyhow::Result;
/// Options.
#[derive(Debug, clap::Args)]
pub struct Demo {}
/// Run.
///
/// # Errors
/// none
pub async fn run(_demo: &Demo) -> Result<()> {
    Ok(())
}
