//! Being told to stop: the first Ctrl-C (or SIGTERM) ends the work at the next chunk, the second one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::output::Printer;

/// Tells whoever asks whether to stop. Clones share one state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    soon: CancellationToken,
    now: CancellationToken,
    /// Whether something runs that stops by itself when asked; otherwise the first signal ends the program.
    graceful: Arc<AtomicBool>,
}

impl Stop {
    /// Listens for signals from now on. Must be called inside the runtime.
    pub(crate) fn install(printer: Printer) -> Self {
        let stop = Self::default();
        let told = stop.clone();
        // both are listened to all the time: one that comes right behind another must not be missed
        if let (Ok(mut pressed), Ok(mut terminated)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        {
            tokio::spawn(async move {
                loop {
                    let heard = tokio::select! {
                        heard = pressed.recv() => heard,
                        heard = terminated.recv() => heard,
                    };
                    if heard.is_none() || told.told(&printer) {
                        break;
                    }
                }
            });
        }
        stop
    }

    /// Says that the caller watches [`Stop::requested`] and ends cleanly by itself.
    pub(crate) fn expect_graceful(&self) {
        self.graceful.store(true, Ordering::Relaxed);
    }

    /// Whether to stop at the next good place.
    pub(crate) fn requested(&self) -> bool {
        self.soon.is_cancelled()
    }

    /// Waits until [`Stop::requested`].
    pub(crate) async fn wait(&self) {
        self.soon.cancelled().await;
    }

    /// Waits until the program must end at once.
    pub(crate) async fn at_once(&self) {
        self.now.cancelled().await;
    }

    /// One for a part of the work: it stops with the whole, and can be stopped alone.
    pub(crate) fn part(&self) -> Self {
        Self { soon: self.soon.child_token(), now: self.now.child_token(), graceful: Arc::clone(&self.graceful) }
    }

    /// Takes note of one signal; whether it was the last one needed.
    fn told(&self, printer: &Printer) -> bool {
        if self.graceful.load(Ordering::Relaxed) && !self.soon.is_cancelled() {
            printer.talk("stopping after the current chunk; once more stops at once");
            self.soon.cancel();
            return false;
        }
        self.soon.cancel();
        self.now.cancel();
        true
    }

    /// As if the first signal had come.
    pub(crate) fn request(&self) {
        self.soon.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_stops_a_run_softly_and_the_second_at_once() {
        let (stop, printer) = (Stop::default(), Printer::new(false, 1));
        stop.expect_graceful();
        assert!(!stop.told(&printer));
        assert!(stop.requested() && !stop.now.is_cancelled());
        assert!(stop.told(&printer));
        assert!(stop.now.is_cancelled());
    }

    #[test]
    fn a_command_that_does_not_stop_by_itself_is_ended_by_the_first_signal() {
        let stop = Stop::default();
        assert!(stop.told(&Printer::new(false, 1)));
        assert!(stop.now.is_cancelled());
    }
}
