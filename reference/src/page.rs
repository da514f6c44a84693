//! The page, from what a scrape of each program says.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const OPENING: &str = "\
<!-- Generated from the programs' registries by `make generate`; do not edit. -->
# Metrics reference

Every program answers `/metrics` on its admin port (8080, plain HTTP, OpenMetrics text); `networkPolicy.metricsFrom` of the
chart says who may ask. Names and labels are an interface: a change is in the changelog. Labels have small, fixed sets of
values, and none is chosen by a caller. A histogram `x` is scraped as `x_bucket`, `x_sum` and `x_count`.
";

/// One metric as it is scraped.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    name: String,
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The page for these programs and their scrapes.
///
/// # Errors
/// If a metric of a scrape has no series, which would hide its labels.
pub(crate) fn page(scrapes: &[(&str, String)]) -> Result<String> {
    let mut page = OPENING.to_owned();
    for (program, text) in scrapes {
        let _ = write!(
            page,
            "\n## {program}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
        );
        for metric in described(text)? {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                metric.name,
                metric.kind,
                labels.join(", "),
                metric.help.trim_end_matches('.')
            );
        }
    }
    Ok(page)
}

/// The metrics of a scrape, sorted by name.
fn described(scrape: &str) -> Result<Vec<Described>> {
    let mut found: Vec<Described> = Vec::new();
    let mut seen = BTreeSet::new();
    for line in scrape.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.push(Described {
                name: name.into(),
                kind: String::new(),
                help: help.into(),
                labels: BTreeSet::new(),
            });
        } else if let (Some(kind), Some(last)) = (line.strip_prefix("# TYPE "), found.last_mut()) {
            last.kind = kind.rsplit(' ').next().unwrap_or_default().into();
        } else if let (false, Some(last)) = (line.starts_with('#'), found.last_mut()) {
            seen.insert(last.name.clone());
            last.labels.extend(labels(line).filter(|label| label != "le"));
        }
    }
    for metric in &mut found {
        ensure!(
            seen.contains(&metric.name),
            "{} has no series: name it in its program's `touch`",
            metric.name
        );
        if metric.kind == "counter" {
            metric.name.push_str("_total");
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The label names of one sample. Values here are words of our own, without quotes, commas or braces.
fn labels(sample: &str) -> impl Iterator<Item = String> {
    let inside =
        sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use coffer_runtime::Metrics;

    #[test]
    fn name_type_labels_and_help_are_those_of_the_scrape() {
        let scrape = "# HELP coffer_x_seconds Time.\n# TYPE coffer_x_seconds histogram\n\
                      coffer_x_seconds_bucket{le=\"1.0\",kind=\"a\"} 0\n# HELP coffer_a Things.\n# TYPE coffer_a counter\n\
                      coffer_a_total{door=\"d\",reason=\"r\"} 1\n# EOF\n";
        let page = page(&[("coffer-x", scrape.into())]).unwrap();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `coffer_a_total` | counter | `door`, `reason` | Things |",
                "| `coffer_x_seconds` | histogram | `kind` | Time |",
            ]
        );
    }

    #[test]
    fn a_family_without_a_series_is_told_by_name() {
        let error = described("# HELP coffer_x Things.\n# TYPE coffer_x counter\n# EOF\n").unwrap_err();
        assert!(error.to_string().starts_with("coffer_x has no series"), "{error}");
    }

    #[test]
    fn every_program_s_metrics_can_be_described() {
        for (program, describe) in crate::programs() {
            let metrics = Metrics::new();
            describe(&metrics);
            let found = described(&metrics.encode().unwrap()).unwrap();
            assert!(!found.is_empty(), "{program}");
            assert!(found.iter().all(|metric| metric.name.starts_with("coffer_")), "{found:?}");
        }
    }
}
