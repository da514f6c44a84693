//! `coffer-mutants [WORD]`: tries the mutants whose door or file contains the word, or all.
#![allow(clippy::print_stderr, reason = "what a command line tells of its progress goes to standard error")]

use anyhow::{Result, bail};
use coffer_mutants::{LIST, parse, run};
use std::{env, path::Path};

fn main() -> Result<()> {
    let only = env::args().nth(1).unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let survived = run::run(root, &parse(LIST)?, &only, |line| eprintln!("==> {line}"))?;
    if survived.is_empty() {
        return Ok(());
    }
    bail!("no test fails without the decision of: {}", survived.join("; "))
}
