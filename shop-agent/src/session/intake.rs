//! A clone that is taken in while it arrives: its rows go into the shop's tables chunk by chunk, in a transaction that
//! ends with `sql_finish`. It may be thrown away at any moment, for every chunk is in the log too: whatever goes wrong
//! before the finish, the session is applied from its log then, as every other.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use replica::ReplicaError;
use replica::apply::Applied;
use tokio::task::JoinHandle;

use super::chunks::ChunkLog;
use crate::backend::Backend;

/// An apply that follows the chunks of a session.
pub(crate) struct Intake {
    coming: Arc<Coming>,
    outcome: JoinHandle<Result<Applied, ReplicaError>>,
}

impl Intake {
    /// Begins with what the log holds. It waits for chunks at most as long as `wait_max` in all, since the tables it
    /// fills are locked.
    pub(crate) fn begin<B: Backend>(backend: Arc<B>, sid: i32, log: &ChunkLog, wait_max: Duration) -> io::Result<Self> {
        let coming = Arc::new(Coming::new(log.received().next_seq, wait_max));
        let input = log.follower(Arc::clone(&coming))?;
        let of_task = Arc::clone(&coming);
        let outcome = tokio::spawn(async move {
            let applied = backend.apply_arriving(sid, input).await;
            // after the finish it is the session's own failure
            if let Err(error) = &applied
                && of_task.give_up()
            {
                tracing::info!(sid, "the clone is taken in when all of it is here: {error}");
            }
            applied
        });
        Ok(Self { coming, outcome })
    }

    /// The log holds so many chunks now.
    pub(crate) fn arrived(&self, chunks: u64) {
        self.coming.arrived(chunks);
    }

    /// Everything is there: what came of it, or none when it was given up before.
    pub(crate) async fn finish(self) -> Option<Result<Applied, ReplicaError>> {
        let was_followed = self.coming.end();
        let outcome = self.outcome.await.unwrap_or(Err(ReplicaError::Stopped));
        was_followed.then_some(outcome)
    }

    /// Takes everything back; the tables are free when this returns.
    pub(crate) async fn let_go(self) {
        self.coming.give_up();
        let _ = self.outcome.await;
    }
}

/// How far the chunks of a session have come, between the session and whoever reads them.
#[derive(Debug)]
pub(super) struct Coming {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    chunks: u64,
    then: Then,
    patience: Duration,
}

/// What comes after the chunks that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    More,
    Nothing,
    /// Nobody waits any more.
    GivenUp,
}

impl Coming {
    fn new(chunks: u64, patience: Duration) -> Self {
        Self { state: Mutex::new(State { chunks, then: Then::More, patience }), changed: Condvar::new() }
    }

    fn arrived(&self, chunks: u64) {
        self.lock().chunks = chunks;
        self.changed.notify_all();
    }

    /// Nothing more comes; false when it was given up before.
    fn end(&self) -> bool {
        let mut state = self.lock();
        if state.then == Then::More {
            state.then = Then::Nothing;
            self.changed.notify_all();
        }
        state.then == Then::Nothing
    }

    /// Nobody waits for more; false when nothing more comes in any case.
    fn give_up(&self) -> bool {
        let mut state = self.lock();
        if state.then == Then::More {
            state.then = Then::GivenUp;
            self.changed.notify_all();
        }
        state.then == Then::GivenUp
    }

    /// Waits for chunks beyond the first `read` of them: how many are there, or none when these were all.
    ///
    /// # Errors
    /// When it was given up, or has been waited for too long in all.
    pub(super) fn beyond(&self, read: u64) -> io::Result<Option<u64>> {
        let mut state = self.lock();
        loop {
            match state.then {
                Then::GivenUp => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the clone was let go")),
                _ if state.chunks > read => return Ok(Some(state.chunks)),
                Then::Nothing => return Ok(None),
                Then::More => {}
            }
            if state.patience.is_zero() {
                state.then = Then::GivenUp;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the line is too slow for that"));
            }
            let began = Instant::now();
            let patience = state.patience;
            (state, _) = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state.patience = state.patience.saturating_sub(began.elapsed());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_what_comes_waits_for_more_and_ends_with_it() {
        let coming = Arc::new(Coming::new(1, Duration::from_secs(60)));
        assert_eq!(coming.beyond(0).ok(), Some(Some(1)));
        let of_reader = Arc::clone(&coming);
        let reader = std::thread::spawn(move || (of_reader.beyond(1).ok(), of_reader.beyond(3).ok()));
        coming.arrived(3);
        assert!(coming.end());
        assert_eq!(reader.join().ok(), Some((Some(Some(3)), Some(None))));
    }

    #[test]
    fn boundary_of_intake_wait_max() {
        let coming = Coming::new(1, Duration::from_millis(20));
        let error = coming.beyond(1).err();
        assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        coming.arrived(2);
        assert!(!coming.end(), "nobody reads the second chunk");
        assert!(coming.beyond(1).is_err());
    }
}
