//! Coffer's story, told step by step by the real thing; false at any step = it fails.
#![allow(clippy::print_stdout, reason = "the story is what this program prints")]

mod stage;
mod story;

use crate::progress::note;
use anyhow::Result;
use clap::ValueEnum;
use stage::Stage;

/// Which cluster, and what is different there.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// `own` brings up the one-node cluster; `existing` uses the current KUBECONFIG and builds none.
    #[arg(long, value_enum, default_value = "own")]
    cluster: Choice,
    /// An image with a shell that an existing cluster's nodes can pull, instead of coffer.dev/shell:dev.
    #[arg(long, env = "SHELL_IMAGE")]
    shell_image: Option<String>,
    /// More arguments for `helm install` on an existing cluster, such as `--set image.registry=…`.
    #[arg(long, env = "HELM_ARGS", default_value = "")]
    helm_args: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    Own,
    Existing,
}

/// Set the stage and tell the story.
///
/// # Errors
/// If a step fails or a statement of the story is not true.
pub async fn run(demo: &Demo) -> Result<()> {
    let stage = match demo.cluster {
        Choice::Own => Stage::own().await?,
        Choice::Existing => Stage::existing(demo.shell_image.as_deref(), &demo.helm_args).await?,
    };
    note("everything is in place; here is the story");
    story::tell(&stage).await?;
    println!("\n{}", stage.how_to_go_on());
    Ok(())
}
