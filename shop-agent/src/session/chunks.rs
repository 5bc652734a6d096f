//! The chunk log of one session: appended to, durable chunk by chunk, whole again after a crash.
//!
//! `STATE_DIR/sessions/SID/chunks.log` holds one record per chunk: magic, number, length, CRC-32 of the payload,
//! CRC-32 of the header (all little-endian), then the payload. Every record is on disk before the next one begins, so
//! after a crash only the last one can be torn; it was never acknowledged and is cut off.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use flate2::Crc;
use protocol::session::agent::{Fingerprint, Received};
use replica::killpoint;

use super::intake::Coming;
use super::payload::Payload;

const MAGIC: u32 = 0x4b4e_4843; // "CHNK"
const HEADER_BYTES: usize = 24;
const FILE_NAME: &str = "chunks.log";

/// The log of one session.
#[derive(Debug)]
pub(crate) struct ChunkLog {
    path: PathBuf,
    file: File,
    end: u64,
    received: Received,
    head: Vec<u8>,
}

impl ChunkLog {
    /// Opens the log in `dir`, creating both where they are missing; reads it all and cuts off a torn tail.
    ///
    /// A record that is damaged and not the last was acknowledged: that is an error of kind `InvalidData`.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE_NAME);
        let is_new = !path.exists();
        std::fs::create_dir_all(dir)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600).open(&path)?;
        if is_new {
            File::open(dir)?.sync_all()?;
            if let Some(parent) = dir.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let mut log = Self { path, file, end: 0, received: Received::default(), head: Vec::new() };
        log.recover()?;
        Ok(log)
    }

    fn recover(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut input = BufReader::with_capacity(256 * 1024, &self.file);
        input.seek(SeekFrom::Start(0))?;
        let mut head = Vec::new();
        while self.end < length {
            let Some(header) = Header::read(&mut input)? else { break };
            let record_end = self.end.saturating_add(HEADER_BYTES as u64).saturating_add(header.bytes);
            let is_whole = header.seq == self.received.next_seq && record_end <= length && {
                let mut payload = Counting { inner: (&mut input).take(header.bytes), crc: Crc::new(), head: &mut head };
                io::copy(&mut payload, &mut io::sink())? == header.bytes && payload.crc.sum() == header.crc
            };
            if !is_whole {
                if record_end < length {
                    let message = format!("chunk {} in the log of the session is damaged", self.received.next_seq);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                break;
            }
            self.end = record_end;
            self.received.next_seq += 1;
            self.received.bytes += header.bytes;
            self.received.last = Some(Fingerprint { bytes: header.bytes, crc: header.crc });
        }
        self.head = head;
        if self.received.bytes < self.head.len() as u64 {
            // what a torn record held is no part of the stream
            self.head.truncate(usize::try_from(self.received.bytes).unwrap_or(0));
        }
        if self.end < length {
            self.file.set_len(self.end)?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// What it holds.
    pub(crate) fn received(&self) -> Received {
        self.received
    }

    /// The first bytes of the stream, at most four.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// When it was last written to.
    pub(crate) fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Appends a chunk; it is on disk when this returns. After an error the log is as before.
    pub(crate) fn append(&mut self, payload: &mut Payload) -> io::Result<()> {
        killpoint::reach("chunk.append.before");
        let fingerprint = payload.fingerprint();
        let written = self.write_record(payload, fingerprint);
        if let Err(error) = written {
            // a full disk: give back what was taken; if even that fails, the next open cuts it off
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        if self.head.len() < HEAD_BYTES {
            let more = payload.head(HEAD_BYTES - self.head.len())?;
            self.head.extend(more);
        }
        self.end += HEADER_BYTES as u64 + fingerprint.bytes;
        self.received.next_seq += 1;
        self.received.bytes += fingerprint.bytes;
        self.received.last = Some(fingerprint);
        killpoint::reach("chunk.append.after");
        Ok(())
    }

    fn write_record(&mut self, payload: &mut Payload, fingerprint: Fingerprint) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        let header = Header { seq: self.received.next_seq, bytes: fingerprint.bytes, crc: fingerprint.crc };
        self.file.write_all(&header.encode()?)?;
        payload.copy_to(&mut self.file)?;
        killpoint::reach("chunk.append.written");
        // a failed append may have left more behind the end
        self.file.set_len(self.end + HEADER_BYTES as u64 + fingerprint.bytes)?;
        self.file.sync_data()
    }

    /// The payloads one after the other, as of now; a damaged one is an error while reading.
    pub(crate) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        self.read_with(None)
    }

    /// The same, which waits at the end of what is there for more, and ends as `coming` says.
    pub(super) fn follower(&self, coming: Arc<Coming>) -> io::Result<Box<dyn Read + Send>> {
        self.read_with(Some(coming))
    }

    fn read_with(&self, coming: Option<Arc<Coming>>) -> io::Result<Box<dyn Read + Send>> {
        let input = BufReader::with_capacity(256 * 1024, File::open(&self.path)?);
        Ok(Box::new(LogReader { input, left: self.received.next_seq, next: 0, record: None, coming }))
    }

    /// Removes the log of a session; one that is not there is no error.
    pub(crate) fn remove(dir: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

const HEAD_BYTES: usize = 4;

struct Header {
    seq: u64,
    bytes: u64,
    crc: u32,
}

impl Header {
    fn encode(&self) -> io::Result<[u8; HEADER_BYTES]> {
        let seq = u32::try_from(self.seq).map_err(|_| io::Error::other("too many chunks in one session"))?;
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&seq.to_le_bytes());
        out[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.crc.to_le_bytes());
        let check = crc_of(&out[..20]);
        out[20..24].copy_from_slice(&check.to_le_bytes());
        Ok(out)
    }

    /// The next header; none where the rest is no whole and sound header.
    fn read(input: &mut impl Read) -> io::Result<Option<Self>> {
        let mut raw = [0; HEADER_BYTES];
        match input.read_exact(&mut raw) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let (fields, check) = raw.split_at(20);
        if fields[..4] != MAGIC.to_le_bytes() || check != crc_of(fields).to_le_bytes() {
            return Ok(None);
        }
        let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let bytes = u64::from(word(8)) | u64::from(word(12)) << 32;
        Ok(Some(Self { seq: u64::from(word(4)), bytes, crc: word(16) }))
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

struct Counting<'a, R> {
    inner: R,
    crc: Crc,
    head: &'a mut Vec<u8>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let bytes = &buffer[..count];
        self.crc.update(bytes);
        if self.head.len() < HEAD_BYTES {
            self.head.extend(bytes.iter().take(HEAD_BYTES - self.head.len()));
        }
        Ok(count)
    }
}

struct LogReader {
    input: BufReader<File>,
    left: u64,
    next: u64,
    record: Option<(u64, u32, Crc)>,
    coming: Option<Arc<Coming>>,
}

impl Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.record {
                Some((0, expected, crc)) => {
                    if *expected != crc.sum() {
                        return Err(self.damaged());
                    }
                    self.record = None;
                }
                Some((left, _, crc)) => {
                    let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let count = self.input.read(&mut buffer[..wanted])?;
                    if count == 0 {
                        return Err(self.damaged());
                    }
                    crc.update(&buffer[..count]);
                    *left -= count as u64;
                    return Ok(count);
                }
                None if self.left == 0 => match self.coming.as_ref().map(|coming| coming.beyond(self.next)) {
                    None | Some(Ok(None)) => return Ok(0),
                    Some(Ok(Some(chunks))) => self.left = chunks.saturating_sub(self.next),
                    Some(Err(error)) => return Err(error),
                },
                None => {
                    let header = Header::read(&mut self.input)?.filter(|header| header.seq == self.next);
                    let Some(header) = header else { return Err(self.damaged()) };
                    self.record = Some((header.bytes, header.crc, Crc::new()));
                    self.left -= 1;
                    self.next += 1;
                }
            }
        }
    }
}

impl LogReader {
    fn damaged(&self) -> io::Error {
        let message = format!("chunk {} in the log of the session is damaged", self.next.saturating_sub(1));
        io::Error::new(io::ErrorKind::InvalidData, message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn fill(dir: &Path, chunks: &[Vec<u8>]) -> io::Result<ChunkLog> {
        let mut log = ChunkLog::open(dir)?;
        for chunk in chunks {
            log.append(&mut Payload::Bytes(chunk.clone()))?;
        }
        Ok(log)
    }

    fn contents(log: &ChunkLog) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        log.reader()?.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() -> Outcome {
        let dir = tempfile::tempdir()?;
        let chunks = [b"hello ".to_vec(), Vec::new(), b"world".to_vec()];
        let before = fill(dir.path(), &chunks)?.received();
        let log = ChunkLog::open(dir.path())?;
        assert_eq!(log.received(), before);
        assert_eq!(log.received().next_seq, 3);
        assert_eq!(log.head(), b"hell");
        assert_eq!(contents(&log)?, b"hello world");
        Ok(())
    }

    #[test]
    fn a_damaged_chunk_before_the_last_is_an_error_and_not_a_gap() -> Outcome {
        let dir = tempfile::tempdir()?;
        fill(dir.path(), &[b"first".to_vec(), b"second".to_vec()])?;
        let path = dir.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path)?;
        bytes[HEADER_BYTES] ^= 1;
        std::fs::write(&path, bytes)?;
        let error = ChunkLog::open(dir.path()).err().ok_or("must fail")?;
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// I6: wherever the power goes, whole chunks stay, a torn one goes, and the log takes more.
        #[test]
        fn a_torn_tail_is_cut_off(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let dir = tempfile::tempdir()?;
            drop(fill(dir.path(), &chunks)?);
            let path = dir.path().join(FILE_NAME);
            let length = std::fs::metadata(&path)?.len();
            let keep = cut.index(usize::try_from(length)? + 1);
            File::options().write(true).open(&path)?.set_len(keep as u64)?;

            let mut whole = Vec::new();
            let mut end = 0;
            for chunk in &chunks {
                end += HEADER_BYTES + chunk.len();
                if end > keep { break }
                whole.push(chunk.clone());
            }
            let mut log = ChunkLog::open(dir.path())?;
            prop_assert_eq!(log.received().next_seq, whole.len() as u64);
            prop_assert_eq!(contents(&log)?, whole.concat());
            log.append(&mut Payload::Bytes(b"more".to_vec()))?;
            whole.push(b"more".to_vec());
            let log = ChunkLog::open(dir.path())?;
            prop_assert_eq!(contents(&log)?, whole.concat());
            prop_assert_eq!(log.head(), &whole.concat()[..4]);
        }
    }
}
