//! Writing: gzip members that each decompress alone.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Input is gathered and handed to the compressor in pieces of this size, with a look at the output after each: a call of
/// the compressor costs as much as some kilobytes of input.
const PIECE_BYTES: usize = 8 << 10;

/// Compresses what is written to it into gzip members, closing one whenever its compressed size reaches a target, so
/// that a chunk of one or more whole members decompresses alone.
///
/// The compressor holds back some output, which is estimated: a member's size is near the target, not exactly it.
pub struct ChunkWriter<W: Write> {
    /// None only while a member is being closed, or after an error.
    state: Option<State<W>>,
    /// Input that has not been compressed yet, less than a piece.
    gathered: Vec<u8>,
    member_bytes: u64,
    level: Compression,
    raw: u64,
    ends: Vec<u64>,
}

enum State<W: Write> {
    Between(Counted<W>),
    Inside(Box<Member<W>>),
}

struct Member<W: Write> {
    encoder: GzEncoder<Counted<W>>,
    /// Output before the member.
    start: u64,
    /// Input of this member, and how much of it had gone in when output last came.
    taken: u64,
    taken_at_output: u64,
    output_seen: u64,
}

struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buf)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Member<W> {
    /// Bytes of the member if it were closed now, as far as can be told.
    fn size(&self) -> u64 {
        let out = self.output_seen - self.start;
        let held = self.taken - self.taken_at_output;
        // Before any output SQL text is taken to shrink to a quarter.
        let held_out = (held * out).checked_div(self.taken_at_output).unwrap_or(held / 4);
        out + held_out
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.encoder.write_all(piece)?;
        self.taken += piece.len() as u64;
        let output = self.encoder.get_ref().bytes;
        // The ten bytes of the gzip header come before anything has been compressed.
        if output > self.output_seen && output > self.start + 64 {
            self.output_seen = output;
            self.taken_at_output = self.taken;
        }
        Ok(())
    }
}

impl<W: Write> ChunkWriter<W> {
    /// Writes to `inner`; `member_bytes` is the compressed size at which a member is closed, `level` is zlib's 0 to 9.
    pub fn new(inner: W, member_bytes: usize, level: u32) -> Self {
        Self {
            state: Some(State::Between(Counted { inner, bytes: 0 })),
            gathered: Vec::with_capacity(PIECE_BYTES),
            member_bytes: member_bytes as u64,
            level: Compression::new(level.min(9)),
            raw: 0,
            ends: Vec::new(),
        }
    }

    /// Closes the last member and returns the output with the end offset of each member. Without input there is none.
    pub fn finish(mut self) -> io::Result<(W, Vec<u64>)> {
        if !self.gathered.is_empty() {
            self.compress()?;
        }
        self.close()?;
        match self.state.take() {
            Some(State::Between(out)) => Ok((out.inner, self.ends)),
            _ => Err(broken()),
        }
    }

    /// Bytes taken so far, before compression.
    pub fn raw_bytes(&self) -> u64 {
        self.raw
    }

    fn open(&mut self) -> io::Result<&mut Member<W>> {
        if let Some(State::Between(_)) = &self.state
            && let Some(State::Between(out)) = self.state.take()
        {
            let start = out.bytes;
            let encoder = GzEncoder::new(out, self.level);
            let member = Member { encoder, start, taken: 0, taken_at_output: 0, output_seen: start };
            self.state = Some(State::Inside(Box::new(member)));
        }
        match &mut self.state {
            Some(State::Inside(member)) => Ok(member),
            _ => Err(broken()),
        }
    }

    /// Compresses what has been gathered; the member is closed when it is full.
    fn compress(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.gathered);
        let target = self.member_bytes;
        let member = self.open()?;
        member.take(&piece)?;
        let full = member.size() >= target;
        self.gathered = piece;
        self.gathered.clear();
        if full { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> io::Result<()> {
        match self.state.take() {
            Some(State::Inside(member)) => {
                let out = member.encoder.finish()?;
                self.ends.push(out.bytes);
                self.state = Some(State::Between(out));
            }
            other => self.state = other,
        }
        Ok(())
    }
}

impl<W: Write> Write for ChunkWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = buf.len().min(PIECE_BYTES - self.gathered.len());
        self.gathered.extend_from_slice(&buf[..taken]);
        self.raw += taken as u64;
        if self.gathered.len() == PIECE_BYTES {
            self.compress()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Members are not cut for a flush: that would only cost bytes.
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::other("the chunk writer has failed before")
}
