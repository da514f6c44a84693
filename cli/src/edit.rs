//! `kubectl coffer edit`: settings, labels and annotations of a Connection, in an editor.

mod draft;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use coffer_crds::Connection;
use serde_json::Value;

use crate::{
    Failure,
    cluster::Cluster,
    desk::Desk,
    home::{unreadable, write_private},
    output::{self, Format},
    random_name,
    set::in_effect,
    wait::Waiting,
};

/// Which Connection.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connection
    pub name: String,
    /// Do not ask whether what was written is meant
    #[arg(short, long)]
    pub yes: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Opens an editor, shows what would change, and changes it.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let before: Connection = cluster.get(&arguments.name).await?;
    let document = draft::document(&before);
    let shown = draft::text(&document)?;
    let file = Draft::new(&shown)?;
    let done = change(desk, cluster, arguments, (&before, &document), (&shown, &file.path)).await;
    done.map_err(|failure| file.keep(&shown, failure))
}

async fn change(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
    (before, document): (&Connection, &Value),
    (shown, file): (&str, &Path),
) -> Result<(), Failure> {
    let name = &arguments.name;
    desk.person.edit(file).map_err(|error| Failure::Usage(format!("the editor failed: {error}")))?;
    let written = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let unchanged = format!("Connection '{name}': nothing was edited, nothing is changed.");
    if written == *shown {
        return desk.say(&unchanged);
    }
    let changes = draft::changes(document, &draft::read(&written)?)?;
    if changes.is_empty() {
        return desk.say(&unchanged);
    }
    for change in &changes {
        desk.note(&format!("  {}", change.line()));
    }
    desk.confirm(&format!("Change connection '{name}' so?"), arguments.yes)?;
    let written: Connection = cluster.change_with(before, &draft::patch(&changes)).await?;
    let format = desk.options.output;
    if let Format::Json | Format::Yaml | Format::Name = format {
        output::object(format, &written, desk.answer)?;
    } else {
        let mark = desk.mark();
        desk.say(&format!("Connection '{name}' is changed{mark}."))?;
    }
    in_effect(desk, cluster, arguments.waiting, &written).await
}

/// A text in a file of its own while it is edited.
struct Draft {
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    fn new(text: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("coffer-edit-{}.yaml", random_name()));
        write_private(&path, text.as_bytes())?;
        Ok(Self { path, is_kept: false })
    }

    /// What somebody wrote outlives the failure, which says where it is.
    fn keep(mut self, shown: &str, failure: Failure) -> Failure {
        if fs::read_to_string(&self.path).is_ok_and(|written| written == shown) {
            return failure;
        }
        self.is_kept = true;
        failure.with(&format!("What you wrote is kept in {}", self.path.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
