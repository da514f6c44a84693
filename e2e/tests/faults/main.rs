//! Faults while people work: what breaks is mended, and nothing is lost meanwhile.

mod driver;
mod malformed;
mod webhook;
