//! Chunks: how a stream of SQL text is compressed, cut, and put together again.

mod inflater;
mod writer;

pub use inflater::{ChunkError, InflateLimits, Inflater};
pub use writer::ChunkWriter;

#[cfg(test)]
mod tests;
