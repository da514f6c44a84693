//! The papers say what is so: every condition and reason has its entry, every test that is named exists.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use coffer_crds::conditions::{self, Documented};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn paper(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The cells of every row of every table, but headings and rules.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines: Vec<_> = page.lines().collect();
    let is_rule = |line: &str| line.starts_with("| ---");
    lines
        .iter()
        .enumerate()
        .filter(|(at, line)| {
            line.starts_with("| ") && !is_rule(line) && !lines.get(at + 1).is_some_and(|next| is_rule(next))
        })
        .map(|(_, line)| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_operations_guide_has_an_entry_for_every_condition_and_reason() {
    let guide = paper("guides/operations.md");
    let (_, guide) = guide.split_once("## Troubleshooting by condition and reason").unwrap();
    let rows = rows(guide);
    for Documented { name, .. } in conditions::reason::ALL {
        let entry = rows.iter().find(|row| row.first().is_some_and(|cell| *cell == format!("`{name}`")));
        let advice = entry.unwrap_or_else(|| panic!("docs/guides/operations.md has no entry for {name}"));
        assert!(advice.len() == 2 && !advice[1].is_empty(), "{name}: {advice:?}");
    }
    for Documented { name, .. } in conditions::TYPES {
        assert!(guide.contains(&format!("`{name}`")), "docs/guides/operations.md does not name {name}");
    }
    for row in &rows {
        let known = conditions::reason::ALL.iter().any(|reason| format!("`{}`", reason.name) == row[0]);
        assert!(known, "docs/guides/operations.md explains {}, which no object says", row[0]);
    }
}

/// Every `.rs` file of a program's own code.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_code =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs");
    files.into_iter().filter(is_code).chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// A family without a series is not in a scrape, and so would not be in the reference either.
#[test]
fn every_metric_that_a_program_registers_is_in_the_reference() {
    let reference = paper("reference/metrics.md");
    let mut count = 0;
    for program in ["operator", "webhook", "broker", "node"] {
        for file in sources(&root().join(program).join("src")) {
            let code = fs::read_to_string(&file).unwrap();
            for after in code.split("metrics.register(").skip(1) {
                let Some(name) = after.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                else {
                    continue;
                };
                let known =
                    ["", "_total"].iter().any(|end| reference.contains(&format!("`coffer_{name}{end}`")));
                assert!(known, "coffer_{name} of {} is not in docs/reference/metrics.md", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 15, "only {count} were found");
}

#[test]
fn every_theft_in_the_threat_model_has_a_test_that_exists_or_is_called_trusted() {
    let page = paper("threat-model.md");
    let (_, after) = page.split_once("## What a thief can open").unwrap();
    let (tables, _) = after.split_once("\n## ").unwrap();
    let rows = rows(tables);
    assert!(rows.len() > 15, "only {} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), 4, "{row:?}");
        if row[3] == "trusted" {
            continue;
        }
        for named in row[3].split(", ") {
            let named = named.trim_matches('`');
            let (file, test) = named.split_once("::").unwrap_or_else(|| panic!("no test: {named}"));
            let code =
                fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let there = code.contains(&format!("fn {test}(")) || code.contains(&format!("func {test}("));
            assert!(there, "docs/threat-model.md names {named}, which does not exist");
        }
    }
}
