//! Figures beside their goals, measured side by side in one run.
//!
//! | room | measures |
//! | --- | --- |
//! | [`images`] | what an image weighs |
//! | [`pods`] | what files cost a pod's start, and the node driver's memory |
//! | [`admission`] | the webhook under load |
//! | [`release`] | the broker under load |
//! | [`connections`] | the operator: many Connections, one more, a restart |
//! | [`rotation`] | a removal: denial everywhere, new keys for everything |
//! | [`figure`], [`table`] | a figure with its goal, and how it is shown |
//! | [`load`], [`memory`], [`scrape`], [`restart`], [`watch`], [`statistics`], [`machine`] | the instruments |
//!
//! A missed goal is marked, not failed: a busy machine is no defect.

pub mod admission;
pub mod connections;
pub mod figure;
pub mod images;
pub mod load;
pub mod machine;
pub mod memory;
pub mod pods;
pub mod release;
pub mod restart;
pub mod rotation;
pub mod scrape;
pub mod statistics;
pub mod table;
pub mod watch;

use crate::cluster::Cluster;
use crate::install;
use crate::layout::write_file;
use crate::progress::{note, step};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use figure::Figure;
use machine::Machine;
use std::path::PathBuf;
use std::time::Duration;

/// What is measured, and how much of it.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// Measure only these parts; all if none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Few and small, to see that everything works: the figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Put the table between the marks of this page, too.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only"])]
    write: Option<PathBuf>,
}

/// One part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Sizes of the images.
    Images,
    /// Start of pods, memory of the node driver.
    Pods,
    /// The webhook.
    Admission,
    /// The broker.
    Release,
    /// A removal.
    Rotation,
    /// The operator.
    Connections,
}

impl Part {
    /// The heaviest last, so that it does not colour the others.
    const ALL: [Self; 6] =
        [Self::Images, Self::Pods, Self::Admission, Self::Release, Self::Rotation, Self::Connections];

    async fn measure(self, cluster: &Cluster, sizes: &Sizes) -> Result<Vec<Figure>> {
        match self {
            Self::Images => images::measure(cluster).await,
            Self::Pods => pods::measure(cluster, sizes).await,
            Self::Admission => admission::measure(cluster, sizes).await,
            Self::Release => release::measure(cluster, sizes).await,
            Self::Rotation => rotation::measure(cluster, sizes).await,
            Self::Connections => connections::measure(cluster, sizes).await,
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Pods of each sort that are started one after the other.
    pub pods: usize,
    /// Pods that are started at once.
    pub burst: usize,
    /// Injected pods while the node driver's memory is read.
    pub resident: usize,
    /// How long a server is loaded.
    pub load: Duration,
    /// Connections of the smaller and of the larger installation.
    pub connections: [usize; 2],
    /// Connections that are applied one by one to the larger.
    pub singles: usize,
    /// Unrelated Secrets of 100 KB.
    pub secrets: usize,
    /// Members of the vault that one is removed from.
    pub members: usize,
    /// Members that are removed one by one before.
    pub removals: usize,
}

impl Sizes {
    const FULL: Self = Self {
        pods: 30,
        burst: 50,
        resident: 40,
        load: Duration::from_secs(10),
        connections: [1_000, 10_000],
        singles: 100,
        secrets: 2_000,
        members: 100,
        removals: 20,
    };
    const QUICK: Self = Self {
        pods: 2,
        burst: 4,
        resident: 2,
        load: Duration::from_secs(2),
        connections: [30, 100],
        singles: 5,
        secrets: 10,
        members: 6,
        removals: 2,
    };
}

/// Measure and print. A part that cannot be measured does not keep the others from it.
///
/// # Errors
/// If the cluster fails, or any part.
pub async fn run(bench: &Bench) -> Result<()> {
    let cluster = install::installed().await?;
    let machine = Machine::this()?;
    let sizes = if bench.quick { Sizes::QUICK } else { Sizes::FULL };
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for part in Part::ALL {
        if !bench.only.is_empty() && !bench.only.contains(&part) {
            continue;
        }
        match step(&format!("measuring: {part:?}"), part.measure(&cluster, &sizes)).await {
            Ok(found) => {
                table::print(&found);
                figures.extend(found);
            }
            Err(error) => failed.push(format!("{part:?}: {error:#}")),
        }
    }
    table::whole(&machine, &figures);
    let json = cluster.layout().checkout().join("target").join("bench.json");
    write_file(&json, table::json(&machine, &figures, bench.quick)?)?;
    note(format!("also in {}", json.display()));
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join("\n"));
    }
    if let Some(page) = &bench.write {
        table::write_into(page, &machine, &figures)?;
    }
    Ok(())
}
