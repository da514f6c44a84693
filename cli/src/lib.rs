//! `kubectl coffer`: what people do with vaults, from a terminal.
//!
//! One file for each verb; [`command`] says what can be typed, [`cluster`] how the API server is reached,
//! [`output`] how an answer is printed, [`failure`] what goes wrong and which exit code tells it.

mod cluster;
mod command;
mod completion;
mod failure;
mod list;
mod members;
mod output;
mod vaults;
mod version;
mod whoami;

#[cfg(test)]
mod tests;

pub use command::Cli;
pub use failure::Failure;

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::Parser;

/// Parses the arguments, does what they say, prints the answer to stdout and a failure to stderr.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no failures; clap knows which stream and which code.
            let code = if error.use_stderr() { Failure::USAGE } else { 0 };
            return if error.print().is_ok() {
                ExitCode::from(code)
            } else {
                ExitCode::from(Failure::UNEXPECTED)
            };
        }
    };
    let mut answer = Vec::new();
    let mut notes = Vec::new();
    let outcome = command::execute(cli, &mut answer, &mut notes).await;
    // A closed pipe (`| head`) is the reader's decision, not a failure.
    let _ = std::io::stdout().write_all(&answer);
    let _ = std::io::stderr().write_all(&notes);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
