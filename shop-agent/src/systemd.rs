//! What systemd is told, and what it hands over: readiness, a line of status, signs of life, sockets. Without systemd
//! all of it does nothing.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, RawFd};
use std::time::Duration;

use sd_notify::NotifyState;

/// Tells systemd that calls are answered from now on.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd that the end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is running")]);
}

/// Shows a line in `systemctl status`.
pub(crate) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// Says that the process is well.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be said: half of what the unit's `WatchdogSec` allows.
pub(crate) fn sign_of_life_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|most| most / 2).filter(|every| !every.is_zero())
}

/// The socket that a socket unit has opened for us.
///
/// # Errors
/// When there is more than one, or it takes no TCP connections.
pub(crate) fn inherited_listener() -> io::Result<Option<TcpListener>> {
    let mut sockets = sd_notify::listen_fds()?;
    let Some(first) = sockets.next() else { return Ok(None) };
    if sockets.next().is_some() {
        return Err(io::Error::other(
            "the socket unit hands over more than one socket; it needs exactly one ListenStream",
        ));
    }
    let listener = adopt(first);
    listener.local_addr().map_err(|error| io::Error::other(format!("the socket unit must listen on TCP: {error}")))?;
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

fn adopt(socket: RawFd) -> TcpListener {
    // SAFETY: systemd has opened this descriptor for this process and says so in LISTEN_PID; it is taken once, at the
    // start, and nothing else in the process knows its number
    unsafe { TcpListener::from_raw_fd(socket) }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
