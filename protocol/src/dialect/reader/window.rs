//! A sliding window over the input: what the recogniser looks at is always contiguous, whatever the input's buffers.

use std::borrow::Cow;
use std::io::{BufRead, ErrorKind};

use super::super::DialectErrorKind;

/// Where the window starts; it grows only for a COPY line that is longer.
const WINDOW_BYTES: usize = 64 << 10;

/// How much of a statement's beginning is kept for error messages.
const HEAD_BYTES: usize = 1024;

/// A reason to stop, before the place is added to it.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) kind: DialectErrorKind,
    pub(super) what: Cow<'static, str>,
}

impl Flaw {
    pub(super) fn refused(what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: DialectErrorKind::Refused, what: what.into() }
    }

    pub(super) fn syntax(what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: DialectErrorKind::Syntax, what: what.into() }
    }

    pub(super) fn too_long(what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: DialectErrorKind::TooLong, what: what.into() }
    }

    pub(super) fn encoding(what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: DialectErrorKind::Encoding, what: what.into() }
    }
}

/// The window itself: `bytes[pos..end]` has been read and not yet consumed.
pub(super) struct Window<R: BufRead> {
    inner: R,
    bytes: Vec<u8>,
    pos: usize,
    end: usize,
    eof: bool,
    /// Offset of `bytes[0]` in the input, and the newlines before it.
    base: u64,
    lines: u64,
    /// Where the current statement began, and as much of its beginning as has left the window.
    statement_start: u64,
    head: Vec<u8>,
}

impl<R: BufRead> Window<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            bytes: vec![0; WINDOW_BYTES],
            pos: 0,
            end: 0,
            eof: false,
            base: 0,
            lines: 0,
            statement_start: 0,
            head: Vec::new(),
        }
    }

    /// What has been read and not consumed.
    #[inline]
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.pos..self.end]
    }

    /// Marks `count` bytes of [`Self::rest`] as consumed; they stay readable by [`Self::slice`] until the next fill.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(self.pos + count <= self.end);
        self.pos += count;
    }

    /// The next byte, none at the end of the input.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<Option<u8>, Flaw> {
        if self.pos < self.end || self.fill()? { Ok(Some(self.bytes[self.pos])) } else { Ok(None) }
    }

    /// The byte `ahead` of the next one.
    #[inline]
    pub(super) fn peek_at(&mut self, ahead: usize) -> Result<Option<u8>, Flaw> {
        if self.has(ahead + 1)? { Ok(Some(self.bytes[self.pos + ahead])) } else { Ok(None) }
    }

    /// Reads on until `count` bytes are unconsumed; false when the input ends before.
    #[inline]
    pub(super) fn has(&mut self, count: usize) -> Result<bool, Flaw> {
        while self.end - self.pos < count {
            if !self.fill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the unconsumed input begins with `text`.
    pub(super) fn starts_with(&mut self, text: &[u8]) -> Result<bool, Flaw> {
        Ok(self.has(text.len())? && self.rest().starts_with(text))
    }

    /// Reads some more; false at the end of the input.
    pub(super) fn fill(&mut self) -> Result<bool, Flaw> {
        if self.eof {
            return Ok(false);
        }
        if self.end == self.bytes.len() {
            if self.pos >= self.bytes.len() / 2 {
                self.compact();
            } else {
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        loop {
            match self.inner.fill_buf() {
                Ok([]) => {
                    self.eof = true;
                    return Ok(false);
                }
                Ok(more) => {
                    let count = more.len().min(self.bytes.len() - self.end);
                    self.bytes[self.end..self.end + count].copy_from_slice(&more[..count]);
                    self.inner.consume(count);
                    self.end += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Flaw {
                        kind: DialectErrorKind::Io,
                        what: format!("the input cannot be read: {error}").into(),
                    });
                }
            }
        }
    }

    fn compact(&mut self) {
        self.keep_head();
        self.lines += newlines(&self.bytes[..self.pos]);
        self.base += self.pos as u64;
        self.bytes.copy_within(self.pos..self.end, 0);
        self.end -= self.pos;
        self.pos = 0;
    }

    fn keep_head(&mut self) {
        let kept = self.head.len();
        let missing = self.statement_start + kept as u64;
        if kept < HEAD_BYTES && missing >= self.base {
            let from = ((missing - self.base) as usize).min(self.pos);
            let to = (from + HEAD_BYTES - kept).min(self.pos);
            self.head.extend_from_slice(&self.bytes[from..to]);
        }
    }

    /// Bytes of input before the next one.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// The line of the next byte, from 1.
    pub(super) fn line(&self) -> u64 {
        1 + self.lines + newlines(&self.bytes[..self.pos])
    }

    /// A statement begins here.
    pub(super) fn begin_statement(&mut self) {
        self.statement_start = self.offset();
        self.head.clear();
    }

    /// The consumed text from `start` on, when all of it is still in the window.
    pub(super) fn since(&self, start: u64) -> Option<&[u8]> {
        let from = start.checked_sub(self.base)?;
        self.bytes.get(from as usize..self.pos)
    }

    /// The beginning of the current statement as consumed, and some of what follows it.
    pub(super) fn statement_text(&self) -> (Vec<u8>, Vec<u8>) {
        let mut consumed = self.head.clone();
        let missing = self.statement_start + consumed.len() as u64;
        if consumed.len() < HEAD_BYTES && missing >= self.base {
            let from = ((missing - self.base) as usize).min(self.pos);
            let to = (from + HEAD_BYTES - consumed.len()).min(self.pos);
            consumed.extend_from_slice(&self.bytes[from..to]);
        }
        let ahead = &self.rest()[..self.rest().len().min(HEAD_BYTES)];
        (consumed, ahead.to_vec())
    }

    /// The place of the last `count` consumed bytes, for [`Self::slice`].
    #[inline]
    pub(super) fn consumed(&self, count: usize) -> usize {
        self.pos - count
    }

    /// Bytes of the window by place; valid until the next fill.
    #[inline]
    pub(super) fn slice(&self, start: usize, end: usize) -> &[u8] {
        &self.bytes[start..end]
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
