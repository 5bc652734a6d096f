//! Text for a COPY in pieces: the driver copies what it is given into a buffer of its own, a long row must not be there
//! twice.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::{CopyInSink, Error};

/// Longest text that is handed over as it is.
const PIECE_BYTES: usize = 1 << 20;

/// Feeds all of the text.
pub(super) async fn feed(mut sink: Pin<&mut CopyInSink<Bytes>>, mut text: Bytes) -> Result<(), Error> {
    while text.len() > PIECE_BYTES {
        sink.feed(text.split_to(PIECE_BYTES)).await?;
    }
    sink.feed(text).await
}
