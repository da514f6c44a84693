//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    Failure, accept, backup, cluster::Cluster, completion, delete, describe, desk::Desk, doctor, edit, exec,
    get, history, init, invite, key, list, local_key::KeyOptions, members, output::Format, pages, recover,
    reseal, restore, rotate, seal, seal_key, set, share, transfer, trust, vaults, version, who_can, whoami,
    why_not,
};

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
    /// Let the API server judge a change, and do not make it
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// No remarks and no progress, only answers and failures
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a vault, unless it is there; whoever makes it owns it
    #[command(
        after_help = "Examples:\n  kubectl coffer init\n  kubectl coffer init team --sharing owner --default\n  kubectl coffer init team --access kubernetes.io/metadata.name=ci\n\nWith a key on this machine (kubectl coffer key new, or ~/.ssh/id_ed25519) the owner brings it at once."
    )]
    Init(init::Arguments),
    /// Who you are: for the API server, by your key, and in which vaults
    Whoami(whoami::Arguments),
    /// Your own key on this machine
    Key {
        /// What to do with it.
        #[command(subcommand)]
        verb: key::Verb,
    },
    /// List vaults, and whether they are ready
    Vaults(vaults::Arguments),
    /// List credentials: who owns them, who may use them, never a value
    List(list::Arguments),
    /// Show all there is to know of a credential but its values
    #[command(after_help = "Examples:\n  kubectl coffer describe github")]
    Describe(describe::Arguments),
    /// Invite somebody into a vault
    #[command(
        after_help = "Examples:\n  kubectl coffer invite user:bob\n  kubectl coffer invite group:devs --role admin --ttl 90d\n  kubectl coffer invite sa:ci/builder --name builder\n  kubectl coffer invite external:laptop --fingerprint laptop.pub"
    )]
    Invite(invite::Arguments),
    /// Accept an invite, with your own key
    #[command(
        after_help = "Examples:\n  kubectl coffer accept\n  kubectl coffer accept --brokered\n  kubectl coffer accept sa:ci/builder --vault team"
    )]
    Accept(accept::Arguments),
    /// Turn an invite down, for good
    #[command(after_help = "Examples:\n  kubectl coffer decline")]
    Decline(accept::Decline),
    /// The members of a vault
    Members {
        /// What to do with them.
        #[command(subcommand)]
        verb: members::Verb,
    },
    /// Make a credential or give it other values; they are sealed on this machine
    #[command(
        after_help = "Examples:\n  kubectl coffer set github --item token --members bob,builder --provider github\n  kubectl coffer set tls --from-file tls.crt --from-file tls.key --type tls\n  pass show npm | kubectl coffer set npm --from-file token=-\n  kubectl coffer set app --from-env-file .env\n\nValues never stand on the command line. Items and settings that are not named stay as they are."
    )]
    Set(set::Arguments),
    /// Print a sealed manifest, to be kept in Git; works without a cluster, too
    #[command(
        after_help = "Examples:\n  kubectl coffer seal github --owner alice --item token > github.yaml\n  kubectl coffer seal-key > team-key.yaml\n  kubectl coffer seal github --owner alice --from-file token=t.txt --seal-key team-key.yaml\n\nA saved key is believed when its vault was seen on this machine before; elsewhere --trust KEY says what kubectl coffer trust shows to its owners."
    )]
    Seal(seal::Arguments),
    /// Print what to seal to, signed by the vault, for machines that reach no cluster
    #[command(after_help = "Examples:\n  kubectl coffer seal-key > team-key.yaml")]
    SealKey(seal_key::Arguments),
    /// Seal credentials again, with the same values, to the vault's present key
    #[command(
        after_help = "Examples:\n  kubectl coffer reseal --dry-run\n  kubectl coffer reseal github npm\n  kubectl coffer reseal --all\n  kubectl coffer reseal -f github.yaml > github.new && mv github.new github.yaml\n\nNeeded once the custodian root was turned over, so that the older one can go. You read and write what you seal again. The same values make no new version. What lies in Git is sealed again there, with -f, and applied from there."
    )]
    Reseal(reseal::Arguments),
    /// Show or pass on a credential's values: masked on a terminal, as they are into a pipe
    #[command(
        after_help = "Examples:\n  kubectl coffer get github\n  kubectl coffer get github token --reveal\n  kubectl coffer get github token | docker login ghcr.io -u bot --password-stdin"
    )]
    Get(get::Arguments),
    /// Run a command with credentials in its environment, and keep them out of its output
    #[command(
        after_help = "Examples:\n  kubectl coffer exec github -- sh -c 'curl -H \"Authorization: Bearer $GITHUB_TOKEN\" https://api.github.com/user'\n  kubectl coffer exec app npm --item-names -- npm publish\n  kubectl coffer exec tls --files -- sh -c 'curl --key \"$COFFER_FILES/tls/tls.key\" --cert \"$COFFER_FILES/tls/tls.crt\" https://example.org'\n\nVariables are named ALIAS_ITEM. The command gets the signals that end this program, and its exit code becomes this program's."
    )]
    Exec(exec::Arguments),
    /// Change a credential's settings, labels and annotations in an editor; never its values
    #[command(
        after_help = "Examples:\n  kubectl coffer edit github\n  KUBE_EDITOR='code --wait' kubectl coffer edit github\n\nThe editor is $KUBE_EDITOR, $EDITOR or vi. What will change is shown, and done after a yes."
    )]
    Edit(edit::Arguments),
    /// Change who may use a credential
    #[command(
        after_help = "Examples:\n  kubectl coffer share github --add bob\n  kubectl coffer share github --members '*'\n  kubectl coffer share github --current --drop carol"
    )]
    Share(share::Arguments),
    /// Make somebody else the owner of a credential
    #[command(after_help = "Examples:\n  kubectl coffer transfer github bob")]
    Transfer(transfer::Arguments),
    /// Delete a credential
    #[command(after_help = "Examples:\n  kubectl coffer delete github")]
    Delete(delete::Arguments),
    /// The versions of a credential: who wrote them, and when
    #[command(after_help = "Examples:\n  kubectl coffer history github")]
    History(history::Arguments),
    /// Turn a vault's keys over now
    #[command(
        after_help = "Examples:\n  kubectl coffer rotate\n  kubectl coffer rotate team --dry-run\n\nKeys are turned over by themselves when a member leaves; spec.rotation.interval of a Vault does it at times."
    )]
    Rotate(rotate::Arguments),
    /// Who may do this with a credential, and why the others may not
    #[command(
        after_help = "Examples:\n  kubectl coffer who-can use github\n  kubectl coffer who-can read github -o name"
    )]
    WhoCan(who_can::Arguments),
    /// Why a member may not have a credential
    #[command(
        after_help = "Examples:\n  kubectl coffer why-not carol github\n  kubectl coffer why-not bob github --verb write"
    )]
    WhyNot(why_not::Arguments),
    /// Save the objects of vaults in one file: ciphertext, names and public keys
    #[command(
        after_help = "Examples:\n  kubectl coffer backup -n team-a -f team-a.yaml\n  kubectl coffer backup -A -o json | gzip > vaults.json.gz\n\nIt takes the right to list Keyrings and Envelopes, as the chart's restoreUsers have it. Keep the Secrets of the custodian apart from it."
    )]
    Backup(backup::Arguments),
    /// Make again what a backup holds and the cluster lacks
    #[command(
        after_help = "Examples:\n  kubectl coffer restore team-a.yaml --dry-run\n  kubectl coffer restore vaults.yaml -n team-a\n  zcat vaults.json.gz | kubectl coffer restore -\n\nWhoever restores is one of the chart's restoreUsers. What is there is left as it is, so it may be run again."
    )]
    Restore(restore::Arguments),
    /// Save with your own key what it opens of a backup, when the custodian root is lost
    #[command(
        after_help = "Examples:\n  kubectl coffer recover --from team-a.yaml --dry-run\n  kubectl coffer recover team --from vaults.yaml -n team-a\n\nThe vault is made anew under the present custodian; its members accept again."
    )]
    Recover(recover::Arguments),
    /// Believe a vault whose key is another than before
    #[command(after_help = "Examples:\n  kubectl coffer trust team")]
    Trust(trust::Arguments),
    /// Check the installation and your own set-up, and say what to do
    Doctor(KeyOptions),
    /// The version of this program and of the API it speaks
    Version,
    /// Print a completion script
    #[command(
        after_help = "Examples:\n  source <(kubectl-coffer completion bash)\n  kubectl coffer completion kubectl > ~/bin/kubectl_complete-coffer && chmod +x ~/bin/kubectl_complete-coffer"
    )]
    Completion {
        /// For what
        #[arg(value_enum)]
        shell: completion::For,
    },
    /// Write the man pages into a folder
    #[command(after_help = "Examples:\n  kubectl coffer man ~/.local/share/man/man1")]
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// What kubectl asks when somebody presses TAB.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words after the program's name.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Whether to look beyond one namespace.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Everywhere {
    /// Look in all namespaces
    #[arg(short = 'A', long, visible_alias = "all")]
    pub all_namespaces: bool,
}

/// Does what was typed.
///
/// # Errors
/// What went wrong, as the user should read it.
pub(crate) async fn execute(verb: Verb, desk: &mut Desk<'_>) -> Result<(), Failure> {
    match &verb {
        Verb::Version => version::print(desk.options.output, desk.answer),
        Verb::Completion { shell } => completion::print(*shell, desk.answer),
        Verb::Complete { words } => completion::complete(words, desk.answer),
        Verb::Man { folder } => {
            let written = pages::man(folder)?;
            desk.say(&format!("{written} pages are in {}", folder.display()))
        }
        Verb::Key { verb } => key::run(desk, verb).await,
        Verb::Seal(arguments) => seal::run(desk, arguments).await,
        Verb::Doctor(key) => doctor::run(desk, key).await,
        Verb::Whoami(_)
        | Verb::Vaults(_)
        | Verb::List(_)
        | Verb::Members { .. }
        | Verb::Init(_)
        | Verb::Invite(_)
        | Verb::Accept(_)
        | Verb::Decline(_)
        | Verb::Set(_)
        | Verb::SealKey(_)
        | Verb::Reseal(_)
        | Verb::Get(_)
        | Verb::Exec(_)
        | Verb::Edit(_)
        | Verb::Share(_)
        | Verb::Transfer(_)
        | Verb::Delete(_)
        | Verb::Describe(_)
        | Verb::History(_)
        | Verb::Rotate(_)
        | Verb::Backup(_)
        | Verb::Restore(_)
        | Verb::Recover(_)
        | Verb::WhoCan(_)
        | Verb::WhyNot(_)
        | Verb::Trust(_) => {
            let cluster = Cluster::connect(&desk.options).await?;
            on_cluster(&verb, desk, &cluster).await
        }
    }
}

/// Does what takes a cluster.
pub(crate) async fn on_cluster(verb: &Verb, desk: &mut Desk<'_>, cluster: &Cluster) -> Result<(), Failure> {
    let format = desk.options.output;
    match verb {
        Verb::Whoami(arguments) => whoami::run(desk, cluster, arguments).await,
        Verb::Vaults(arguments) => vaults::print(cluster, *arguments, format, desk.answer, desk.notes).await,
        Verb::List(arguments) => list::print(cluster, arguments, format, desk.answer, desk.notes).await,
        Verb::Members { verb } => members::run(desk, cluster, verb).await,
        Verb::Init(arguments) => init::run(desk, cluster, arguments).await,
        Verb::Invite(arguments) => invite::run(desk, cluster, arguments).await,
        Verb::Accept(arguments) => accept::run(desk, cluster, arguments).await,
        Verb::Decline(arguments) => accept::decline(desk, cluster, arguments).await,
        Verb::Set(arguments) => set::run(desk, cluster, arguments).await,
        Verb::SealKey(arguments) => seal_key::run(desk, cluster, arguments).await,
        Verb::Reseal(arguments) => reseal::run(desk, cluster, arguments).await,
        Verb::Get(arguments) => get::run(desk, cluster, arguments).await,
        Verb::Exec(arguments) => exec::run(desk, cluster, arguments).await,
        Verb::Edit(arguments) => edit::run(desk, cluster, arguments).await,
        Verb::Share(arguments) => share::run(desk, cluster, arguments).await,
        Verb::Transfer(arguments) => transfer::run(desk, cluster, arguments).await,
        Verb::Delete(arguments) => delete::run(desk, cluster, arguments).await,
        Verb::Describe(arguments) => describe::run(desk, cluster, arguments).await,
        Verb::History(arguments) => history::run(desk, cluster, arguments).await,
        Verb::Rotate(arguments) => rotate::run(desk, cluster, arguments).await,
        Verb::Backup(arguments) => backup::run(desk, cluster, arguments).await,
        Verb::Restore(arguments) => restore::run(desk, cluster, arguments).await,
        Verb::Recover(arguments) => recover::run(desk, cluster, arguments).await,
        Verb::WhoCan(arguments) => who_can::run(desk, cluster, arguments).await,
        Verb::WhyNot(arguments) => why_not::run(desk, cluster, arguments).await,
        Verb::Trust(arguments) => trust::run(desk, cluster, arguments).await,
        Verb::Version
        | Verb::Completion { .. }
        | Verb::Complete { .. }
        | Verb::Man { .. }
        | Verb::Key { .. }
        | Verb::Seal(_)
        | Verb::Doctor(_) => Err(Failure::Unexpected(String::from("this verb takes no cluster"))),
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
