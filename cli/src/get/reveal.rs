//! A value on a terminal, for a moment.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use crate::Failure;

/// C28: then it is hidden again.
const MOMENT: Duration = Duration::from_secs(30);
/// The terminal's second screen, which leaves nothing behind in the first one or its history.
const ENTER: &str = "\x1b[?1049h\x1b[H";
const LEAVE: &str = "\x1b[?1049l";

/// Shows a text until Enter, an interrupt, or half a minute.
pub(super) async fn briefly(text: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Unexpected(format!("cannot print: {error}"));
    let print = |text: &str| io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    print(ENTER).and_then(|()| print(text)).and_then(|()| print("\n(Enter hides it)\n")).map_err(failed)?;
    let (pressed, enter) = tokio::sync::oneshot::channel();
    // The thread ends with the program, whether or not somebody presses Enter.
    std::thread::spawn(move || {
        let _ = io::stdin().read_line(&mut String::new());
        let _ = pressed.send(());
    });
    tokio::select! {
        _ = enter => {}
        _ = tokio::signal::ctrl_c() => {}
        () = tokio::time::sleep(MOMENT) => {}
    }
    print(LEAVE).map_err(failed)
}
