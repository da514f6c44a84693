//! What can be typed.

use std::{io::Write, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{Failure, cluster::Cluster, completion, list, members, output::Format, vaults, version, whoami};

/// Shared credential vaults on Kubernetes.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl coffer",
    bin_name = "kubectl coffer",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 denied, 4 not found, 5 expired, 6 conflict, 7 unreachable"
)]
pub struct Cli {
    /// Where and how.
    #[command(flatten)]
    pub options: Options,
    /// What.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every verb.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Namespace of the vault; the context's own by default
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; the current one by default
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Path of the kubeconfig; $KUBECONFIG or ~/.kube/config by default
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// How the answer is printed
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List vaults, and whether they are ready
    Vaults(Everywhere),
    /// List credentials: who owns them, who may use them, never a value
    List(list::Arguments),
    /// The members of a vault
    Members {
        /// What to do with them.
        #[command(subcommand)]
        verb: members::Verb,
    },
    /// The identity that the API server sees
    Whoami,
    /// The version of this program and of the API it speaks
    Version,
    /// Print a completion script: `source <(kubectl coffer completion bash)`
    Completion {
        /// For which shell.
        shell: Shell,
    },
}

/// Whether to look beyond one namespace.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Everywhere {
    /// Look in all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// Does what was typed. Answers go to `answer`, remarks to `notes`.
///
/// # Errors
/// What went wrong, as the user should read it.
pub(crate) async fn execute(cli: Cli, answer: &mut dyn Write, notes: &mut dyn Write) -> Result<(), Failure> {
    let Cli { options, verb } = cli;
    match verb {
        Verb::Version => version::print(options.output, answer),
        Verb::Completion { shell } => {
            completion::print(shell, answer);
            Ok(())
        }
        Verb::Whoami => whoami::print(&Cluster::connect(&options).await?, options.output, answer).await,
        Verb::Vaults(everywhere) => {
            vaults::print(&Cluster::connect(&options).await?, everywhere, options.output, answer, notes).await
        }
        Verb::List(arguments) => {
            list::print(&Cluster::connect(&options).await?, &arguments, options.output, answer, notes).await
        }
        Verb::Members { verb: members::Verb::List(arguments) } => {
            members::print(&Cluster::connect(&options).await?, &arguments, options.output, answer, notes)
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_before_and_after_the_verb() {
        let before = Cli::try_parse_from(["kubectl-coffer", "-n", "team", "-o", "json", "vaults"]);
        let after = Cli::try_parse_from(["kubectl-coffer", "vaults", "-n", "team", "-o", "json"]);
        for parsed in [before, after] {
            let options = parsed.expect("both are accepted").options;
            assert_eq!((options.namespace.as_deref(), options.output), (Some("team"), Format::Json));
        }
    }
}
