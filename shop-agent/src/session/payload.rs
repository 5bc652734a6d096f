//! A chunk that has arrived, in memory or in a file without a name.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;
use protocol::session::agent::Fingerprint;
use protocol::xmlrpc::BlobSink;

use super::room;

/// Bytes of a blob after which the room on the disk is looked at again.
const LOOK_BYTES: u64 = 4 << 20;

/// Bytes of one chunk.
#[derive(Debug)]
pub(crate) enum Payload {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file that has no name any more: it goes with the process.
    File(SpooledBlob),
}

/// A blob on disk.
#[derive(Debug)]
pub(crate) struct SpooledBlob {
    file: File,
    fingerprint: Fingerprint,
}

impl Payload {
    /// Length and CRC-32.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Bytes(bytes) => {
                let mut crc = Crc::new();
                crc.update(bytes);
                Fingerprint { bytes: bytes.len() as u64, crc: crc.sum() }
            }
            Self::File(blob) => blob.fingerprint,
        }
    }

    /// Copies all of it.
    pub(crate) fn copy_to(&mut self, out: &mut File) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => out.write_all(bytes),
            Self::File(blob) => {
                blob.file.seek(SeekFrom::Start(0))?;
                let copied = io::copy(&mut blob.file, out)?;
                if copied == blob.fingerprint.bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
        }
    }

    /// Up to `limit` bytes from its beginning.
    pub(crate) fn head(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes[..bytes.len().min(limit)].to_vec()),
            Self::File(blob) => {
                blob.file.seek(SeekFrom::Start(0))?;
                let mut head = Vec::new();
                (&mut blob.file).take(limit as u64).read_to_end(&mut head)?;
                Ok(head)
            }
        }
    }
}

/// Takes the blobs of one request into files.
pub(crate) struct FileSink {
    dir: PathBuf,
    disk_reserve: u64,
    current: Option<(BufWriter<File>, Crc, u64)>,
    done: Vec<Option<SpooledBlob>>,
}

impl FileSink {
    /// Files are made in `dir`, and leave that much of its disk free.
    pub(crate) fn new(dir: &Path, disk_reserve: u64) -> Self {
        Self { dir: dir.to_owned(), disk_reserve, current: None, done: Vec::new() }
    }

    /// What was taken, by the index of the blob.
    pub(crate) fn into_blobs(self) -> Vec<Option<SpooledBlob>> {
        self.done
    }
}

impl BlobSink for FileSink {
    fn begin(&mut self, index: usize) -> io::Result<()> {
        room::ensure(&self.dir, LOOK_BYTES, self.disk_reserve)?;
        if index >= self.done.len() {
            self.done.resize_with(index + 1, || None);
        }
        self.current = Some((BufWriter::with_capacity(64 * 1024, nameless_file(&self.dir)?), Crc::new(), 0));
        self.done.truncate(index + 1);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((file, crc, count)) = &mut self.current else { return Err(io::ErrorKind::InvalidInput.into()) };
        crc.update(bytes);
        let before = *count / LOOK_BYTES;
        *count += bytes.len() as u64;
        if *count / LOOK_BYTES > before {
            room::ensure(&self.dir, LOOK_BYTES, self.disk_reserve)?;
        }
        file.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some((file, crc, bytes)) = self.current.take() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let blob = SpooledBlob { file, fingerprint: Fingerprint { bytes, crc: crc.sum() } };
        if let Some(slot) = self.done.last_mut() {
            *slot = Some(blob);
        }
        Ok(())
    }
}

/// A new file without a name: a crash leaves nothing behind.
fn nameless_file(dir: &Path) -> io::Result<File> {
    loop {
        let path = dir.join(format!("{:016x}.part", rand::random::<u64>()));
        let mut options = File::options();
        match std::os::unix::fs::OpenOptionsExt::mode(options.read(true).write(true).create_new(true), 0o600)
            .open(&path)
        {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
