//! The chassis of Coffer's servers: what the operator, the webhook, the broker and the node driver all need
//! and none should write twice.
//!
//! | module | gives |
//! | --- | --- |
//! | [`start`](mod@start) | crypto provider, logs, [`Shutdown`] |
//! | [`tls`] | [`serve_tls`]: an HTTPS accept loop with certificate reload and graceful drain |
//! | [`admin`] | `/healthz`, `/readyz`, `/metrics` on a port of their own |
//! | [`readiness`] | named checks that make up `/readyz` |
//! | [`metrics`] | the Prometheus registry |
//! | [`lease`] | leader election with a deadline after which nothing may be sent |
//! | [`client`](mod@client) | the one Kubernetes client configuration, and [`within`] |
//! | [`events`] | events beside the objects that they are about |
//! | [`store`](mod@store) | watched caches that a malformed object cannot stop |
//!
//! A server's `main` is then short:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use coffer_runtime::{Admin, AdminArgs, Metrics, Readiness, ServeTls, serve_tls, start};
//! use warp::Filter;
//!
//! let shutdown = start("coffer-example")?;
//! let (metrics, readiness) = (Metrics::new(), Readiness::new());
//! Admin::new(readiness.clone(), metrics.clone()).start("0.0.0.0:8080".parse()?, &shutdown).await?;
//! let routes = warp::path!("v1" / "hello").map(|| String::from("hello")).boxed();
//! let tls = ServeTls::new("0.0.0.0:8443".parse()?, "/etc/coffer/tls");
//! serve_tls(tls, warp::service(routes), &readiness, &shutdown).await?;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod args;
pub mod client;
pub mod clock;
pub mod events;
pub mod lease;
pub mod metrics;
pub mod readiness;
pub mod shutdown;
pub mod start;
pub mod store;
pub mod tls;

pub use admin::Admin;
pub use args::{AdminArgs, TlsArgs};
pub use client::{CallError, client, within};
pub use events::{Events, Notice};
pub use lease::{Election, Leadership, LeaseConfig};
pub use metrics::Metrics;
pub use readiness::{Check, Readiness};
pub use shutdown::Shutdown;
pub use start::start;
pub use store::{Store, StoreOptions, store};
pub use tls::{Peer, ServeTls, serve_tls};
