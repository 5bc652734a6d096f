//! The body of a request: of known length, handed out in small pieces, at a bounded rate.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::time::Sleep;

use super::pace::Pace;

/// Bytes handed to the connection at one time.
const PIECE_BYTES: usize = 8 * 1024;

/// A body that is sent piece by piece.
pub(super) struct PacedBody {
    rest: Bytes,
    pace: Arc<Pace>,
    /// Length of the next piece, once its time was taken.
    next: Option<usize>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Set when the last piece was handed out: before that, the request cannot have had an effect.
    whole: Arc<AtomicBool>,
}

impl PacedBody {
    pub(super) fn new(bytes: Vec<u8>, pace: Arc<Pace>, whole: Arc<AtomicBool>) -> Self {
        whole.store(bytes.is_empty(), Ordering::Relaxed);
        Self { rest: bytes.into(), pace, next: None, pause: None, whole }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let count = match self.next {
            Some(count) => count,
            None => {
                let count = self.pace.piece_bytes(PIECE_BYTES).min(self.rest.len());
                self.pause = self.pace.take(count).map(|slot| Box::pin(tokio::time::sleep_until(slot.begin)));
                self.next = Some(count);
                count
            }
        };
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        self.next = None;
        let piece = self.rest.split_to(count);
        if self.rest.is_empty() {
            self.whole.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_is_kept() {
        let whole = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let body = PacedBody::new(vec![7; 30_000], Arc::new(Pace::new(Some(3000))), Arc::clone(&whole));
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 30_000);
        assert!(whole.load(Ordering::Relaxed));
        let elapsed = began.elapsed().as_secs_f64();
        assert!((9.0..=10.5).contains(&elapsed), "{elapsed}");
    }

    #[tokio::test]
    async fn the_length_is_known_before_the_first_piece() {
        let body = PacedBody::new(vec![7; 20_000], Arc::new(Pace::new(None)), Arc::default());
        assert_eq!(body.size_hint().exact(), Some(20_000));
    }
}
