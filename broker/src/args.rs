//! The command line.

use crate::audit::FileLimits;
use clap::{Args, Parser, Subcommand};
use coffer_crds::RateLimit;
use coffer_runtime::{AdminArgs, TlsArgs};
use std::path::PathBuf;

/// Decides, audits and makes every release of a credential.
#[derive(Clone, Debug, Parser)]
#[command(name = "coffer-broker", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Something else than serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the program does besides serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print this replica's audit records, one JSON line each, oldest first
    Audit(AuditArgs),
}

/// `coffer-broker audit`.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Print only the last N records (default: all)
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Check the whole hash chain too; ends with a summary line, and with exit code 1 if the chain is broken
    #[arg(long)]
    pub verify: bool,
    /// The log's folder
    #[arg(long, value_name = "DIR", env = "COFFER_AUDIT_DIR", default_value = DEFAULT_AUDIT_DIR)]
    pub dir: PathBuf,
}

const DEFAULT_AUDIT_DIR: &str = "/var/lib/coffer/audit";

/// Serving.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Folder of the audit log, on a volume of its own
    #[arg(long, value_name = "DIR", env = "COFFER_AUDIT_DIR", default_value = DEFAULT_AUDIT_DIR)]
    pub audit_dir: PathBuf,
    /// Bytes after which a new audit file is begun
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(65536..))]
    pub audit_file_bytes: u64,
    /// How many audit files are kept; the oldest are deleted, on record. 0 keeps all: then nothing is released
    /// once the volume is full
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub audit_keep_files: usize,
    /// The node driver's user name
    #[arg(long, value_name = "USER", default_value = "system:serviceaccount:coffer-system:coffer-node")]
    pub driver_user: String,
    /// The operator's user name, which may ask this replica's audit log about any vault
    #[arg(long, value_name = "USER", default_value = "system:serviceaccount:coffer-system:coffer-operator")]
    pub operator_user: String,
    /// Folder with the item `brokered` of Secret coffer-root
    #[arg(long, value_name = "DIR", default_value = "/etc/coffer/root")]
    pub root_dir: PathBuf,
    /// Folder with the data of Secret coffer-brokered
    #[arg(long, value_name = "DIR", default_value = "/etc/coffer/branch")]
    pub branch_dir: PathBuf,
    /// Namespace of this installation
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "coffer-system")]
    pub namespace: String,
    /// A group whose people may read, without being members, what this broker can open; may be given several times
    #[arg(long = "break-glass-group", value_name = "GROUP", value_parser = coffer_policy::break_glass::group)]
    pub break_glass_groups: Vec<String>,
    /// How many Releases, and how many AuditQueries, of one requester this replica answers, and in what time
    #[arg(long, value_name = "N/Ws", default_value = "120/60s")]
    pub requester_limit: RateLimit,
    /// This replica's name in its audit log, and in the status of the requests that it answers
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "coffer-broker")]
    pub replica: String,
    /// The HTTPS port.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// The admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
}

impl ServeArgs {
    /// When audit files end and go.
    pub fn file_limits(&self) -> FileLimits {
        FileLimits { file_bytes: self.audit_file_bytes, keep_files: self.audit_keep_files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed_and_serves_without_any_flag() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["coffer-broker"]).expect("every flag has a default");
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.driver_user, "system:serviceaccount:coffer-system:coffer-node");
        let cli =
            Cli::try_parse_from(["coffer-broker", "audit", "--last", "1", "--verify"]).expect("it parses");
        assert!(matches!(cli.command, Some(Command::Audit(AuditArgs { last: Some(1), verify: true, .. }))));
    }
}
