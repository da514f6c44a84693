//! The driver's command line.

use std::path::PathBuf;

use coffer_runtime::AdminArgs;

use crate::{DRIVER_NAME, verify::VerifyArgs};

/// Coffer's CSI driver.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "coffer-node",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// Something else than serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Config,
}

/// What the program does besides serving.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Check that a file holds this text and nothing else; the chart's `helm test` runs it in a pod
    Verify(VerifyArgs),
}

/// How to serve.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Address of the broker; https only.
    #[arg(long, env = "COFFER_BROKER", default_value = "https://coffer-broker.coffer-system.svc:8443")]
    pub broker: http::Uri,
    /// PEM certificates that the broker's certificate must chain to; read again when it changes.
    #[arg(long, env = "COFFER_CA_FILE", default_value = "/etc/coffer/ca/ca.crt")]
    pub ca_file: PathBuf,
    /// This driver's own token, of audience `coffer`; read at each use, since the kubelet renews it.
    #[arg(long, env = "COFFER_TOKEN_FILE", default_value = "/var/run/secrets/coffer/token")]
    pub token_file: PathBuf,
    /// The kubelet's root folder, under the same path as on the node.
    #[arg(long, env = "COFFER_KUBELET_DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// Name of the Node that this process runs on; needed for serving.
    #[arg(long, env = "NODE_NAME", required = true)]
    pub node_name: Option<String>,
    /// Name of the pod that this process runs in, as it shows in events.
    #[arg(long, env = "POD_NAME", default_value = "coffer-node")]
    pub pod_name: String,
    /// The admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
}

impl Config {
    /// Where the kubelet calls the driver.
    pub fn csi_socket(&self) -> PathBuf {
        self.kubelet_dir.join("plugins").join(DRIVER_NAME).join("csi.sock")
    }

    /// Where the kubelet finds that there is a driver.
    ///
    /// The `@` is needed: the kubelet's gRPC client sends the percent-encoded path as `:authority`, and the `http`
    /// crate takes percent signs only before an `@` (RFC 3986 section 3.2.1: in user information, never in a host).
    /// Without it every registration ends as a malformed request.
    pub fn registration_socket(&self) -> PathBuf {
        self.kubelet_dir.join("plugins_registry").join(format!("{DRIVER_NAME}@reg.sock"))
    }

    /// The folder that every volume of a pod lies in.
    pub fn pods_dir(&self) -> PathBuf {
        self.kubelet_dir.join("pods")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use clap::Parser as _;

    /// What `encodeAuthority` of grpc-go makes of a socket's path, for the characters that such paths have.
    fn authority_of_grpc_go(path: &std::path::Path) -> String {
        path.to_str().unwrap().replace('/', "%2F")
    }

    #[test]
    fn the_kubelets_authority_for_the_registration_socket_is_one_that_this_server_reads() {
        let config = Cli::parse_from([
            "coffer-node",
            "--kubelet-dir",
            "/var/lib/kubelet",
            "--node-name",
            "n",
            "--pod-name",
            "p",
        ]);
        assert_eq!(config.serve.node_name.as_deref(), Some("n"));
        let authority = authority_of_grpc_go(&config.serve.registration_socket());
        authority.parse::<http::uri::Authority>().unwrap();
    }

    #[test]
    fn a_command_needs_nothing_of_what_serving_needs() {
        let asked = Cli::try_parse_from(["coffer-node", "verify", "/coffer/a/token", "text"]).unwrap();
        assert!(matches!(asked.command, Some(Command::Verify(_))));
        let error = Cli::try_parse_from(["coffer-node"]).unwrap_err().to_string();
        assert!(error.contains("--node-name"), "{error}");
    }
}
