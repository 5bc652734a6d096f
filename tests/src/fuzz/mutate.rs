//! Makes inputs out of others: bytes flipped, pieces moved, words of the language put in, elements doubled or nested.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// No input grows beyond this.
const BYTES_MAX: usize = 32 << 10;

/// A source of inputs; the same seed gives the same ones.
#[derive(Debug)]
pub struct Mutator {
    random: StdRng,
    words: &'static [&'static str],
}

impl Mutator {
    /// Mutations with these words in them.
    pub fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { random: StdRng::seed_from_u64(seed), words }
    }

    /// One input out of the pool, changed in a few places.
    pub fn next(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one_of(pool);
        for _ in 0..1 << self.random.random_range(0..4) {
            self.change(&mut bytes, pool);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn one_of(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        if pool.is_empty() {
            return Vec::new();
        }
        pool[self.random.random_range(0..pool.len())].clone()
    }

    fn change(&mut self, bytes: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let (start, end) = self.range(bytes.len());
        match self.random.random_range(0..12) {
            0 if !bytes.is_empty() => {
                let at = self.random.random_range(0..bytes.len());
                bytes[at] ^= 1 << self.random.random_range(0..8);
            }
            1 if !bytes.is_empty() => {
                let at = self.random.random_range(0..bytes.len());
                bytes[at] = self.random.random();
            }
            2 => drop(bytes.drain(start..end)),
            3 => {
                let piece = bytes[start..end].to_vec();
                bytes.splice(end..end, piece);
            }
            4 => {
                let piece: Vec<u8> = bytes.drain(start..end).collect();
                let at = self.random.random_range(0..=bytes.len());
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = self.one_of(pool);
                let (from, to) = self.range(other.len());
                bytes.splice(start..end, other[from..to].iter().copied());
            }
            6 => bytes.truncate(end),
            7 => {
                let (from, to) = self.element(bytes);
                let piece = bytes[from..to].to_vec();
                let times = self.random.random_range(1..8);
                if piece.len() * times < BYTES_MAX {
                    bytes.splice(to..to, piece.repeat(times));
                }
            }
            8 => {
                // the same element inside itself: depth
                let (from, to) = self.element(bytes);
                let piece = bytes[from..to].to_vec();
                let at = from + piece.len() / 2;
                bytes.splice(at..at, piece);
            }
            9 => {
                let byte: u8 = self.random.random();
                let count = 1 << self.random.random_range(0..12);
                bytes.splice(start..start, std::iter::repeat_n(byte, count));
            }
            _ if !self.words.is_empty() => {
                let word = self.words[self.random.random_range(0..self.words.len())];
                let end = if self.random.random() { start } else { end };
                bytes.splice(start..end, word.bytes());
            }
            _ => bytes.push(self.random.random()),
        }
    }

    /// A short stretch.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.random.random_range(0..=length);
        let longest = (length - start).min(1 << self.random.random_range(0..10));
        (start, start + self.random.random_range(0..=longest))
    }

    /// From an opening sign to a closing one: a tag, a bracket, a line.
    fn element(&mut self, bytes: &[u8]) -> (usize, usize) {
        let (start, _) = self.range(bytes.len());
        let opens = |byte: &u8| matches!(byte, b'<' | b'(' | b'[' | b'\n');
        let closes = |byte: &u8| matches!(byte, b'>' | b')' | b']' | b';');
        let from = bytes[start..].iter().position(opens).map_or(start, |at| start + at);
        let skipped = self.random.random_range(0..4);
        let to = bytes[from..].iter().enumerate().filter(|(_, byte)| closes(byte)).nth(skipped);
        (from, to.map_or(bytes.len(), |(at, _)| from + at + 1))
    }
}
