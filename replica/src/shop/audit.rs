//! The audit record: who wrote to the shop, from where, when, which tables and how many rows, and the digest of what was sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::Shop;
use crate::ReplicaError;
use crate::error::classify;

/// Most records that are read at a time.
const AUDIT_RECORDS_MAX: i64 = 1000;

/// One session that an office had at the shop.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Number of the session.
    pub sid: i32,
    /// Office that the credential names.
    pub office: String,
    /// Name of the credential; none without authentication.
    pub caller: Option<String>,
    /// Address it came from.
    pub peer: String,
    /// `clone`, `update`, `table`; none for the base methods.
    pub kind: Option<String>,
    /// `open`, `applied`, `refused`, `aborted`, `expired`.
    pub state: String,
    /// When it was opened.
    pub opened_at: SystemTime,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
    /// Rows that were applied.
    pub rows: i64,
    /// Rows of each table.
    pub tables: BTreeMap<String, u64>,
    /// SHA-256 of the chunks one after the other, as they were received; of an applied session.
    pub digest: Option<String>,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// Code of the fault that ended it.
    pub fault_code: Option<i32>,
}

impl Shop {
    /// The newest sessions, the newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn audit(&self, records: i64) -> Result<Vec<AuditRecord>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                "select sid, office, caller, peer, kind, state, opened_at, ended_at, rows, tables::text, digest, dry_run, fault_code
                 from sync.audit order by opened_at desc, sid limit $1",
                &[&records.clamp(0, AUDIT_RECORDS_MAX)],
            )
            .await
            .map_err(|error| classify("read the audit record", error))?;
        let tables = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let record = |row: &tokio_postgres::Row| AuditRecord {
            sid: row.get(0),
            office: row.get(1),
            caller: row.get(2),
            peer: row.get(3),
            kind: row.get(4),
            state: row.get(5),
            opened_at: row.get(6),
            ended_at: row.get(7),
            rows: row.get(8),
            tables: tables(row.get(9)),
            digest: row.get(10),
            dry_run: row.get(11),
            fault_code: row.get(12),
        };
        Ok(rows.iter().map(record).collect())
    }
}

/// Hashes what is read through it.
struct Hashing {
    inner: Box<dyn Read + Send>,
    hash: Arc<Mutex<Sha256>>,
}

/// The hash of what has been read.
pub(super) struct Hash(Arc<Mutex<Sha256>>);

/// The same input, and the hash of what will have been read of it.
pub(super) fn hashing(inner: Box<dyn Read + Send>) -> (Box<dyn Read + Send>, Hash) {
    let hash = Arc::new(Mutex::new(Sha256::new()));
    (Box::new(Hashing { inner, hash: Arc::clone(&hash) }), Hash(hash))
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..count]);
        Ok(count)
    }
}

impl Hash {
    /// In hexadecimal digits.
    pub(super) fn hex(&self) -> String {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize();
        hash.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_all_that_was_read() {
        let (mut reader, hash) = hashing(Box::new(&b"abc"[..]));
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(hash.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
