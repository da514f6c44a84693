//! `kubectl coffer exec`: a command with credentials in its environment, and their values taken out of its output.

mod folder;
mod redact;
mod signals;
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
    process::{Child, Command},
};

use crate::{
    Failure,
    asking::{self, Asking},
    cluster::Cluster,
    desk::Desk,
};
use folder::Folder;
use redact::{Patterns, Redactor};
use signals::Signals;

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
    /// Give the values as files in memory, $COFFER_FILES/ALIAS/ITEM, and not as variables; they go with the command
    #[arg(long, conflicts_with = "item_names")]
    pub files: bool,
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
    // Before there is anything to clear away.
    let mut signals = Signals::of_this_process()?;
    let folder = if arguments.files { Some(Folder::of(&released)?) } else { None };
    let environment = match &folder {
        Some(folder) => BTreeMap::from([(folder::VARIABLE.to_owned(), folder.path().as_os_str().to_owned())]),
        None => variables::of(&released, arguments.item_names)?,
    };
    let values = released.iter().flat_map(|connection| connection.items.values().map(|value| value.expose()));
    let patterns = Patterns::of(values);
    let streams = (tokio::io::stdout(), tokio::io::stderr());
    let status = command(&arguments.command, environment, &patterns, streams, &mut signals).await;
    drop(folder);
    match code(status?) {
        0 => Ok(()),
        code => Err(Failure::Ended(code)),
    }
}

/// As shells have it: 128 and the signal's number for a command that a signal ended.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Failure::UNEXPECTED)
}

async fn command(
    words: &[OsString],
    environment: BTreeMap<String, OsString>,
    patterns: &Patterns,
    (out, err): (impl AsyncWrite + Unpin, impl AsyncWrite + Unpin),
    signals: &mut Signals,
) -> Result<ExitStatus, Failure> {
    let mut child = start(words, environment)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let shown = async { tokio::join!(pass_on(stdout, out, patterns), pass_on(stderr, err, patterns)) };
    tokio::pin!(shown);
    let (mut ended, mut is_shown) = (None, false);
    loop {
        if let (Some(status), true) = (ended, is_shown) {
            return Ok(status);
        }
        tokio::select! {
            waited = child.wait(), if ended.is_none() => {
                ended = Some(waited.map_err(|error| Failure::Unexpected(format!("the command was lost: {error}")))?);
            }
            _ = &mut shown, if !is_shown => is_shown = true,
            signal = signals.next() => match (child.id(), ended) {
                (Some(process), _) => signals::pass_on(signal, process),
                // Something that it left behind holds its output open: nobody has to wait for that.
                (None, Some(status)) => return Ok(status),
                (None, None) => {}
            },
        }
    }
}

fn start(words: &[OsString], environment: BTreeMap<String, OsString>) -> Result<Child, Failure> {
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
    started.map_err(|error| {
        let text = format!("{} cannot be run: {error}", program.to_string_lossy());
        if error.kind() == std::io::ErrorKind::NotFound {
            Failure::NotFound(text)
        } else {
            Failure::Usage(text)
        }
    })
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

    async fn shell(script: &str) -> (u8, String, String) {
        let words = ["sh", "-c", script].map(OsString::from);
        let environment = BTreeMap::from([("GITHUB_TOKEN".to_owned(), OsString::from("ghp_hunter2"))]);
        let patterns = Patterns::of([&b"ghp_hunter2"[..]]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (_sender, mut signals) = Signals::by_hand();
        let status = command(&words, environment, &patterns, (&mut out, &mut err), &mut signals).await;
        let status = status.unwrap_or_else(|failure| panic!("{failure}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (code(status), text(out), text(err))
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
        let (_sender, mut signals) = Signals::by_hand();
        let streams = (Vec::new(), Vec::new());
        let failure = command(&words, BTreeMap::new(), &patterns, streams, &mut signals).await;
        assert_eq!(failure.map(drop).map_err(|failure| failure.exit_code()), Err(Failure::NOT_FOUND));
    }

    /// Runs a script that says `ready`, sends it a signal then, and gives its exit code.
    async fn signalled(script: &str, signal: rustix::process::Signal) -> u8 {
        let words = ["sh", "-c", script].map(OsString::from);
        let patterns = Patterns::of([]);
        let (sender, mut signals) = Signals::by_hand();
        let (out, mut shown) = tokio::io::duplex(64);
        let runs = command(&words, BTreeMap::new(), &patterns, (out, Vec::new()), &mut signals);
        let sends = async {
            let mut word = [0; 6];
            let read = shown.read_exact(&mut word).await;
            assert!(read.is_ok() && word == *b"ready\n");
            assert!(sender.send(signal).is_ok());
        };
        let (status, ()) = tokio::join!(runs, sends);
        code(status.unwrap_or_else(|failure| panic!("{failure}")))
    }

    #[tokio::test]
    async fn a_signal_is_the_commands_to_answer_and_its_end_becomes_this_programs() {
        use rustix::process::Signal;
        let waits = "echo ready; exec tail -f /dev/null";
        assert_eq!(signalled(waits, Signal::TERM).await, 128 + 15);
        // Not HUP: below nohup(1) the command would not hear it either.
        assert_eq!(signalled(waits, Signal::USR1).await, 128 + 10);
        // A shell looks at its traps between two commands.
        let traps = "trap 'exit 7' TERM; echo ready; while :; do :; done";
        assert_eq!(signalled(traps, Signal::TERM).await, 7);
    }

    /// Whoever is left behind by the command and holds its output open cannot keep this program from ending.
    #[tokio::test]
    async fn a_signal_after_the_command_has_ended_ends_the_waiting() {
        let leaves = "tail -f /dev/null & echo $!; exit 4";
        let words = ["sh", "-c", leaves].map(OsString::from);
        let patterns = Patterns::of([]);
        let (sender, mut signals) = Signals::by_hand();
        let (out, shown) = tokio::io::duplex(64);
        let patterns = &patterns;
        let runs = async move {
            let status = command(&words, BTreeMap::new(), patterns, (out, Vec::new()), &mut signals).await;
            drop(signals);
            status
        };
        let reads = async {
            let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(shown));
            let line = lines.next_line().await.ok().flatten().unwrap_or_default();
            // One that comes before the end is the shell's, which ends by it or has ended.
            while sender.send(rustix::process::Signal::TERM).is_ok() {
                tokio::task::yield_now().await;
            }
            line
        };
        let (status, left) = tokio::join!(runs, reads);
        let left = left.parse().ok().and_then(rustix::process::Pid::from_raw);
        let killed = left.map(|left| rustix::process::kill_process(left, rustix::process::Signal::KILL));
        assert_eq!(killed, Some(Ok(())), "it was still there");
        assert!(status.is_ok());
    }
}
