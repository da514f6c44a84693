//! `kubectl coffer key`: the caller's own key on this machine.

mod import;
mod new;
mod rotate;
mod show;

use clap::Subcommand;

use crate::{Failure, cluster::Cluster, desk::Desk, local_key::KeyOptions};

/// What to do with the key.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a key: an Ed25519 key in OpenSSH's form, readable by nobody else
    #[command(after_help = "Examples:\n  kubectl coffer key new\n  kubectl coffer key new --no-passphrase")]
    New(new::Arguments),
    /// Take over an Ed25519 key that is there already: OpenSSH's form or PKCS #8
    #[command(
        after_help = "Examples:\n  kubectl coffer key import ~/keys/team_ed25519\n\n~/.ssh/id_ed25519 is found without this."
    )]
    Import(import::Arguments),
    /// Show the public half of the key that is used, and its fingerprint
    #[command(
        after_help = "Examples:\n  kubectl coffer key show\n  kubectl coffer key show -o name   # the fingerprint alone, for invite --fingerprint"
    )]
    Show(KeyOptions),
    /// Change to another key in every vault of the namespace: each is told by both keys
    #[command(
        after_help = "Examples:\n  kubectl coffer key new --key ~/keys/2027\n  kubectl coffer key rotate --new ~/keys/2027"
    )]
    Rotate(rotate::Arguments),
}

/// Does one of them.
pub(crate) async fn run(desk: &mut Desk<'_>, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Rotate(arguments) => {
            let cluster = Cluster::connect(&desk.options).await?;
            rotate::run(desk, &cluster, arguments).await
        }
        Verb::New(arguments) => new::run(desk, arguments),
        Verb::Import(arguments) => import::run(desk, arguments),
        Verb::Show(options) => show::run(desk, options),
    }
}
