//! Tries the list: in a copy of the checkout, one line at a time.

use crate::{Entry, Then, read};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Always built together: another selection would have other features of the libraries, and build them all anew.
const DOORS: [&str; 5] = ["webhook", "broker", "operator", "cli", "node"];

/// What is to be said of every mutant.
const NOTICED: &str = "noticed";

/// A copy of the checkout, with a build folder of its own.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

/// Tries every entry whose door or file contains `only`, and gives the doors whose tests did not notice. A mutant
/// that does not compile proves nothing, and is among them.
///
/// # Errors
/// If the copy cannot be made, or the tests fail without a mutant.
pub fn run(root: &Path, entries: &[Entry], only: &str, tell: impl Fn(&str)) -> Result<Vec<String>> {
    let chosen = entries.iter().filter(|entry| entry.door.contains(only) || entry.file.contains(only));
    let chosen: Vec<(&Entry, &str)> = chosen
        .filter_map(|entry| match &entry.then {
            Then::Fails(with) => Some((entry, with.as_str())),
            Then::Exempt(_) => None,
        })
        .collect();
    let copy = Copy::of(root)?;
    tell("the tests, as they are");
    let built = copy.build()?.context("the tests do not compile without any mutant")?;
    for door in chosen.iter().map(|(entry, _)| entry.folder()).collect::<BTreeSet<_>>() {
        if !copy.passes(door, &built)? {
            bail!("the tests of {door}/ fail without any mutant");
        }
    }
    let mut survived = Vec::new();
    for (entry, with) in chosen {
        let text = read(&copy.tree, &entry.file)?;
        let file = copy.tree.join(&entry.file);
        fs::write(&file, entry.apply(&text, with)?).with_context(|| format!("write {}", file.display()))?;
        let found = copy.outcome(entry.folder());
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let found = found?;
        tell(&format!("{}: {found}", entry.door));
        if found != NOTICED {
            survived.push(format!("{} ({found})", entry.door));
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
            // Scripts that tests start are to be programs here too.
            let permissions = fs::metadata(&from).with_context(|| format!("look at {file}"))?.permissions();
            fs::set_permissions(&to, permissions).with_context(|| format!("write {}", to.display()))?;
        }
        Ok(Self { tree, target })
    }

    /// Builds the doors' tests; `None` if they do not compile.
    fn build(&self) -> Result<Option<Vec<Test>>> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        cargo.args(["test", "--quiet", "--locked", "--no-run", "--message-format", "json"]);
        for door in DOORS {
            cargo.args(["--package", &format!("coffer-{door}")]);
        }
        let output = cargo.stderr(Stdio::null()).output().context("start cargo")?;
        if !output.status.success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(Some(said.lines().filter_map(Test::read).collect()))
    }

    /// What becomes of a door's tests.
    fn outcome(&self, door: &str) -> Result<&'static str> {
        Ok(match self.build()? {
            None => "does not compile",
            Some(built) if self.passes(door, &built)? => "NOT NOTICED",
            Some(_) => NOTICED,
        })
    }

    /// Whether all tests of a door pass.
    fn passes(&self, door: &str, built: &[Test]) -> Result<bool> {
        let folder = self.tree.join(door);
        let mut of_door = built.iter().filter(|test| test.folder == folder).peekable();
        if of_door.peek().is_none() {
            bail!("{door}/ has no tests");
        }
        // The model takes minutes, and is asked when nothing else has noticed.
        let (quick, slow) = (&["--skip", MODEL], &[MODEL]);
        let runs =
            of_door.clone().map(|test| (test, &quick[..])).chain(of_door.map(|test| (test, &slow[..])));
        for (test, which) in runs {
            let status = Command::new(&test.program)
                .current_dir(&folder)
                .env("CARGO_MANIFEST_DIR", &folder)
                .arg("--quiet")
                .args(which)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .with_context(|| format!("start {}", test.program.display()))?;
            if !status.success() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What tests of the operator's model are called.
const MODEL: &str = "model::";

/// A program that runs tests.
struct Test {
    /// Its package's.
    folder: PathBuf,
    program: PathBuf,
}

impl Test {
    /// What a message of cargo says of one, if it does.
    fn read(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let is_test = message.pointer("/profile/test")?.as_bool()?;
        let manifest = Path::new(message.get("manifest_path")?.as_str()?);
        let program = PathBuf::from(message.get("executable")?.as_str()?);
        is_test.then(|| Self { folder: manifest.parent().unwrap_or(manifest).to_path_buf(), program })
    }
}
