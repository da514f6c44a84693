//! T32: the decisions of `policy` as the doors ask for them, and what becomes of the tests without each.
//!
//! [`LIST`] names every line of a door that asks for a decision, and what to put in its place so that everything is
//! allowed. [`run`] tries each in a copy of the checkout; [`calls`] finds the lines, so that a test can prove that the list
//! is whole.

pub mod calls;
pub mod run;

use anyhow::{Context, Result, bail};
use std::{fs, path::Path};

/// The committed list.
pub const LIST: &str = include_str!("../doors.txt");

/// One line of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In words, what is decided where.
    pub door: String,
    /// The file, from the checkout's root.
    pub file: String,
    /// The whole line, without what indents it. There is one like it in the file.
    pub find: String,
    /// What is to come of it.
    pub then: Then,
}

/// What is to come of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// With this in its place a test of the door's package fails.
    Fails(String),
    /// Nothing: it asks, but nothing depends on the answer that another line does not ask for. Why that is so.
    Exempt(String),
}

impl Entry {
    /// The folder of the program whose tests are to fail.
    pub fn folder(&self) -> &str {
        self.file.split('/').next().unwrap_or_default()
    }

    /// The file's text with the line replaced.
    ///
    /// # Errors
    /// If there is not exactly one such line.
    pub fn apply(&self, text: &str, with: &str) -> Result<String> {
        let mut hits = 0;
        let lines = text.lines().map(|line| {
            if line.trim() != self.find {
                return line.to_owned();
            }
            hits += 1;
            let indent = &line[..line.len() - line.trim_start().len()];
            format!("{indent}{with}")
        });
        let new: Vec<String> = lines.collect();
        if hits != 1 {
            bail!("{}: {hits} lines are `{}`; there must be one", self.file, self.find);
        }
        Ok(new.join("\n") + "\n")
    }
}

/// Reads a list.
///
/// # Errors
/// With the block that is not one.
pub fn parse(list: &str) -> Result<Vec<Entry>> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()).map(entry).collect()
}

fn entry(block: &str) -> Result<Entry> {
    let field = |name: &str| {
        let mut lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let found = lines.next().map(|rest| rest.trim().to_owned());
        if lines.next().is_some() { None } else { found }
    };
    let needed = |name: &str| field(name).with_context(|| format!("one `{name}:` is needed in:\n{block}"));
    let then = match (field("with"), field("because")) {
        (Some(with), None) => Then::Fails(with),
        (None, Some(because)) => Then::Exempt(because),
        (Some(_), Some(_)) | (None, None) => bail!("either `with:` or `because:` is needed in:\n{block}"),
    };
    Ok(Entry { door: needed("door")?, file: needed("file")?, find: needed("find")?, then })
}

/// Reads a file of the checkout.
///
/// # Errors
/// If it cannot be read.
pub fn read(root: &Path, file: &str) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))
}
