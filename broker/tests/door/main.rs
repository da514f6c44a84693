//! The doors with everything behind them but the API server: real keys, real Envelopes, a real audit log on a
//! real disk; tokens, watches and the second look are fakes.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod any_bytes;
mod audit;
mod decision;
mod glass;
mod hall;
mod identity;
mod inquiry;
mod lag;
mod membership;
mod people;
mod sealing;
mod world;
