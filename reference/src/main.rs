//! Writes `docs/reference/metrics.md` from what the programs register: `metricsgen [<repository root>]`.

mod page;

use anyhow::{Context as _, Result};
use coffer_runtime::Metrics;
use std::path::PathBuf;
use std::{env, fs};

/// Where the page lies, from the repository's root.
const FILE: &str = "docs/reference/metrics.md";

fn main() -> Result<()> {
    let root = env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut scrapes = Vec::new();
    for (program, describe) in programs() {
        let metrics = Metrics::new();
        describe(&metrics);
        let text = metrics.encode().with_context(|| format!("encode the metrics of {program}"))?;
        scrapes.push((program, text));
    }
    let file = root.join(FILE);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(&file, page::page(&scrapes)?).with_context(|| format!("write {}", file.display()))
}

/// Each program, and what registers all of its metrics with one series in every family.
fn programs() -> [(&'static str, fn(&Metrics)); 4] {
    [
        ("coffer-operator", |metrics| coffer_operator::meters::Meters::new(metrics).touch()),
        ("coffer-webhook", |metrics| coffer_webhook::metrics::Meters::register(metrics).touch()),
        ("coffer-broker", |metrics| coffer_broker::metrics::BrokerMetrics::new(metrics).touch()),
        ("coffer-node", |metrics| coffer_node::metrics::NodeMetrics::new(metrics).touch()),
    ]
}
