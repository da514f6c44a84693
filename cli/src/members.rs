//! `kubectl coffer members`.

mod change;
pub(crate) mod list;
mod remove;
mod show;

use clap::Subcommand;

use crate::{Failure, cluster::Cluster, desk::Desk};

/// What to do with members.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the members of the vaults of a namespace
    #[command(
        after_help = "Examples:\n  kubectl coffer members list\n  kubectl coffer members list --vault team -o wide"
    )]
    List(list::Arguments),
    /// Show one member: who it is, what it may do, what it may use
    #[command(after_help = "Examples:\n  kubectl coffer members show bob")]
    Show(show::Arguments),
    /// Give a member another role
    #[command(after_help = "Examples:\n  kubectl coffer members role bob admin")]
    Role(change::Role),
    /// Put a membership on hold: nothing is released to it from now on
    #[command(after_help = "Examples:\n  kubectl coffer members suspend bob")]
    Suspend(change::Hold),
    /// Take a membership off hold
    #[command(after_help = "Examples:\n  kubectl coffer members resume bob")]
    Resume(change::Hold),
    /// Remove a member, and list the credentials to change at their providers
    #[command(
        after_help = "Examples:\n  kubectl coffer members remove bob\n  kubectl coffer members remove bob --yes"
    )]
    Remove(remove::Arguments),
}

/// Does one of them.
pub(crate) async fn run(desk: &mut Desk<'_>, cluster: &Cluster, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List(arguments) => {
            list::print(cluster, arguments, desk.options.output, desk.answer, desk.notes).await
        }
        Verb::Show(arguments) => show::run(desk, cluster, arguments).await,
        Verb::Role(arguments) => change::role(desk, cluster, arguments).await,
        Verb::Suspend(arguments) => change::hold(desk, cluster, arguments, true).await,
        Verb::Resume(arguments) => change::hold(desk, cluster, arguments, false).await,
        Verb::Remove(arguments) => remove::run(desk, cluster, arguments).await,
    }
}
