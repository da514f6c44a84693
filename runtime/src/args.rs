//! Command-line flags that every server has under the same name.

use std::{net::SocketAddr, path::PathBuf};

/// Where the admin port listens. Flatten into a program's own arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminArgs {
    /// Address of the admin port (/healthz, /readyz, /metrics; plain HTTP).
    #[arg(long, env = "COFFER_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,
}

/// Where the TLS port listens and with what. Flatten into a program's own arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct TlsArgs {
    /// Address of the HTTPS port.
    #[arg(long, env = "COFFER_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Folder with `tls.crt` and `tls.key`, as a mounted Secret of type kubernetes.io/tls has them.
    #[arg(long, env = "COFFER_TLS_DIR", default_value = "/etc/coffer/tls")]
    pub tls_dir: PathBuf,
}
