//! Chunks: how a stream of SQL text is compressed, cut, and put together again.

mod inflater;
mod writer;

pub use inflater::{ChunkError, InflateLimits, Inflater};
pub use writer::ChunkWriter;

/// How hard a stream is worth compressing for a line that carries so many bytes per second: a modem waits for the last
/// byte, a fast network for the compressor. Where the line is not known, the level at which zlib reaches gzip's usual
/// ratio at several times its speed.
pub fn level_for(bytes_per_s: Option<u64>) -> u32 {
    match bytes_per_s {
        None => 2,
        Some(rate) if rate < 256 << 10 => 9,
        Some(rate) if rate < 4 << 20 => 6,
        Some(_) => 2,
    }
}

#[cfg(test)]
mod tests;
