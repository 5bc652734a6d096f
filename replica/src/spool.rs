//! Frozen streams: files of gzipped SQL, written once from one snapshot, read and sent by offset.
//!
//! A stream lives in the spool directory as `<id>.sql.gz` with its description in `<id>.json`; the description is
//! written last (and renamed into place), so a stream without one was never finished. Its file is locked as long as its
//! writer lives: what is unfinished and not locked was left by a process that died, and is swept away.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use protocol::chunk::ChunkWriter;
use protocol::names::TableName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;

use crate::ReplicaError;

/// Compressed size at which a gzip member ends; a chunk is one or more whole members, or any slice.
pub const MEMBER_BYTES: usize = 64 * 1024;

/// A finished stream in the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenStream {
    /// Name of the stream in its spool: lower-case letters, digits and dashes.
    pub id: String,
    /// Compressed size in bytes.
    pub bytes: u64,
    /// Rows it writes or deletes.
    pub rows: u64,
    /// SHA-256 of the compressed bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// End offsets of the gzip members, ascending; the last equals `bytes`.
    pub members: Vec<u64>,
    /// Watermark that its receiver stores once it is applied.
    pub watermark: Option<String>,
    /// Rows per table, in the order of the stream.
    pub tables: Vec<(TableName, u64)>,
    /// What the writer wants to remember with it (who it is for, from where it starts).
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// A directory of frozen streams.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// Opens the directory, creating it where it is missing.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ReplicaError> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|source| spool_error("create the spool", &dir, source))?;
        Ok(Self { dir })
    }

    /// Where the compressed bytes of a stream are.
    pub fn data_path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.sql.gz"))
    }

    fn description_path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    fn temporary_path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json.new"))
    }

    /// The stream of that name, or none when it is missing, unfinished or not whole.
    pub fn find(&self, id: &str) -> Result<Option<FrozenStream>, ReplicaError> {
        if !is_stream_id(id) {
            return Ok(None);
        }
        let path = self.description_path(id);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(spool_error("read", &path, source)),
        };
        let Ok(stream) = serde_json::from_str::<FrozenStream>(&text) else { return Ok(None) };
        match std::fs::metadata(self.data_path(id)) {
            Ok(data) if data.len() == stream.bytes => Ok(Some(stream)),
            _ => Ok(None),
        }
    }

    /// All finished streams.
    pub fn list(&self) -> Result<Vec<FrozenStream>, ReplicaError> {
        let mut streams = Vec::new();
        let entries = std::fs::read_dir(&self.dir).map_err(|source| spool_error("list", &self.dir, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
                streams.extend(self.find(id)?);
            }
        }
        Ok(streams)
    }

    /// Removes a stream; one that is not there is no error.
    pub fn remove(&self, id: &str) -> Result<(), ReplicaError> {
        if !is_stream_id(id) {
            return Ok(());
        }
        for path in [self.description_path(id), self.temporary_path(id), self.data_path(id)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(spool_error("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts a stream; it becomes visible when it is finished.
    pub fn create(&self, id: &str, level: u32) -> Result<FrozenWriter, ReplicaError> {
        let path = self.data_path(id);
        let file = create_locked(&path).map_err(|source| spool_error("create", &path, source))?;
        let inner = BufWriter::with_capacity(256 * 1024, file);
        let hashing = Hashing { inner, hash: Sha256::new(), bytes: 0, readable: watch::Sender::new(0) };
        Ok(FrozenWriter {
            spool: self.clone(),
            id: id.to_owned(),
            readable: hashing.readable.subscribe(),
            chunks: ChunkWriter::new(hashing, MEMBER_BYTES, level),
        })
    }

    /// Removes what processes left that died while they wrote a stream; what is being written stays.
    pub fn sweep(&self) -> Result<(), ReplicaError> {
        let failed = |source| spool_error("sweep", &self.dir, source);
        for entry in std::fs::read_dir(&self.dir).map_err(failed)?.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".sql.gz")) else { continue };
            if self.description_path(id).exists() {
                continue;
            }
            let Ok(file) = File::open(entry.path()) else { continue };
            // in this order: a writer that has just finished has let go of the lock after the description was there
            if file.try_lock().is_ok() && !self.description_path(id).exists() {
                tracing::debug!(stream = id, "an unfinished stream was swept away");
                self.remove(id)?;
            }
        }
        Ok(())
    }

    /// Bytes of a stream from `offset`, at most `length` of them; fewer at its end, none past it.
    pub async fn read(&self, stream: &FrozenStream, offset: u64, length: u64) -> Result<Vec<u8>, ReplicaError> {
        self.read_written(&stream.id, offset, length.min(stream.bytes.saturating_sub(offset))).await
    }

    /// Bytes of a stream that may still be being written: exactly `wanted` from `offset`.
    ///
    /// # Errors
    /// If its file does not have as many.
    pub async fn read_written(&self, id: &str, offset: u64, wanted: u64) -> Result<Vec<u8>, ReplicaError> {
        let path = self.data_path(id);
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
        let read = async {
            let mut file = tokio::fs::File::open(&path).await?;
            file.seek(std::io::SeekFrom::Start(offset)).await?;
            file.read_exact(&mut bytes).await
        };
        read.await.map_err(|source| spool_error("read", &path, source))?;
        Ok(bytes)
    }
}

/// A new file that is locked until it is closed.
fn create_locked(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::MetadataExt as _;
    loop {
        let file = File::create(path)?;
        file.lock()?;
        // somebody who sweeps may have taken it away before it was locked
        if std::fs::metadata(path).is_ok_and(|named| file.metadata().is_ok_and(|ours| ours.ino() == named.ino())) {
            return Ok(file);
        }
    }
}

/// Whether a name can be one of a stream: nothing that could leave the spool directory.
fn is_stream_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 100 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub(crate) fn spool_error(tried: &str, path: &Path, source: std::io::Error) -> ReplicaError {
    ReplicaError::Spool { what: format!("cannot {tried} {}", path.display()), source }
}

/// Writes one stream.
pub struct FrozenWriter {
    spool: Spool,
    id: String,
    readable: watch::Receiver<u64>,
    chunks: ChunkWriter<Hashing>,
}

impl Write for FrozenWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.chunks.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.chunks.flush()
    }
}

impl FrozenWriter {
    /// How many bytes its file has, for somebody who reads it while it is written.
    pub fn readable(&self) -> watch::Receiver<u64> {
        self.readable.clone()
    }

    /// Ends the stream, makes it durable and gives it its description.
    pub fn finish(
        self,
        rows: u64,
        tables: Vec<(TableName, u64)>,
        watermark: Option<String>,
        labels: std::collections::BTreeMap<String, String>,
    ) -> Result<FrozenStream, ReplicaError> {
        let Self { spool, id, chunks, .. } = self;
        let path = spool.data_path(&id);
        let description = spool.description_path(&id);
        let write = || -> std::io::Result<FrozenStream> {
            let (mut hashing, members) = chunks.finish()?;
            hashing.inner.flush()?;
            hashing.inner.get_ref().sync_data()?;
            let stream = FrozenStream {
                id: id.clone(),
                bytes: hashing.bytes,
                rows,
                sha256: hex(&hashing.hash.finalize()),
                members,
                watermark,
                tables,
                labels,
            };
            let temporary = spool.temporary_path(&id);
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(&stream)?)?;
            file.sync_data()?;
            std::fs::rename(&temporary, &description)?;
            File::open(&spool.dir)?.sync_all()?;
            Ok(stream)
        };
        write().map_err(|source| spool_error("write", &path, source))
    }

    /// Drops an unfinished stream.
    pub fn discard(self) {
        // nothing refers to an unfinished stream; a file left behind is swept away later
        let _ = std::fs::remove_file(self.spool.data_path(&self.id));
    }
}

struct Hashing {
    inner: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    readable: watch::Sender<u64>,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        let in_file = self.bytes - self.inner.buffer().len() as u64;
        self.readable.send_if_modified(|readable| std::mem::replace(readable, in_file) != in_file);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_writer_left_is_swept_away_and_nothing_else() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let spool = Spool::open(dir.path())?;
        let finished = spool.create("finished", 1)?.finish(0, Vec::new(), None, Default::default())?;
        let writing = spool.create("writing", 1)?;
        std::fs::write(spool.data_path("abandoned"), b"half a member")?;
        std::fs::write(spool.temporary_path("abandoned"), b"{")?;
        spool.sweep()?;
        let mut names: Vec<String> = std::fs::read_dir(dir.path())?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["finished.json", "finished.sql.gz", "writing.sql.gz"]);
        writing.finish(0, Vec::new(), None, Default::default())?;
        spool.sweep()?;
        assert!(spool.find("writing")?.is_some() && spool.find(&finished.id)?.is_some());
        Ok(())
    }
}
