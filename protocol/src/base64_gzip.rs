//! Gzip that takes back what base64 adds, almost for free.
//!
//! A message that is one large base64 of something compressed has no repetitions to find: all that can be saved is that
//! base64 uses 64 of 256 bytes. So its text goes into one deflate block with a fixed Huffman code of six bits for
//! nearly every character, without any search; what is around it is stored as it is. The result is a plain gzip member,
//! larger than the bytes inside the base64 by 0.3 %.

use std::sync::LazyLock;

use flate2::Crc;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Symbol that ends a deflate block.
const END_OF_BLOCK: usize = 256;
/// The order in which deflate lists the lengths of its code for code lengths (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Eight symbols of three bits: a complete code, and all that the header below needs.
const LENGTH_SYMBOLS: [usize; 8] = [0, 1, 6, 7, 8, 16, 17, 18];
/// Most bytes of a stored block.
const STORED_MAX: usize = 65_535;

/// Writes one gzip member in pieces: stored text, base64, stored text.
pub struct Base64Gzip {
    crc: Crc,
    bits: u64,
    count: u32,
    started: bool,
    in_block: bool,
}

/// A Huffman code, its bits in the order in which they are sent, and their number.
#[derive(Clone, Copy, Default)]
struct Code {
    bits: u32,
    length: u32,
}

static CODES: LazyLock<[Code; 257]> = LazyLock::new(|| {
    let mut codes = [Code::default(); 257];
    assign(&symbol_lengths(), &mut codes);
    codes
});

/// Sixty-three characters of six bits, one of seven, padding and the end of the block of eight: complete.
fn symbol_lengths() -> [u8; 257] {
    let mut lengths = [0; 257];
    for &character in ALPHABET {
        lengths[usize::from(character)] = 6;
    }
    lengths[usize::from(b'/')] = 7;
    lengths[usize::from(b'=')] = 8;
    lengths[END_OF_BLOCK] = 8;
    lengths
}

/// Canonical codes for lengths (RFC 1951, 3.2.2).
fn assign(lengths: &[u8], codes: &mut [Code]) {
    let mut next = 0_u32;
    for length in 1..=15_u8 {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, has)| **has == length) {
            let length = u32::from(length);
            codes[symbol] = Code { bits: next.reverse_bits() >> (32 - length), length };
            next += 1;
        }
        next <<= 1;
    }
}

impl Default for Base64Gzip {
    fn default() -> Self {
        Self::new()
    }
}

impl Base64Gzip {
    /// With nothing written yet.
    pub fn new() -> Self {
        Self { crc: Crc::new(), bits: 0, count: 0, started: false, in_block: false }
    }

    /// Appends any bytes, as they are.
    pub fn stored(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.start(out);
        self.end_block(out);
        self.crc.update(bytes);
        for piece in bytes.chunks(STORED_MAX) {
            self.stored_block(piece, false, out);
        }
    }

    /// Appends characters of base64, padding included. Any other byte is sent as if it were padding, so the receiver's
    /// checksum fails.
    pub fn base64(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.start(out);
        if !self.in_block {
            self.begin_block(out);
        }
        self.crc.update(text);
        out.reserve(text.len() / 4 * 3 + text.len() / 256 + 16);
        let codes = &*CODES;
        for four in text.chunks(4) {
            // four codes are at most 32 bits, and fewer than eight are left from before
            for &character in four {
                let code = codes[usize::from(character)];
                let code = if code.length == 0 { codes[usize::from(b'=')] } else { code };
                self.bits |= u64::from(code.bits) << self.count;
                self.count += code.length;
            }
            let whole = (self.count / 8) as usize;
            out.extend_from_slice(&self.bits.to_le_bytes()[..whole]);
            self.bits >>= whole * 8;
            self.count %= 8;
        }
    }

    /// Appends the end of the member.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.end_block(out);
        self.stored_block(&[], true, out);
        out.extend_from_slice(&self.crc.sum().to_le_bytes());
        out.extend_from_slice(&self.crc.amount().to_le_bytes());
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            // magic, deflate, no flags, no time, no hint, unknown system
            out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
            self.started = true;
        }
    }

    fn stored_block(&mut self, bytes: &[u8], is_last: bool, out: &mut Vec<u8>) {
        self.put(u32::from(is_last), 1, out);
        self.put(0, 2, out);
        self.align(out);
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(bytes);
    }

    /// The head of a block with a Huffman code of its own (RFC 1951, 3.2.7).
    fn begin_block(&mut self, out: &mut Vec<u8>) {
        let mut lengths = [0_u8; 19];
        for symbol in LENGTH_SYMBOLS {
            lengths[symbol] = 3;
        }
        let mut codes = [Code::default(); 19];
        assign(&lengths, &mut codes);
        self.put(0, 1, out); // not the last block
        self.put(2, 2, out);
        self.put(0, 5, out); // 257 symbols
        self.put(1, 5, out); // two distances, never used: some readers want a complete code
        self.put(15, 4, out); // all 19 lengths
        for symbol in ORDER {
            self.put(u32::from(lengths[symbol]), 3, out);
        }
        for length in symbol_lengths().into_iter().chain([1, 1]) {
            let code = codes[usize::from(length)];
            self.put(code.bits, code.length, out);
        }
        self.in_block = true;
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        if self.in_block {
            let code = CODES[END_OF_BLOCK];
            self.put(code.bits, code.length, out);
            self.in_block = false;
        }
    }

    fn put(&mut self, bits: u32, count: u32, out: &mut Vec<u8>) {
        self.bits |= u64::from(bits) << self.count;
        self.count += count;
        while self.count >= 8 {
            out.push((self.bits & 0xff) as u8);
            self.bits >>= 8;
            self.count -= 8;
        }
    }

    fn align(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.push((self.bits & 0xff) as u8);
        }
        (self.bits, self.count) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use base64::Engine;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn pack(prefix: &[u8], text: &[u8], suffix: &[u8], piece: usize) -> Vec<u8> {
        let mut gzip = Base64Gzip::new();
        let mut out = Vec::new();
        gzip.stored(prefix, &mut out);
        for part in text.chunks(piece) {
            gzip.base64(part, &mut out);
        }
        gzip.stored(suffix, &mut out);
        gzip.finish(&mut out);
        out
    }

    proptest! {
        #[test]
        fn any_gzip_reader_gets_back_what_went_in(
            prefix in proptest::collection::vec(any::<u8>(), 0..300),
            bytes in proptest::collection::vec(any::<u8>(), 0..3000),
            suffix in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1_usize..200,
        ) {
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes).into_bytes();
            let packed = pack(&prefix, &text, &suffix, piece);
            let mut unpacked = Vec::new();
            GzDecoder::new(&packed[..]).read_to_end(&mut unpacked)?;
            prop_assert_eq!(unpacked, [prefix, text, suffix].concat());
        }
    }

    #[test]
    fn the_overhead_of_base64_is_taken_back() {
        // a multiplicative generator: every byte as likely as any other
        let mut seed = 1_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(300_000)
        .collect();
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes).into_bytes();
        let packed = pack(b"<value>", &text, b"</value>", 4096);
        assert!(packed.len() < bytes.len() + bytes.len() / 200, "{} for {}", packed.len(), bytes.len());
    }

    #[test]
    fn long_text_is_stored_in_several_blocks() -> std::io::Result<()> {
        let long = vec![b'x'; 200_000];
        let packed = pack(&long, b"QUJD", b"", 4);
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut unpacked)?;
        assert_eq!(unpacked.len(), 200_004);
        Ok(())
    }
}
