//! Faults while people work: what breaks is mended, and nothing is lost meanwhile.

mod audit;
mod certificates;
mod cluster;
mod components;
mod driver;
mod malformed;
mod rolls;
mod webhook;
