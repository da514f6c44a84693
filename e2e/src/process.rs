//! Long-lived processes that survive the program that started them.
//!
//! Each is known by its pid *and* the time it started, so that a pid file left
//! by a crash or a restart of the machine never makes us signal a stranger.

use crate::layout::write_file;
use crate::wait;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A process that is, or was, under our care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: Pid,
    /// Clock ticks since boot: field 22 of `/proc/<pid>/stat`, proc(5).
    started: u64,
}

impl Process {
    /// The live process of this pid, if there is one.
    #[must_use]
    pub fn find(pid: i32) -> Option<Self> {
        Some(Self { pid: Pid::from_raw(pid)?, started: started(pid)? })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn alive(self) -> bool {
        started(self.pid()) == Some(self.started)
    }

    /// Send a signal to this very process; nothing happens when it is gone.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn signal(self, signal: Signal) -> Result<()> {
        // The descriptor pins the pid; checked after it is open, it is ours or nobody's.
        let Ok(descriptor) = pidfd_open(self.pid, PidfdFlags::empty()) else { return Ok(()) };
        if !self.alive() {
            return Ok(());
        }
        match pidfd_send_signal(&descriptor, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal process {}", self.pid())),
        }
    }

    /// Ask it to end, and end it after `grace`.
    ///
    /// # Errors
    /// If it is still there ten seconds after being killed.
    pub async fn stop(self, grace: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        if self.gone(grace).await.is_err() {
            self.kill().await?;
        }
        Ok(())
    }

    /// `kill -9`, and wait until it is gone.
    ///
    /// # Errors
    /// If it is still there after ten seconds.
    pub async fn kill(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.gone(Duration::from_secs(10)).await
    }

    async fn gone(self, within: Duration) -> Result<()> {
        wait::until(&format!("process {} to end", self.pid()), within, async || {
            Ok((!self.alive()).then_some(()))
        })
        .await
    }
}

/// When this process started; `None` if there is none, or only its remains.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (started, remains) = parse_stat(&stat)?;
    // Of a process with many threads the first may be a zombie while others still hold its sockets.
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() > 1);
    (!remains || threads()).then_some(started)
}

/// The start time out of a line of `/proc/<pid>/stat`, and whether its first thread is a zombie.
fn parse_stat(stat: &str) -> Option<(u64, bool)> {
    // The name in parentheses may hold anything, parentheses and spaces too.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let remains = matches!(state, "Z" | "X");
    Some((fields.nth(18)?.parse().ok()?, remains))
}

/// A named process with a pid file and a log.
#[derive(Clone, Debug)]
pub struct Supervised {
    /// What messages call it.
    pub name: String,
    /// Where its pid and start time are kept.
    pub pid_file: PathBuf,
    /// Where its output goes, appended.
    pub log: PathBuf,
}

impl Supervised {
    /// The running process, if it runs.
    #[must_use]
    pub fn running(&self) -> Option<Process> {
        let recorded = std::fs::read_to_string(&self.pid_file).ok()?;
        let (pid, started) = recorded.trim().split_once(' ')?;
        let process = Process { pid: Pid::from_raw(pid.parse().ok()?)?, started: started.parse().ok()? };
        process.alive().then_some(process)
    }

    /// Start it, detached from this program's session and terminal.
    ///
    /// # Errors
    /// If it runs already, cannot be started, or ends at once.
    pub fn start(&self, program: &Path, arguments: &[String], path: &str) -> Result<Process> {
        if let Some(process) = self.running() {
            bail!("{} runs already as process {}", self.name, process.pid());
        }
        let log = open_log(&self.log)?;
        let mut child = Command::new("setsid")
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        // A fresh child leads no process group, so setsid(1) does not fork: the pid stays.
        let pid = i32::try_from(child.id()).context("a pid fits")?;
        let found = Process::find(pid);
        // Reaps it if it ends before we do; if we end first, init does.
        std::thread::spawn(move || child.wait());
        let process =
            found.with_context(|| format!("{} ended at once; see {}", self.name, self.log.display()))?;
        write_file(&self.pid_file, format!("{} {}\n", process.pid(), process.started))?;
        Ok(process)
    }

    /// Forget it once it is gone.
    pub fn forget(&self) {
        if self.running().is_none() {
            // Absent is what we want; nothing else can be done about a failure.
            let _ = std::fs::remove_file(&self.pid_file);
        }
    }
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// Every live process for which `ours` says yes, given its pid.
#[must_use]
pub fn every(ours: impl Fn(i32) -> bool) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| ours(*pid))
        .filter_map(Process::find)
        .collect()
}

/// The arguments a process was started with; empty when it is gone.
#[must_use]
pub fn arguments(pid: i32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_confuse_the_start_time() {
        let stat = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1 1";
        assert_eq!(parse_stat(stat), Some((987_654, false)));
        assert_eq!(parse_stat(&stat.replace(") S", ") Z")), Some((987_654, true)));
    }

    #[test]
    fn a_pid_file_of_an_earlier_process_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let me = Process::find(i32::try_from(std::process::id()).unwrap()).unwrap();
        let supervised = Supervised {
            name: "me".into(),
            pid_file: folder.path().join("me.pid"),
            log: folder.path().join("me.log"),
        };
        std::fs::write(&supervised.pid_file, format!("{} {}\n", me.pid(), me.started)).unwrap();
        assert_eq!(supervised.running(), Some(me));
        std::fs::write(&supervised.pid_file, format!("{} {}\n", me.pid(), me.started + 1)).unwrap();
        assert_eq!(supervised.running(), None);
    }

    #[tokio::test]
    async fn a_started_process_is_found_again_by_its_pid_file_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let supervised = Supervised {
            name: "sleeper".into(),
            pid_file: folder.path().join("sleeper.pid"),
            log: folder.path().join("sleeper.log"),
        };
        let started = supervised.start(Path::new("sleep"), &["600".into()], "/usr/bin:/bin").unwrap();
        assert_eq!(supervised.running(), Some(started));
        assert!(supervised.start(Path::new("sleep"), &["600".into()], "/usr/bin:/bin").is_err());
        started.stop(Duration::from_secs(5)).await.unwrap();
        assert_eq!(supervised.running(), None);
        supervised.forget();
        assert!(!supervised.pid_file.exists());
    }
}
