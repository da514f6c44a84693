//! The figures as people read them, and as programs do.
#![allow(clippy::print_stdout, reason = "the table is what this program prints")]

use super::figure::{Figure, Goal};
use super::machine::Machine;
use super::statistics::short;
use crate::layout::write_file;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::Path;

/// What stands before and after the table on the page.
const MARKS: [&str; 2] = ["<!-- figures: written by the bench -->\n", "<!-- end of figures -->"];

/// Print these.
pub fn print(figures: &[Figure]) {
    let width = figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or_default();
    for figure in figures {
        let goal = goal(figure);
        let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        println!(
            "{:<width$}  {:>14}  {goal:>14}  {ratio:>6}  {:<6}  {}",
            figure.what,
            measured(figure),
            verdict(figure),
            figure.note
        );
    }
}

/// Print all of them with what they were measured on.
pub fn whole(machine: &Machine, figures: &[Figure]) {
    println!("\n{}\n", machine.told());
    print(figures);
}

/// For programs.
///
/// # Errors
/// If a figure is no number.
pub fn json(machine: &Machine, figures: &[Figure], quick: bool) -> Result<String> {
    let all = json!({"machine": machine, "quick": quick, "figures": figures});
    serde_json::to_string_pretty(&all).context("write the figures as JSON")
}

/// Put the table where the page has its marks.
///
/// # Errors
/// If the page cannot be read or written, or has no marks.
pub fn write_into(page: &Path, machine: &Machine, figures: &[Figure]) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    write_file(page, replace(&text, &markdown(machine, figures))?)
}

fn replace(page: &str, table: &str) -> Result<String> {
    let Some((before, rest)) = page.split_once(MARKS[0]) else { bail!("the page has no line {}", MARKS[0]) };
    let Some((_, after)) = rest.split_once(MARKS[1]) else { bail!("the page has no line {}", MARKS[1]) };
    Ok([before, MARKS[0], table, MARKS[1], after].concat())
}

fn markdown(machine: &Machine, figures: &[Figure]) -> String {
    let mut text = format!("Measured on {}.\n\n", machine.told());
    text.push_str("| what | measured | goal | ratio | | others | how |\n");
    text.push_str("| --- | --: | --: | --: | --- | --- | --- |\n");
    for figure in figures {
        let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let cells = [
            figure.what.as_str(),
            &measured(figure),
            &goal(figure),
            &ratio,
            verdict(figure),
            figure.others.unwrap_or_default(),
            &figure.note,
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn measured(figure: &Figure) -> String {
    format!("{} {}", short(figure.measured), figure.unit)
}

fn goal(figure: &Figure) -> String {
    match figure.goal {
        None => String::new(),
        Some(Goal::AtMost(goal)) => format!("≤ {} {}", short(goal), figure.unit),
        Some(Goal::AtLeast(goal)) => format!("≥ {} {}", short(goal), figure.unit),
    }
}

fn verdict(figure: &Figure) -> &'static str {
    match figure.met() {
        None => "",
        Some(true) => "met",
        Some(false) => "missed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn the_page_keeps_everything_around_its_table() {
        let page = format!("# Title\n\n{}old\n{}\n\nMore.\n", MARKS[0], MARKS[1]);
        let written = replace(&page, "new\n").unwrap();
        assert_eq!(written, format!("# Title\n\n{}new\n{}\n\nMore.\n", MARKS[0], MARKS[1]));
        assert_eq!(replace(&written, "new\n").unwrap(), written);
        assert!(replace("# Title\n", "new\n").is_err());
    }

    #[test]
    fn a_row_tells_figure_goal_ratio_and_verdict() {
        let machine = Machine {
            processors: 2,
            model: "A".into(),
            memory_gb: 8,
            kernel: "6".into(),
            load: "0.1".into(),
        };
        let figure = Figure::new("webhook", 9000.0, "/s").at_least(8000.0).others("2,250/s").note("16|1");
        let table = markdown(&machine, &[figure]);
        let row = "| webhook | 9,000 /s | ≥ 8,000 /s | 1.12 | met | 2,250/s | 16\\|1 |";
        assert!(table.contains(row), "{table}");
    }
}
