//! Base64: a decoder that takes text in any pieces, an encoder that takes bytes in any pieces, and the sink of large ones.

use std::io;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::PAD;

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
use base64::engine::Simd as Base64;

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
static ENGINE: LazyLock<Base64> = LazyLock::new(|| Base64::standard(PAD));

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
static ENGINE: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, PAD));

/// Characters that are decoded at once; small enough for the cache, a multiple of four.
const PIECE: usize = 48 << 10;
/// Lines shorter than this are gathered first; longer ones are decoded where they lie.
const DIRECT: usize = 4 << 10;

/// Receives the bytes of large base64 values while a document is read.
///
/// They arrive before the document has been read to its end: a sink must keep them apart until the reader has returned
/// `Ok`, and throw them away when it has not. After an error neither `write` nor `end` is called any more.
pub trait BlobSink {
    /// A blob begins; `index` counts the blobs that this sink receives from one document, from 0.
    fn begin(&mut self, index: usize) -> io::Result<()>;
    /// The next bytes of it, at most some tens of kilobytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The blob is complete.
    fn end(&mut self) -> io::Result<()>;
}

/// The length of `bytes` bytes as unbroken, padded base64.
pub fn base64_len(bytes: u64) -> u64 {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Encodes bytes that arrive in pieces as one unbroken, padded line.
#[derive(Debug, Default)]
pub struct Base64Encoder {
    carry: Vec<u8>,
}

impl Base64Encoder {
    /// With nothing pushed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the base64 of `input` to `out`, except for what makes no whole group of three bytes yet.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        if !self.carry.is_empty() {
            let missing = (3 - self.carry.len()).min(input.len());
            let (head, rest) = input.split_at(missing);
            self.carry.extend_from_slice(head);
            input = rest;
            if self.carry.len() < 3 {
                return;
            }
            encode(&self.carry, out);
            self.carry.clear();
        }
        let (whole, rest) = input.split_at(input.len() / 3 * 3);
        encode(whole, out);
        self.carry.extend_from_slice(rest);
    }

    /// Appends the last group, padded.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        encode(&self.carry, out);
        self.carry.clear();
    }
}

/// Appends the padded base64 of `input`.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    base64_simd::STANDARD.encode_append(input, out);
}

/// Why base64 text was not accepted.
#[derive(Debug)]
pub(super) enum DecodeError<E> {
    /// The text is wrong.
    Text(&'static str),
    /// The receiver of the bytes failed.
    Target(E),
}

/// Decodes base64 text that arrives in any pieces, strictly: white space is dropped, all else must be the standard
/// alphabet with its padding. One decoder serves all values of a document, so that small ones cost no allocation.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pending: Vec<u8>,
    out: Vec<u8>,
    padded: bool,
}

impl Decoder {
    /// Forgets a value that was not read to its end.
    pub(super) fn reset(&mut self) {
        self.pending.clear();
        self.padded = false;
    }

    /// Text that has not been decoded yet, to find out what is wrong with it.
    pub(super) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Takes more text; hands what it decodes to `emit`.
    pub(super) fn push<E>(
        &mut self,
        text: &[u8],
        mut emit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        let mut rest = text;
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (mut run, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if !self.pending.is_empty() && run.len() >= DIRECT {
                // a whole number of groups goes first, so that the rest needs no copy
                let (head, tail) = run.split_at(self.pending.len().wrapping_neg() & 3);
                self.pending.extend_from_slice(head);
                self.flush(&mut emit)?;
                run = tail;
            }
            while self.pending.is_empty() && run.len() >= DIRECT {
                let piece = run.len().min(PIECE) & !3;
                match self.decode(Some(&run[..piece])) {
                    Ok(len) => emit(&self.out[..len]).map_err(DecodeError::Target)?,
                    Err(_) => break, // blanks inside, or wrong: the slow way finds out
                }
                run = &run[piece..];
            }
            while !run.is_empty() {
                let (head, tail) = run.split_at(run.len().min(PIECE - self.pending.len()));
                self.pending.extend_from_slice(head);
                run = tail;
                if self.pending.len() == PIECE {
                    self.flush(&mut emit)?;
                }
            }
        }
        Ok(())
    }

    /// The text is complete.
    pub(super) fn finish<E>(&mut self, emit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), DecodeError<E>> {
        self.flush(emit)?;
        self.pending.retain(|&byte| !is_blank(byte));
        if !self.pending.is_empty() {
            return Err(DecodeError::Text("base64 of an incomplete length; padding is missing"));
        }
        Ok(())
    }

    /// Decodes the groups of four that are pending.
    fn flush<E>(&mut self, mut emit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), DecodeError<E>> {
        let len = match self.decode(None) {
            Ok(len) => len,
            Err(_) => {
                self.pending.retain(|&byte| !is_blank(byte));
                self.decode(None).map_err(DecodeError::Text)?
            }
        };
        let whole = self.pending.len() & !3;
        self.pending.drain(..whole);
        emit(&self.out[..len]).map_err(DecodeError::Target)
    }

    /// Decodes the given text, or the whole groups of what is pending, into `out`; returns how many bytes came out.
    fn decode(&mut self, text: Option<&[u8]>) -> Result<usize, &'static str> {
        let text = text.unwrap_or(&self.pending[..self.pending.len() & !3]);
        if text.is_empty() {
            return Ok(0);
        }
        if self.padded {
            return Err("base64 goes on after its padding");
        }
        let room = text.len() / 4 * 3;
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let len = ENGINE.decode_slice(text, &mut self.out).map_err(|_| "text that is not base64")?;
        self.padded = text.ends_with(b"=");
        Ok(len)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        let mut emit = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok::<(), ()>(())
        };
        pieces.iter().try_for_each(|piece| decoder.push(piece, &mut emit)).ok()?;
        decoder.finish(&mut emit).ok()?;
        Some(bytes)
    }

    #[test]
    fn text_is_decoded_strictly_except_for_white_space() {
        let check = |text: &str, want: Option<&[u8]>| {
            assert_eq!(decode(&[text.as_bytes()]).as_deref(), want, "{text:?}");
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(decode(&single).as_deref(), want, "{text:?} byte by byte");
        };
        check("", Some(b""));
        check(" \r\n\t", Some(b""));
        check("eW91", Some(b"you"));
        check(" e W\r\n9\t1 ", Some(b"you"));
        check("eQ==", Some(b"y"));
        check("eQ = =\n", Some(b"y"));
        for bad in
            ["eW8", "eQ", "eQ=", "e", "eW8==", "eW91=", "eR==", "eQ==eQ==", "eQ== eW91", "e!W91", "eW-_", "====", "é"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn long_text_with_blanks_padding_or_junk_is_told_apart() {
        let bytes: Vec<u8> = (0..200_000u32).map(|at| (at * 31 % 251) as u8).collect();
        let mut text = Vec::new();
        encode(&bytes, &mut text);
        let wrapped: Vec<u8> = text.chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect();
        let spaced: Vec<u8> = text.chunks(9000).flat_map(|line| [line, b" "].concat()).collect();
        for good in [&text, &wrapped, &spaced] {
            assert!(decode(&[good]).as_deref() == Some(&bytes));
            assert!(decode(&good.chunks(70_001).collect::<Vec<_>>()).as_deref() == Some(&bytes));
        }
        let mut doubled = text.clone();
        doubled.extend_from_slice(&text); // the first half ends in padding
        assert_eq!(decode(&[&doubled]), None);
        text[100_000] = b'!';
        assert_eq!(decode(&[&text]), None);
    }

    proptest! {
        #[test]
        fn what_was_encoded_in_pieces_is_decoded_in_others(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 1..50usize, other in 1..50usize) {
            let mut encoder = Base64Encoder::new();
            let mut text = Vec::new();
            bytes.chunks(cut).for_each(|piece| encoder.push(piece, &mut text));
            encoder.finish(&mut text);
            prop_assert_eq!(text.len() as u64, base64_len(bytes.len() as u64));
            prop_assert_eq!(decode(&text.chunks(other).collect::<Vec<_>>()), Some(bytes));
        }
    }
}
