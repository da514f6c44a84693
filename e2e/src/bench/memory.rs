//! Resident memory of Coffer's containers, as the kernel counts it.

use super::figure::Figure;
use crate::process;
use anyhow::{Context, Result};
use std::fs;

/// What of a container's one process is in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it (`VmRSS`), the program's own pages included.
    pub whole: u64,
    /// What it allocated (`RssAnon`).
    pub allocated: u64,
    /// The most that the whole has been (`VmHWM`).
    pub peak: u64,
}

/// The replica of a component that needs the most.
///
/// # Errors
/// If none runs.
pub fn most(component: &str) -> Result<Resident> {
    let all = pids(component).into_iter().filter_map(|pid| {
        // A process that ends meanwhile is none.
        read(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    });
    all.max_by_key(|resident| resident.whole).with_context(|| format!("no {component} runs"))
}

/// The processes of a component.
#[must_use]
pub fn pids(component: &str) -> Vec<i32> {
    // The only thing in an image is its program, at the root.
    let program = format!("/coffer-{component}");
    process::every(|pid| process::arguments(pid).first() == Some(&program))
        .into_iter()
        .map(process::Process::pid)
        .collect()
}

impl Resident {
    /// As a figure in megabytes.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "memory sizes are far below 2^52")]
    pub fn figure(self, what: impl Into<String>) -> Figure {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        Figure::new(what, mb(self.whole), "MB").note(format!(
            "the larger replica; {:.1} MB of it allocated, the rest is the program; at most {:.1} MB since its start",
            mb(self.allocated),
            mb(self.peak)
        ))
    }
}

/// Out of `/proc/<pid>/status`, proc(5).
fn read(status: &str) -> Option<Resident> {
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Some(Resident { whole: value("VmRSS")?, allocated: value("RssAnon")?, peak: value("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    40 kB\nVmRSS:\t    30 kB\nRssAnon:\t    10 kB\n";
        assert_eq!(read(status), Some(Resident { whole: 30 << 10, allocated: 10 << 10, peak: 40 << 10 }));
        assert_eq!(read("Name:\tkthreadd\n"), None);
    }
}
