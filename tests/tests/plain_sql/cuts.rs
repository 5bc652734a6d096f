//! Ways to pack and to cut a script.

use std::io::{self, Cursor, Read, Write};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

/// One gzip member.
pub(crate) fn gzip(script: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(script).expect("memory");
    encoder.finish().expect("memory")
}

/// Pieces of these sizes in turn, each a gzip member of its own.
pub(crate) fn members(script: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut rest = script;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        packed.extend(gzip(piece));
        rest = after;
    }
    packed
}

/// The first half as gzip, the second as it is.
pub(crate) fn half_packed(script: &[u8]) -> Vec<u8> {
    let (first, second) = script.split_at(script.len() / 2);
    let mut packed = gzip(first);
    packed.extend_from_slice(second);
    packed
}

/// As the program `bzip2` packs it; none where there is no such program.
pub(crate) fn bzip2(script: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new("bzip2").arg("--stdout").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let mut input = child.stdin.take()?;
    let script = script.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&script));
    let output = child.wait_with_output().ok()?;
    writer.join().ok()?.ok()?;
    output.status.success().then_some(output.stdout)
}

/// Hands bytes out in pieces of these sizes in turn, as they come off a line.
pub(crate) struct Trickle {
    bytes: Cursor<Vec<u8>>,
    sizes: Vec<usize>,
    turn: usize,
}

impl Trickle {
    /// All of `bytes`, in pieces.
    pub(crate) fn new(bytes: Vec<u8>, sizes: &[usize]) -> Self {
        Self { bytes: Cursor::new(bytes), sizes: sizes.to_vec(), turn: 0 }
    }
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].min(buffer.len());
        self.turn += 1;
        self.bytes.read(&mut buffer[..size])
    }
}
