//! Closing a connection so that the peer hears the last answer.
//!
//! A socket that is closed with bytes unread answers the peer with a reset, and a reset wipes out what the peer has not
//! read yet: the very answer that says why (400, 411, 413). So the writing side ends first, and what still comes is
//! swallowed for a moment.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long the peer may take to close its side.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Bytes of it that are swallowed.
const SWALLOWED_BYTES_MAX: usize = 16 << 20;

/// A stream that lingers when it is shut down.
#[derive(Debug)]
pub(crate) struct Lingering<S> {
    inner: S,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Open,
    Swallowing { left: usize, until: Pin<Box<Sleep>> },
    Ended,
}

impl<S> Lingering<S> {
    /// Around a stream that is open.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, phase: Phase::Open }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.phase {
                Phase::Open => {
                    ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                    let until = Box::pin(tokio::time::sleep(LINGER_MAX));
                    this.phase = Phase::Swallowing { left: SWALLOWED_BYTES_MAX, until };
                }
                Phase::Swallowing { left, until } => {
                    let mut space = [0_u8; 8 << 10];
                    let mut buffer = ReadBuf::new(&mut space);
                    let is_over = until.as_mut().poll(cx).is_ready();
                    let read = match Pin::new(&mut this.inner).poll_read(cx, &mut buffer) {
                        Poll::Pending if is_over => 0,
                        Poll::Pending => return Poll::Pending,
                        // the peer has gone, one way or the other
                        Poll::Ready(Err(_)) => 0,
                        Poll::Ready(Ok(())) => buffer.filled().len(),
                    };
                    *left = left.saturating_sub(read);
                    if read == 0 || *left == 0 || is_over {
                        this.phase = Phase::Ended;
                    }
                }
                Phase::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}
