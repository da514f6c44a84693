//! What a person sees while a long step runs.
//!
//! Everything goes to standard error: standard output is for answers
//! (`make -s kubeconfig`) and for the demo's story.
#![allow(clippy::print_stderr, reason = "this is the one place that prints progress")]

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a step may be silent.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Print one line of progress.
pub fn note(line: impl AsRef<str>) {
    eprintln!("==> {}", line.as_ref());
}

/// Run a step that may take long: says that it starts, that it still runs, and how long it took.
///
/// # Errors
/// Those of `work`.
pub async fn step<T, E>(what: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let started = Instant::now();
    note(format!("{what} …"));
    let mut work = std::pin::pin!(work);
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = heartbeat.tick() => eprintln!("    {what}: {} s", started.elapsed().as_secs()),
        }
    };
    let spent = started.elapsed().as_secs_f32();
    match &result {
        Ok(_) => eprintln!("    {what}: done in {spent:.1} s"),
        Err(_) => eprintln!("    {what}: FAILED after {spent:.1} s"),
    }
    result
}
