//! Reading: gzip, bzip2 or plain text, told apart by their first bytes.

use std::io::{self, BufRead, ErrorKind, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

/// Output that is never held against the ratio: small things may shrink a lot.
const RATIO_SLACK_BYTES: u64 = 1 << 20;

/// Bounds of what an [`Inflater`] lets out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InflateLimits {
    /// Bytes after decompression.
    pub bytes_max: u64,
    /// Decompressed bytes for each compressed byte, beyond the first MiB.
    pub ratio_max: u64,
}

impl Default for InflateLimits {
    /// 16 GiB, and a little more than deflate can reach at all (1032): what stops bzip2, which can reach 45,000.
    fn default() -> Self {
        Self { bytes_max: 16 << 30, ratio_max: 1100 }
    }
}

/// Why chunks cannot be read; travels inside an [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A compressed stream is broken or cut short.
    #[error("the chunk data is damaged near byte {offset} of the compressed data: send it again")]
    Damaged {
        /// Compressed bytes read so far.
        offset: u64,
    },
    /// More comes out than the limits allow.
    #[error("the chunk data grows to more than {limit} bytes, which is its limit")]
    TooLarge {
        /// The limit that was passed, in decompressed bytes.
        limit: u64,
    },
}

impl ChunkError {
    /// The chunk error inside an I/O error, if that is what it is.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Decompresses what arrives: gzip (one or many members, or the slices of one stream put together), bzip2, or plain
/// SQL text, told apart at the start and after each compressed stream. Plain text reaches to the end of the input.
pub struct Inflater<R: BufRead> {
    /// None only while one stream gives way to the next, or after an error.
    state: Option<State<R>>,
    limits: InflateLimits,
    written: u64,
}

enum State<R: BufRead> {
    Between(Source<R>),
    Gzip(Box<GzDecoder<Source<R>>>),
    Bzip2(BzDecoder<Source<R>>),
    Plain(Source<R>),
    End,
}

impl<R: BufRead> Inflater<R> {
    /// Reads the compressed bytes from `inner`.
    pub fn new(inner: R, limits: InflateLimits) -> Self {
        Self { state: Some(State::Between(Source::new(inner))), limits, written: 0 }
    }

    /// Decompressed bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn count(&mut self, bytes: usize, consumed: u64, compressed: bool) -> io::Result<()> {
        self.written += bytes as u64;
        let ratio_limit = consumed.saturating_mul(self.limits.ratio_max).saturating_add(RATIO_SLACK_BYTES);
        let limit = if compressed { self.limits.bytes_max.min(ratio_limit) } else { self.limits.bytes_max };
        if self.written > limit {
            self.state = None;
            return Err(io::Error::new(ErrorKind::InvalidData, ChunkError::TooLarge { limit }));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Inflater<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let state = self.state.take().ok_or_else(|| io::Error::other("the chunk data has failed before"))?;
            match state {
                State::End => {
                    self.state = Some(State::End);
                    return Ok(0);
                }
                State::Between(source) => self.state = Some(begin(source)?),
                State::Plain(mut source) => {
                    let count = source.read(buf)?;
                    let consumed = source.consumed;
                    self.state = Some(if count == 0 { State::End } else { State::Plain(source) });
                    self.count(count, consumed, false)?;
                    return Ok(count);
                }
                State::Gzip(mut decoder) => {
                    let count = match decoder.read(buf) {
                        Ok(count) => count,
                        Err(error) => return Err(decoder.get_ref().failure(error)),
                    };
                    if count == 0 {
                        self.state = Some(State::Between(decoder.into_inner()));
                        continue;
                    }
                    let consumed = decoder.get_ref().consumed;
                    self.state = Some(State::Gzip(decoder));
                    self.count(count, consumed, true)?;
                    return Ok(count);
                }
                State::Bzip2(mut decoder) => {
                    let count = match decoder.read(buf) {
                        Ok(count) => count,
                        Err(error) => return Err(decoder.get_ref().failure(error)),
                    };
                    if count == 0 {
                        self.state = Some(State::Between(decoder.into_inner()));
                        continue;
                    }
                    let consumed = decoder.get_ref().consumed;
                    self.state = Some(State::Bzip2(decoder));
                    self.count(count, consumed, true)?;
                    return Ok(count);
                }
            }
        }
    }
}

/// Tells by its first bytes what comes next.
fn begin<R: BufRead>(mut source: Source<R>) -> io::Result<State<R>> {
    Ok(match source.first_bytes()? {
        [] => State::End,
        [0x1f, 0x8b, ..] | [0x1f] => State::Gzip(Box::new(GzDecoder::new(source))),
        [b'B', b'Z', b'h', b'1'..=b'9'] | [b'B', b'Z', b'h'] | [b'B', b'Z'] => State::Bzip2(BzDecoder::new(source)),
        _ => State::Plain(source),
    })
}

/// The input, with the few bytes that were looked at put back, a count, and a memory of its own errors.
struct Source<R> {
    inner: R,
    ahead: [u8; 4],
    ahead_start: usize,
    ahead_end: usize,
    consumed: u64,
    failed: bool,
}

impl<R: BufRead> Source<R> {
    fn new(inner: R) -> Self {
        Self { inner, ahead: [0; 4], ahead_start: 0, ahead_end: 0, consumed: 0, failed: false }
    }

    /// Up to four bytes, which stay to be read.
    fn first_bytes(&mut self) -> io::Result<&[u8]> {
        self.ahead.copy_within(self.ahead_start..self.ahead_end, 0);
        self.ahead_end -= self.ahead_start;
        self.ahead_start = 0;
        while self.ahead_end < self.ahead.len() {
            let count = match self.inner.read(&mut self.ahead[self.ahead_end..]) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if count == 0 {
                break;
            }
            self.ahead_end += count;
        }
        Ok(&self.ahead[..self.ahead_end])
    }

    /// An error of the input itself as it is; one of the decoder as damage.
    fn failure(&self, error: io::Error) -> io::Error {
        if self.failed {
            return error;
        }
        io::Error::new(ErrorKind::InvalidData, ChunkError::Damaged { offset: self.consumed })
    }
}

impl<R: BufRead> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead_start < self.ahead_end {
            return Ok(&self.ahead[self.ahead_start..self.ahead_end]);
        }
        loop {
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        // Asked twice, since the first answer cannot leave the loop that retries; it is buffered by now.
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count as u64;
        if self.ahead_start < self.ahead_end {
            self.ahead_start = (self.ahead_start + count).min(self.ahead_end);
        } else {
            self.inner.consume(count);
        }
    }
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buf.len());
        buf[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
