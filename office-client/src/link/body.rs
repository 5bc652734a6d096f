//! The body of a request: of known length, handed out in small pieces, at a bounded rate.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::clock;

/// Bytes handed to the connection at one time.
const PIECE_BYTES: usize = 8 * 1024;

/// A body that is sent piece by piece.
pub(super) struct PacedBody {
    rest: Bytes,
    /// Bytes per second; unlimited when none.
    rate: Option<u64>,
    began: Instant,
    taken: u64,
    pause: Option<Pin<Box<Sleep>>>,
    /// Set when the last piece was handed out: before that, the request cannot have had an effect.
    whole: Arc<AtomicBool>,
}

impl PacedBody {
    pub(super) fn new(bytes: Vec<u8>, rate: Option<u64>, whole: Arc<AtomicBool>) -> Self {
        whole.store(bytes.is_empty(), Ordering::Relaxed);
        Self { rest: bytes.into(), rate, began: Instant::now(), taken: 0, pause: None, whole }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let piece_bytes = match self.rate {
            // a slow line gets a piece about every tenth of a second
            Some(rate) => (rate / 10).clamp(64, PIECE_BYTES as u64) as usize,
            None => PIECE_BYTES,
        };
        let count = piece_bytes.min(self.rest.len());
        let piece = self.rest.split_to(count);
        self.taken += piece.len() as u64;
        if self.rest.is_empty() {
            self.whole.store(true, Ordering::Relaxed);
        } else if let Some(rate) = self.rate {
            let due = self.began + clock::real(Duration::from_secs_f64(self.taken as f64 / rate.max(1) as f64));
            self.pause = Some(Box::pin(tokio::time::sleep_until(due)));
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

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_is_kept() {
        let whole = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let body = PacedBody::new(vec![7; 30_000], Some(3000), Arc::clone(&whole));
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 30_000);
        assert!(whole.load(Ordering::Relaxed));
        let elapsed = began.elapsed().as_secs_f64();
        assert!((9.0..=10.5).contains(&elapsed), "{elapsed}");
    }

    #[tokio::test]
    async fn the_length_is_known_before_the_first_piece() {
        let body = PacedBody::new(vec![7; 20_000], None, Arc::default());
        assert_eq!(body.size_hint().exact(), Some(20_000));
    }
}
