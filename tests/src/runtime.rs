//! One runtime per test process, so that the harness can be called from anywhere, also from inside another runtime.

use std::future::Future;
use std::sync::{LazyLock, mpsc};

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("harness")
        .enable_all()
        .build()
        .expect("a runtime for the harness")
});

/// Runs a future to its end, blocking this thread.
///
/// # Panics
/// If the future does.
pub fn run<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let (sender, receiver) = mpsc::channel();
    RUNTIME.spawn(async move {
        // the receiver is there until it has an answer
        let _ = sender.send(future.await);
    });
    receiver.recv().expect("a step of the harness panicked, see above")
}
