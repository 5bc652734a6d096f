//! Files that carry a frozen stream: written whole or not at all, checked whole before anything of them is used.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use protocol::carried::{CarriedHeader, HEADER_BYTES_MAX};
use sha2::{Digest, Sha256};

use crate::ReplicaError;
use crate::spool::{hex, spool_error};

/// Bytes read at a time while a file is checked.
const BLOCK_BYTES: usize = 256 * 1024;

/// Writes a file of header and stream, readable by its owner only; one that is there already is replaced, in one step,
/// when the new one is complete and on disk.
///
/// # Errors
/// When it cannot be written; the file of that name is then as it was.
pub fn write(path: &Path, header: &CarriedHeader, stream: Option<&Path>) -> Result<(), ReplicaError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.is_empty() {
        return Err(ReplicaError::Invalid(format!("{} names no file", path.display())));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = dir.join(format!(".{name}.{:016x}", rand::random::<u64>()));
    let write = || -> std::io::Result<()> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut writer = BufWriter::with_capacity(BLOCK_BYTES, file);
        writer.write_all(header.to_line().as_bytes())?;
        if let Some(stream) = stream {
            std::io::copy(&mut File::open(stream)?, &mut writer)?;
        }
        writer.flush()?;
        writer.get_ref().sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| {
        // half a file has no use
        let _ = std::fs::remove_file(&temporary);
        spool_error("write", path, source)
    })
}

/// A file whose every byte was checked.
#[derive(Debug)]
pub struct CarriedFile {
    /// What it says about itself.
    pub header: CarriedHeader,
    file: File,
    path: PathBuf,
    offset: u64,
}

impl CarriedFile {
    /// Opens and checks a file: its header, its length, its SHA-256.
    ///
    /// # Errors
    /// [`ReplicaError::FileRefused`] when it is not whole or no file of this product.
    pub fn open(path: &Path) -> Result<Self, ReplicaError> {
        let failed = |source| spool_error("read", path, source);
        let refused = |why: String| ReplicaError::FileRefused(format!("{}: {why}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let mut reader = BufReader::with_capacity(BLOCK_BYTES, &file);
        let mut line = Vec::new();
        reader.by_ref().take(HEADER_BYTES_MAX as u64).read_until(b'\n', &mut line).map_err(failed)?;
        let header = CarriedHeader::parse(&line).map_err(|error| refused(error.to_string()))?;
        let mut hash = Sha256::new();
        let mut length = 0;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let count = reader.read(&mut block).map_err(failed)?;
            if count == 0 {
                break;
            }
            length += count as u64;
            hash.update(&block[..count]);
        }
        if length != header.bytes {
            return Err(refused(format!(
                "the file is not whole: it holds {length} bytes of {}; copy it again",
                header.bytes
            )));
        }
        if length > 0 && hex(&hash.finalize()) != header.sha256 {
            return Err(refused("the file is damaged: its SHA-256 is not the announced one; copy it again".into()));
        }
        let offset = line.len() as u64;
        drop(reader);
        Ok(Self { header, file, path: path.to_owned(), offset })
    }

    /// The stream in it, from its beginning.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stream(&self) -> Result<Box<dyn Read + Send>, ReplicaError> {
        let failed = |source| spool_error("read", &self.path, source);
        let mut file = self.file.try_clone().map_err(failed)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        Ok(Box::new(file.take(self.header.bytes)))
    }
}
