//! Signals that are meant for the command: whoever ends `kubectl coffer exec` ends what it runs.

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::Failure;

/// What is passed on.
const PASSED_ON: [(Signal, fn() -> SignalKind); 4] = [
    (Signal::TERM, SignalKind::terminate),
    (Signal::INT, SignalKind::interrupt),
    (Signal::HUP, SignalKind::hangup),
    (Signal::QUIT, SignalKind::quit),
];

/// Signals in the order in which they came.
pub(super) struct Signals(UnboundedReceiver<Signal>);

impl Signals {
    /// From now on they no longer end this program.
    pub(super) fn of_this_process() -> Result<Self, Failure> {
        let (sender, signals) = Self::by_hand();
        for (which, kind) in PASSED_ON {
            let mut listener = signal(kind())
                .map_err(|error| Failure::Unexpected(format!("signals cannot be listened to: {error}")))?;
            let sender = sender.clone();
            tokio::spawn(
                async move { while listener.recv().await.is_some() && sender.send(which).is_ok() {} },
            );
        }
        Ok(signals)
    }

    /// What somebody sends through the other end.
    pub(super) fn by_hand() -> (UnboundedSender<Signal>, Self) {
        let (sender, receiver) = unbounded_channel();
        (sender, Self(receiver))
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// Passes a signal on to a command that runs.
pub(super) fn pass_on(signal: Signal, to: u32) {
    if signal == Signal::INT && is_typed() {
        return;
    }
    let process = i32::try_from(to).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(process) = process {
        // One that has ended since needs none.
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// Whether an interrupt comes from the keyboard: then the terminal has sent it to the command, too, and a second one may
/// mean something else to it.
fn is_typed() -> bool {
    let terminal = std::fs::File::open("/dev/tty").and_then(|tty| Ok(rustix::termios::tcgetpgrp(tty)?));
    terminal.is_ok_and(|foreground| foreground == rustix::process::getpgrp())
}
