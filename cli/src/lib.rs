//! `kubectl coffer`: what people do with vaults, from a terminal.
//!
//! One file for each verb; [`command`] says what can be typed, [`cluster`] how the API server is reached,
//! [`output`] how an answer is printed, [`failure`] what goes wrong and which exit code tells it. [`desk`] is what a
//! verb works with, [`home`] what lies on this machine, [`pins`] which vaults are believed. Who may do what is decided
//! in `coffer-policy` alone; [`decision`] asks it.

mod accept;
mod asking;
mod backup;
mod cluster;
mod command;
mod completion;
mod decision;
mod delete;
mod describe;
mod desk;
mod doctor;
mod edit;
mod exec;
mod facts;
mod failure;
mod get;
mod history;
mod home;
mod init;
mod invite;
mod invites;
mod key;
mod list;
mod local_key;
mod members;
mod memberships;
mod output;
mod pages;
pub mod parsers;
mod pins;
mod recover;
mod reseal;
mod restore;
mod rotate;
mod seal;
mod seal_key;
mod sealing;
mod set;
mod settings;
mod share;
mod subject;
mod transfer;
mod trust;
mod values;
mod vaults;
mod version;
mod wait;
mod who_can;
mod whoami;
mod why_not;

#[cfg(test)]
mod tests;

pub use command::Cli;
pub use failure::Failure;
pub use pages::reference;

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::Parser;

use crate::{
    desk::{Desk, Terminal},
    home::Home,
};

/// Parses the arguments, does what they say, prints the answer to stdout and a failure to stderr.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            return ExitCode::from(if printed.is_ok() { code_of(&error) } else { Failure::UNEXPECTED });
        }
    };
    let Cli { options, verb } = cli;
    let mut answer = Vec::new();
    let mut desk = Desk {
        options,
        home: Home::of_environment(),
        person: &mut Terminal,
        answer: &mut answer,
        // Progress is of use while something is done.
        notes: &mut std::io::stderr(),
    };
    let outcome = command::execute(verb, &mut desk).await;
    // A closed pipe (`| head`) is the reader's decision, not a failure.
    let _ = std::io::stdout().write_all(&answer);
    ExitCode::from(finish(outcome, &mut std::io::stderr()))
}

/// Help and version are no failures; clap knows which is which.
fn code_of(error: &clap::Error) -> u8 {
    if error.use_stderr() { Failure::USAGE } else { 0 }
}

/// Says what is left to say, and gives the exit code.
fn finish(outcome: Result<(), Failure>, to: &mut dyn Write) -> u8 {
    match outcome {
        Ok(()) => 0,
        // The command has said itself what there was to say.
        Err(Failure::Ended(code)) => code,
        Err(failure) => {
            let _ = writeln!(to, "error: {}", output::harmless(failure.to_string().as_bytes()));
            failure.exit_code()
        }
    }
}

/// The system's randomness.
fn random() -> impl rand_core::CryptoRng {
    getrandom::rand_core::UnwrapErr(getrandom::SysRng)
}

/// 128 random bits, as part of a file's name.
fn random_name() -> String {
    let mut bytes = [0; 16];
    rand_core::Rng::fill_bytes(&mut random(), &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
