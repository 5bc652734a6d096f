//! What a program says: data to stdout, talk to stderr. A reader that has seen enough (`head`) is no error and ends nothing:
//! what is to happen afterwards, as closing a database, happens. Output that is lost otherwise makes the command fail.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether data could not be written, to a disk that is full for instance.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Writes data to stdout as it is.
pub fn data(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && !IS_LOST.swap(true, Ordering::Relaxed)
    {
        talk(format_args!("error: the output cannot be written: {error}"));
    }
}

/// Writes a line of data to stdout.
pub fn line(text: impl Display) {
    data(&format!("{text}\n"));
}

/// Says a line on stderr. Where nobody listens any more, nothing else can be done about it.
pub fn talk(text: impl Display) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Whether data was lost although its reader was there.
pub fn is_lost() -> bool {
    IS_LOST.load(Ordering::Relaxed)
}
