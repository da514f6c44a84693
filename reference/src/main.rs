//! Writes the generated pages of `docs/reference/`: `referencegen [<repository root>]`. `metrics.md` from what the
//! programs register, `cli.md` from the command line itself, `membership.md` from the table that decisions follow.

mod membership;
mod page;

use anyhow::{Context as _, Result};
use coffer_runtime::{Metrics, clock};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where the pages lie, from the repository's root.
const METRICS: &str = "docs/reference/metrics.md";
const COMMAND_LINE: &str = "docs/reference/cli.md";
const MEMBERSHIP: &str = "docs/reference/membership.md";

fn main() -> Result<()> {
    let root = env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut scrapes = Vec::new();
    for (program, describe) in programs() {
        let metrics = Metrics::new();
        describe(&metrics);
        let text = metrics.encode().with_context(|| format!("encode the metrics of {program}"))?;
        scrapes.push((program, text));
    }
    write(&root.join(METRICS), &page::page(&scrapes)?)?;
    write(&root.join(MEMBERSHIP), &membership::page())?;
    write(&root.join(COMMAND_LINE), &coffer_cli::reference())
}

fn write(file: &Path, page: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(file, page).with_context(|| format!("write {}", file.display()))
}

/// Registers all metrics of a program, with one series in every family.
type Describe = fn(&Metrics);

fn programs() -> [(&'static str, Describe); 4] {
    [
        ("coffer-operator", |metrics| {
            clock::register(metrics);
            coffer_operator::meters::Meters::new(metrics).touch();
        }),
        ("coffer-webhook", |metrics| {
            clock::register(metrics);
            coffer_webhook::metrics::Meters::register(metrics).touch();
        }),
        ("coffer-broker", |metrics| {
            clock::register(metrics);
            coffer_broker::metrics::BrokerMetrics::new(metrics).touch();
        }),
        ("coffer-node", |metrics| coffer_node::metrics::NodeMetrics::new(metrics).touch()),
    ]
}
