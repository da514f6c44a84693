//! The cluster that Coffer is demonstrated and tested on, and what its tests stand on.
//!
//! A real Kubernetes of one node, built from its Go modules (`e2e/cluster/`)
//! and run on the bare machine. A test asks for the cluster ([`cluster::Cluster::up`],
//! or [`install::installed`] with Coffer on it), gets a namespace of its own
//! ([`namespace::Namespace::lend`]) and waits for conditions ([`wait`]).
//! Whoever needs the cluster first brings it up; `make cluster-down` takes it away.

pub mod bench;
pub mod broker;
pub mod cluster;
pub mod commands;
pub mod demo;
pub mod dump;
pub mod etcd;
pub mod fault;
pub mod guide;
pub mod images;
pub mod install;
pub mod kept;
pub mod kubectl;
pub mod layout;
pub mod load;
pub mod lock;
pub mod namespace;
pub mod people;
pub mod process;
pub mod programs;
pub mod progress;
pub mod service;
pub mod team;
pub mod terminal;
pub mod users;
pub mod wait;
