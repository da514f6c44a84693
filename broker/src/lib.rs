//! The broker: decides, audits and makes every release.
//!
//! A request's way: [`doors`] find out who asks → [`facts`] gathers what is known → [`release`] decides through
//! `coffer-policy`, writes the [`audit`] record, and only then opens what was wrapped for that member → the door
//! seals the answer to the request's key.
//!
//! | room | holds |
//! | --- | --- |
//! | [`doors`] | the ways in: workloads, `kubectl` users, auditors; later members without a Kubernetes identity |
//! | [`peers`] | which replica is to do what only one should |
//! | [`identity`] | whose a token is: TokenReview and its short memory |
//! | [`facts`] | the watched kinds, one request's view of them, and the look past the watches |
//! | [`release`] | decision, record, opening |
//! | [`refusal`] | why nothing was released, and what the caller is told |
//! | [`limits`] | the members' sliding windows |
//! | [`branch`] | the broker's keys, from mounted files |
//! | [`audit`] | the log that every release is in before it is made |
//! | [`last_used`] | `status.lastUsedAt`, roughly |
//! | [`metrics`] | what is counted |
//! | [`serve`], [`args`] | the program |

pub mod args;
pub mod audit;
pub mod branch;
pub mod doors;
pub mod facts;
pub mod identity;
pub mod last_used;
pub mod limits;
pub mod metrics;
pub mod peers;
pub mod refusal;
pub mod release;
pub mod serve;
