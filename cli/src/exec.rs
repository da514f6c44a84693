//! `kubectl coffer exec`: a command with credentials in its environment, and their values taken out of its output.

mod redact;
mod variables;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
};

use clap::Args;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    process::Command,
};

use crate::{
    Failure,
    asking::{self, Asking},
    cluster::Cluster,
    desk::Desk,
};
use redact::{Patterns, Redactor};

/// With which credentials, and what.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The Connections, by alias or name
    #[arg(required = true)]
    pub names: Vec<String>,
    /// How it is asked.
    #[command(flatten)]
    pub asking: Asking,
    /// Name the variables as the items are named, not ALIAS_ITEM
    #[arg(long)]
    pub item_names: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Runs the command; its exit code becomes this program's.
pub(crate) async fn run(
    desk: &mut Desk<'_>,
    cluster: &Cluster,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let wanted = arguments.names.iter().map(|name| asking::wanted(name, &[])).collect();
    let released = asking::ask(desk, cluster, &arguments.asking, wanted).await?;
    let environment = variables::of(&released, arguments.item_names)?;
    let values = released.iter().flat_map(|connection| connection.items.values().map(|value| value.expose()));
    let patterns = Patterns::of(values);
    let status =
        command(&arguments.command, environment, &patterns, tokio::io::stdout(), tokio::io::stderr()).await?;
    match status.code().or_else(|| status.signal().map(|signal| 128 + signal)) {
        Some(0) => Ok(()),
        code => {
            Err(Failure::Ended(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Failure::UNEXPECTED)))
        }
    }
}

async fn command(
    words: &[OsString],
    environment: BTreeMap<String, OsString>,
    patterns: &Patterns,
    out: impl AsyncWrite + Unpin,
    err: impl AsyncWrite + Unpin,
) -> Result<ExitStatus, Failure> {
    let Some((program, rest)) = words.split_first() else {
        return Err(Failure::Usage(String::from("there is no command after --")));
    };
    let started = Command::new(program)
        .args(rest)
        .envs(environment)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|error| {
        let text = format!("{} cannot be run: {error}", program.to_string_lossy());
        if error.kind() == std::io::ErrorKind::NotFound {
            Failure::NotFound(text)
        } else {
            Failure::Usage(text)
        }
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ends = async {
        let (waited, _, _) =
            tokio::join!(child.wait(), pass_on(stdout, out, patterns), pass_on(stderr, err, patterns));
        waited
    };
    tokio::pin!(ends);
    loop {
        tokio::select! {
            waited = &mut ends => {
                return waited.map_err(|error| Failure::Unexpected(format!("the command was lost: {error}")));
            }
            // The terminal sends it to the command, too: what happens then is the command's decision.
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

/// Passes a stream on, without the values.
async fn pass_on(from: Option<impl AsyncRead + Unpin>, mut to: impl AsyncWrite + Unpin, patterns: &Patterns) {
    let Some(mut from) = from else { return };
    let mut redactor = Redactor::new(patterns);
    let mut chunk = zeroize::Zeroizing::new(vec![0; 16 * 1024]);
    loop {
        let length = from.read(&mut chunk).await.unwrap_or_default();
        let shown = match length {
            0 => redactor.end(),
            _ => redactor.push(chunk.get(..length).unwrap_or_default()),
        };
        // Who closed the other end does not want to see it; the command goes on.
        let _ = to.write_all(&shown).await;
        let _ = to.flush().await;
        if length == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> (i32, String, String) {
        let words = ["sh", "-c", script].map(OsString::from);
        let environment = BTreeMap::from([("GITHUB_TOKEN".to_owned(), OsString::from("ghp_hunter2"))]);
        let patterns = Patterns::of([&b"ghp_hunter2"[..]]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = command(&words, environment, &patterns, &mut out, &mut err).await;
        let status = status.unwrap_or_else(|failure| panic!("{failure}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code().unwrap_or(-1), text(out), text(err))
    }

    /// C32, C38, T30: the command has the value, and what it prints of it is taken out.
    #[tokio::test]
    async fn a_command_has_the_values_and_does_not_show_them() {
        let script = "test ${#GITHUB_TOKEN} = 11 && echo got $GITHUB_TOKEN; echo -n ghp_hun; sleep 0.1; echo ter2; \
                      echo $GITHUB_TOKEN | base64 >&2; exit 3";
        let (code, out, err) = shell(script).await;
        assert_eq!((code, out.as_str()), (3, "got [redacted]\n[redacted]\n"));
        assert!(!err.contains("Z2hwX2h1bnRlcj"), "{err}");
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_told() {
        let patterns = Patterns::of([]);
        let words = [OsString::from("/nowhere/command")];
        let failure = command(&words, BTreeMap::new(), &patterns, Vec::new(), Vec::new()).await;
        assert_eq!(failure.map(drop).map_err(|failure| failure.exit_code()), Err(Failure::NOT_FOUND));
    }
}
