//! What the figures were measured on: they mean nothing without it.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::time::Duration;

/// The class of this machine, and how busy it was.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// How many processors run at once.
    pub processors: usize,
    /// Their model.
    pub model: String,
    /// Main memory in GB.
    pub memory_gb: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Load average of the last minute before the first measurement.
    pub load: String,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn this() -> Result<Self> {
        let read = |file: &str| fs::read_to_string(file).with_context(|| format!("read {file}"));
        let model = value(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".into());
        let memory = value(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kib: u64 = memory.trim_end_matches(" kB").parse().context("understand MemTotal")?;
        Ok(Self {
            processors: std::thread::available_parallelism().context("count processors")?.get(),
            model,
            memory_gb: (kib * 1024).div_ceil(1_000_000_000),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().into(),
            load: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().into(),
        })
    }

    /// One line.
    #[must_use]
    pub fn told(&self) -> String {
        format!(
            "{} processors ({}), {} GB, Linux {}, load before {}",
            self.processors, self.model, self.memory_gb, self.kernel, self.load
        )
    }
}

/// How long the machine has run.
///
/// # Errors
/// If the kernel does not say.
pub fn uptime() -> Result<Duration> {
    let text = fs::read_to_string("/proc/uptime").context("read /proc/uptime")?;
    let seconds = text.split(' ').next().unwrap_or_default().parse().context("understand /proc/uptime")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// The value of the first line `name: value`.
fn value(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_name_however_it_is_indented() {
        assert_eq!(value("vendor_id\t: x\nmodel name\t: A B\n", "model name"), Some("A B".into()));
        assert_eq!(value("MemTotal:       24 kB\n", "MemTotal"), Some("24 kB".into()));
        assert_eq!(value("", "MemTotal"), None);
    }
}
