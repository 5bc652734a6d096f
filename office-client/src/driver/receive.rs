//! Fetching a frozen diff slice by slice into a file that survives both programs, and checking it as a whole.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use protocol::methods::{DiffRead, FrozenDiff};
use protocol::session::office::Event;
use protocol::xmlrpc::Blob;
use replica::office::{Branch, Office};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::allowance::Allowance;
use super::sizer::Sizer;
use super::{Drive, DriveError, Job};
use crate::link::{LinkError, Patience, Peer, clock};
use crate::output::Direction;
use replica::killpoint::reach;

impl Drive<'_> {
    /// Appends what is missing to the file of this diff. Its length says how much there is.
    pub(super) async fn receive(&mut self) -> Result<Event, DriveError> {
        let diff = self.diff.clone().ok_or_else(|| DriveError::Confused("no open diff".into()))?;
        let path = self.job.office.receive_path(&self.job.branch, &diff.id);
        if !fetch(&self.job, &mut self.peer, &self.allowance, &mut self.receiving, &diff, &path).await? {
            tracing::warn!(branch = %self.job.branch.name, diff = %diff.id, "the received diff is damaged and was thrown away");
            return Ok(Event::Damaged);
        }
        self.received = Some(path);
        reach("office.pull.received");
        Ok(Event::Done)
    }
}

/// Appends what is missing of a frozen diff to a file, slice by slice: whether it is whole and sound then. One that is not
/// is removed.
pub(super) async fn fetch(
    job: &Job<'_>,
    peer: &mut Peer,
    allowance: &Allowance,
    slices: &mut Sizer,
    diff: &FrozenDiff,
    path: &Path,
) -> Result<bool, DriveError> {
    let total = u64::try_from(diff.bytes).unwrap_or(0);
    let (mut file, mut offset) = open_part(path, total).await?;
    let rows = u64::try_from(diff.rows).unwrap_or(0);
    let tables = diff.tables.iter().map(|(table, rows)| (table.clone(), u64::try_from(*rows).unwrap_or(0)));
    job.progress.tables(Direction::Receive, tables);
    job.progress.transfer(Direction::Receive, rows, total, offset);
    while offset < total {
        if job.stop.requested() {
            file.flush().await.map_err(|source| file_error("write", path, source))?;
            return Err(DriveError::Interrupted);
        }
        let moved = peer.client().counters().moved();
        let length = allowance.of_wanted(slices.bytes(), moved)?.min(total - offset);
        let read = DiffRead { id: diff.id.clone(), offset: offset as i64, length: length as i64 };
        let began = Instant::now();
        match peer.once(&read, Patience::Quick).await {
            Ok(Blob::Inline(data)) if !data.is_empty() && data.len() as u64 <= length => {
                let write = async {
                    file.write_all(&data).await?;
                    file.flush().await
                };
                write.await.map_err(|source| file_error("write", path, source))?;
                offset += data.len() as u64;
                slices.took(data.len() as u64, clock::on_line(began.elapsed()));
                job.progress.at(offset);
                job.progress.redials(peer.redials());
                tracing::debug!(branch = %job.branch.name, bytes = data.len(), offset, "slice received");
                reach("office.pull.slice");
            }
            Ok(blob) => {
                return Err(DriveError::Confused(format!("{} bytes where {length} were asked for", blob.len())));
            }
            Err(error @ (LinkError::Failed { .. } | LinkError::Unknown { .. })) => {
                slices.halve();
                peer.pause(error).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    drop(file);
    let is_sound = sha256(path).await? == diff.sha256.to_ascii_lowercase();
    if !is_sound {
        remove(path).await?;
    }
    Ok(is_sound)
}

/// Removes the received files of a branch but the one of this diff: what an earlier run had applied, or not, before it
/// died. Whoever calls holds the branch.
pub(super) async fn remove_others(office: &Office, branch: &Branch, diff_id: &str) -> Result<(), DriveError> {
    let kept = office.receive_path(branch, diff_id);
    let Some(dir) = kept.parent() else { return Ok(()) };
    let mut entries = match tokio::fs::read_dir(dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(file_error("list", dir, source)),
    };
    let own = format!("{}-", branch.id);
    while let Some(entry) = entries.next_entry().await.map_err(|source| file_error("list", dir, source))? {
        if entry.file_name().to_string_lossy().starts_with(&own) && entry.path() != kept {
            remove(&entry.path()).await?;
        }
    }
    Ok(())
}

/// Bytes that an earlier run has left of a received file.
pub(super) async fn received_bytes(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |file| file.len())
}

/// Opens the file for appending; one that is longer than the diff belongs to something else and is emptied.
async fn open_part(path: &Path, total: u64) -> Result<(tokio::fs::File, u64), DriveError> {
    let open = async {
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await?;
        let mut length = file.metadata().await?.len();
        if length > total {
            file.set_len(0).await?;
            length = 0;
        }
        Ok((file, length))
    };
    open.await.map_err(|source| file_error("open", path, source))
}

/// SHA-256 of a file, in lower-case hexadecimal.
pub(super) async fn sha256(path: &Path) -> Result<String, DriveError> {
    let owned: PathBuf = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
        let mut file = std::fs::File::open(owned)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(replica::spool::hex(&hash.finalize())),
                count => hash.update(&buffer[..count]),
            }
        }
    })
    .await;
    match hashed {
        Ok(result) => result.map_err(|source| file_error("read", path, source)),
        Err(error) => Err(DriveError::Confused(error.to_string())),
    }
}

/// Removes a received file; one that is not there is no error.
pub(super) async fn remove(path: &Path) -> Result<(), DriveError> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_error("remove", path, error)),
        _ => Ok(()),
    }
}

pub(super) fn file_error(tried: &str, path: &Path, source: std::io::Error) -> DriveError {
    DriveError::File { what: format!("{tried} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_is_continued_and_a_foreign_file_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/part");
        let (mut file, offset) = open_part(&path, 10).await.unwrap();
        assert_eq!(offset, 0);
        file.write_all(b"abcd").await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(open_part(&path, 10).await.unwrap().1, 4);
        assert_eq!(open_part(&path, 3).await.unwrap().1, 0);
    }

    #[tokio::test]
    async fn the_fingerprint_is_the_usual_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        std::fs::write(&path, b"abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).await.unwrap(), expected);
    }
}
