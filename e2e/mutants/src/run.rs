//! Tries the list: in a copy of the checkout, one line at a time.

use crate::{Entry, Then, read};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A copy of the checkout, with a build folder of its own.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

/// Tries every entry whose door or file contains `only`, and gives the doors whose tests did not notice.
///
/// # Errors
/// If the copy cannot be made, the tests fail without a mutant, or a mutant does not compile: that would prove nothing.
pub fn run(root: &Path, entries: &[Entry], only: &str, tell: impl Fn(&str)) -> Result<Vec<String>> {
    let chosen = entries.iter().filter(|entry| entry.door.contains(only) || entry.file.contains(only));
    let chosen: Vec<(&Entry, &str)> = chosen
        .filter_map(|entry| match &entry.then {
            Then::Fails(with) => Some((entry, with.as_str())),
            Then::Exempt(_) => None,
        })
        .collect();
    let copy = Copy::of(root)?;
    let packages: BTreeSet<String> = chosen.iter().map(|(entry, _)| entry.package()).collect();
    for package in &packages {
        tell(&format!("{package}: its tests, as they are"));
        if !copy.cargo(package, &[])? {
            bail!("the tests of {package} fail without any mutant");
        }
    }
    let mut survived = Vec::new();
    for (entry, with) in chosen {
        let text = read(&copy.tree, &entry.file)?;
        let file = copy.tree.join(&entry.file);
        fs::write(&file, entry.apply(&text, with)?).with_context(|| format!("write {}", file.display()))?;
        let compiles = copy.cargo(&entry.package(), &["--no-run"]);
        let passes = compiles.and_then(|compiles| {
            if !compiles {
                bail!("without its decision, {} does not compile", entry.door);
            }
            copy.cargo(&entry.package(), &[])
        });
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let passes = passes?;
        tell(&format!("{}: {}", entry.door, if passes { "NOT NOTICED" } else { "noticed" }));
        if passes {
            survived.push(entry.door.clone());
        }
    }
    Ok(survived)
}

impl Copy {
    /// What is in the checkout and not ignored. Files that are as they were keep their times, and so their builds.
    fn of(root: &Path) -> Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let tree = target.join("mutants");
        let output = Command::new("git")
            .current_dir(root)
            .args(["ls-files", "-co", "--exclude-standard", "-z"])
            .output()
            .context("list the checkout's files")?;
        let list = String::from_utf8(output.stdout).context("file names in UTF-8")?;
        for file in list.split('\0').filter(|file| !file.is_empty()) {
            let (from, to) = (root.join(file), tree.join(file));
            // A deleted file is listed until that is committed.
            let Ok(bytes) = fs::read(&from) else { continue };
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            let folder = to.parent().unwrap_or(&tree);
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            fs::write(&to, bytes).with_context(|| format!("write {}", to.display()))?;
        }
        Ok(Self { tree, target })
    }

    /// Whether `cargo test` of a package succeeds.
    fn cargo(&self, package: &str, more: &[&str]) -> Result<bool> {
        let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .args(["test", "--quiet", "--locked", "--package", package])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("start cargo")?;
        Ok(status.success())
    }
}
