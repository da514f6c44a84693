//! `kubectl coffer completion`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Cli;

/// Prints the shell's script for the program under its own name; the shell does not see through `kubectl coffer`.
pub(crate) fn print(shell: Shell, mut answer: &mut dyn Write) {
    let mut command = Cli::command().bin_name("kubectl-coffer").name("kubectl-coffer");
    clap_complete::generate(shell, &mut command, "kubectl-coffer", &mut answer);
}
