//! COPY text lines: fields out of them, and a buffer of lines that goes to disk when it grows.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};

use protocol::dialect::escaped_byte;

/// Lines held in memory before they go to a temporary file.
const MEMORY_BYTES: usize = 1024 * 1024;

/// Most bytes of one of the [`LineBlocks`].
const BLOCK_BYTES: u64 = 64 * 1024;

/// Splits the first `count` fields off a COPY text line: (those fields joined by tabs, the rest).
pub(super) fn split_fields(line: &[u8], count: usize) -> (&[u8], &[u8]) {
    let mut tabs = memchr::memchr_iter(b'\t', line);
    match count.checked_sub(1).and_then(|index| tabs.nth(index)) {
        Some(position) => (&line[..position], &line[position + 1..]),
        None => (line, &[]),
    }
}

/// The text of one COPY field, unescaped; none for `\N`.
pub(super) fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    if field == b"\\N" {
        return None;
    }
    let mut text = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        text.push(match bytes.next() {
            Some(&character) => escaped_byte(character).unwrap_or(character),
            None => b'\\',
        });
    }
    Some(text)
}

/// Lines that are kept for later in bounded memory.
#[derive(Default)]
pub(crate) struct LineBuffer {
    memory: Vec<u8>,
    file: Option<File>,
}

impl LineBuffer {
    /// Adds a line (without its newline).
    pub(crate) fn push(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.memory.extend_from_slice(line);
        self.memory.push(b'\n');
        if self.memory.len() >= MEMORY_BYTES {
            if self.file.is_none() {
                self.file = Some(anonymous_file()?);
            }
            if let Some(file) = &mut self.file {
                file.write_all(&self.memory)?;
                self.memory.clear();
            }
        }
        Ok(())
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.file.is_none()
    }

    /// Hands every line to `each`, in order.
    pub(super) fn drain(self, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let Self { memory, file } = self;
        let mut reader: Box<dyn BufRead> = match file {
            None => Box::new(memory.as_slice()),
            Some(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(BufReader::new(file).chain(memory.as_slice()))
            }
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            each(line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
    }
}

/// The lines of a [`LineBuffer`] in blocks.
pub(crate) struct LineBlocks {
    reader: Box<dyn Read + Send>,
}

impl LineBuffer {
    /// The lines as they lie, to be passed on.
    pub(crate) fn into_blocks(self) -> std::io::Result<LineBlocks> {
        let Self { memory, file } = self;
        let memory = std::io::Cursor::new(memory);
        let reader: Box<dyn Read + Send> = match file {
            None => Box::new(memory),
            Some(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(file.chain(memory))
            }
        };
        Ok(LineBlocks { reader })
    }
}

impl LineBlocks {
    /// The next block; none at the end.
    pub(crate) fn next_block(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut block = Vec::new();
        self.reader.by_ref().take(BLOCK_BYTES).read_to_end(&mut block)?;
        Ok((!block.is_empty()).then_some(block))
    }
}

/// A file that has no name and goes with its handle.
fn anonymous_file() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("sync-{}-{:016x}", std::process::id(), rand::random::<u64>()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_off_the_front() {
        assert_eq!(split_fields(b"t\t1\t2\tx", 3), (&b"t\t1\t2"[..], &b"x"[..]));
        assert_eq!(split_fields(b"t", 1), (&b"t"[..], &b""[..]));
        assert_eq!(split_fields(b"t\tx", 0), (&b"t\tx"[..], &b""[..]));
    }

    #[test]
    fn lines_come_back_in_order_beyond_memory() {
        let mut buffer = LineBuffer::default();
        for number in 0..200_000 {
            buffer.push(format!("line {number}").as_bytes()).unwrap();
        }
        let mut next = 0;
        buffer
            .drain(|line| {
                assert_eq!(line, format!("line {next}").as_bytes());
                next += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(next, 200_000);
    }
}
