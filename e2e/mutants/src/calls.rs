//! Where the doors ask for decisions.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The doors: programs, and the one file of the command line that answers who can and why not.
const DOORS: [&str; 4] = ["webhook/src", "broker/src", "operator/src", "cli/src/decision.rs"];

/// The functions of `policy` that say yes or no. Those of one word count where a file takes them from `policy`.
const DECISIONS: [&str; 16] = [
    "writes::member",
    "writes::vault",
    "writes::connection",
    "writes::access_token",
    "writes::owner_for",
    "member_recorded",
    "member_resumed",
    "vault_recorded",
    "connection_recorded",
    "decide",
    "judge",
    "by_break_glass",
    "may_audit",
    "candidates",
    "access::admits",
    "admits",
];

/// A line that asks for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The file, from the checkout's root.
    pub file: String,
    /// The line, without what indents it.
    pub line: String,
}

/// Every line of the doors' own code that asks for a decision.
///
/// # Errors
/// If a file cannot be read.
pub fn all(root: &Path) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    for door in DOORS {
        for path in sources(&root.join(door))? {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            calls.extend(in_file(&text).map(|line| Call { file: file.clone(), line: line.to_owned() }));
        }
    }
    Ok(calls)
}

/// The lines of one file, its unit tests left out, that ask for a decision.
fn in_file(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let imports = imports(code);
    let imported = |name: &str| imports.split(|c: char| !is_word(c)).any(|word| word == name);
    let asked: Vec<String> = DECISIONS
        .into_iter()
        .filter(|decision| decision.contains("::") || imported(decision))
        .map(|decision| format!("{decision}("))
        .collect();
    let asks = move |line: &str| asked.iter().any(|call| calls(line, call));
    code.lines().map(str::trim).filter(|line| !line.starts_with("//")).filter(move |line| asks(line))
}

/// Whether `call` begins a word in the line, and is no definition or method of that name.
fn calls(line: &str, call: &str) -> bool {
    line.match_indices(call).any(|(at, _)| {
        let before = &line[..at];
        let begins = !before.ends_with(|c: char| is_word(c) || c == '.' || c == ':');
        begins && !before.ends_with("fn ")
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What a file takes from `policy`.
fn imports(code: &str) -> String {
    let uses = code.split("use coffer_policy::").skip(1);
    uses.filter_map(|rest| rest.split(';').next()).collect::<Vec<_>>().join(" ")
}

/// The files of the doors' own code: a module `tests`, and what stands only for tests, is none.
fn sources(path: &Path) -> Result<Vec<PathBuf>> {
    const FOR_TESTS: [&str; 5] = ["tests", "fixtures", "world", "properties", "model"];
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("look into {}", path.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if FOR_TESTS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<&str> {
        in_file(code).collect()
    }

    #[test]
    fn calls_are_found_and_definitions_methods_comments_and_tests_are_not() {
        let code = "use coffer_policy::{\n    release::{judge, decide},\n    access,\n};\n\
                    // judge(a)\nfn judge(b) {\n    judge(c)?;\n    self.judge(d);\n    other::decide(e);\n    \
                    prejudge(f);\n    writes::member(g)\n}\naccess::admits(h);\n#[cfg(test)]\nmod tests { judge(i); }\n";
        assert_eq!(found(code), ["judge(c)?;", "writes::member(g)", "access::admits(h);"]);
        assert!(found("use crate::judge;\njudge(a);\n").is_empty(), "another function of that name");
    }
}
