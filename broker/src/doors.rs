//! The doors: each finds out who asks, from what a server authenticated, and hands over to the one decision.

pub mod audit;
pub mod authenticate;
pub mod people;
mod requests;
pub mod workload;

pub use authenticate::{Rejected, Rejection, Workload, authenticate};
