//! What a peer may cost the agent: every bound on what a peer controls is here. The product of these bounds keeps its
//! memory under 64 MiB.
//!
//! Each is listed in docs/SECURITY.md and has a test `boundary_of_NAME` just below it, at it, and just above it
//! (tests/tests/limits.rs).

use std::time::Duration;

use protocol::xmlrpc::Limits;

/// Bounds of the server.
#[derive(Debug, Clone)]
pub(crate) struct ServerLimits {
    /// Connections at a time.
    pub(crate) connections_max: usize,
    /// Connections of one address at a time.
    pub(crate) connections_per_peer_max: usize,
    /// Time for the head of a request, and the longest a connection may wait between requests.
    pub(crate) header_timeout: Duration,
    /// Longest pause inside a body.
    pub(crate) body_idle: Duration,
    /// Longest time for a whole body.
    pub(crate) body_total: Duration,
    /// Bytes of one chunk, decoded.
    pub(crate) chunk_bytes_max: u64,
    /// Longest time that an answer may wait to be read further.
    pub(crate) write_idle: Duration,
    /// Bytes that stay free on the disk of the state directory.
    pub(crate) disk_reserve: u64,
    /// Longest time for connections to finish when the agent stops.
    pub(crate) stop_deadline: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 64,
            connections_per_peer_max: 32,
            header_timeout: Duration::from_secs(30),
            body_idle: Duration::from_secs(60),
            body_total: Duration::from_secs(3600),
            write_idle: Duration::from_secs(60),
            chunk_bytes_max: 64 << 20,
            disk_reserve: DISK_RESERVE,
            stop_deadline: Duration::from_secs(30),
        }
    }
}

/// Bytes that stay free on the disk of the state directory, unless configured: the shop's database is often there too.
const DISK_RESERVE: u64 = 256 << 20;

/// Bounds of sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    /// Open sessions of one office.
    pub(crate) sessions_per_office_max: usize,
    /// Bytes that one session may receive.
    pub(crate) session_bytes_max: u64,
    /// Chunks that one session may receive.
    pub(crate) chunks_max: u64,
    /// Bytes that one row may have, as text: it is held in memory while it is written.
    pub(crate) row_bytes_max: usize,
    /// Idle time after which a session is dropped.
    pub(crate) session_idle: Duration,
    /// How long the shop's tables may wait, in all, for the line of a clone that is taken in while it arrives.
    pub(crate) intake_wait_max: Duration,
    /// Bytes that stay free on the disk of the state directory.
    pub(crate) disk_reserve: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_per_office_max: 4,
            session_bytes_max: 64 << 30,
            chunks_max: 4 << 20,
            row_bytes_max: 12 << 20,
            session_idle: Duration::from_secs(24 * 3600),
            intake_wait_max: Duration::from_secs(10),
            disk_reserve: DISK_RESERVE,
        }
    }
}

/// Longest idempotency key of a session, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 200;

/// Bytes of one answer about rows (`sync.digest`, `sync.digest_rows`, `sync.rows`): what a reader of ours takes as a text.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Keys in one call of `sync.rows` or `sync.mark`.
pub(crate) const ROW_KEYS_MAX: usize = 10_000;

/// Bytes of all answers of one `system.multicall`: they are held in memory together.
pub(crate) const MULTICALL_BYTES_MAX: usize = 2 << 20;

/// Bytes of a request's head: the request line and all headers.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

/// Headers of a request.
pub(crate) const HEADERS_MAX: usize = 100;

/// Bytes a second below which a body is not arriving but dripping; a line of 1200 baud is faster.
pub(crate) const DRIP_BYTES_PER_SECOND: u64 = 64;

/// Bytes of an `Authorization` header.
pub(crate) const CREDENTIAL_BYTES_MAX: usize = 1024;

/// Callers that may wait for the expensive verification of a password.
pub(crate) const GUESSES_WAITING_MAX: usize = 16;

/// The same of one address.
pub(crate) const GUESSES_WAITING_PER_PEER_MAX: usize = 2;

/// Failed tries of one user from one address without consequence.
pub(crate) const GUESSES_FREE: u32 = 5;

/// Failed tries of one address, whatever the users, without consequence.
pub(crate) const GUESSES_FREE_PER_PEER: u32 = 30;

/// Users and addresses whose failures are remembered; those that failed longest ago give way.
pub(crate) const GUESSERS_MAX: usize = 4096;

/// Bytes of a body up to which it is read into memory and parsed there.
pub(crate) const INLINE_BODY_BYTES: usize = 64 << 10;

/// Requests that are parsed at a time; each may hold about 4 MiB.
pub(crate) const PARSERS_MAX: usize = 4;

impl ServerLimits {
    /// Bytes of one request's body, before decompression and after it.
    pub(crate) fn body_bytes_max(&self) -> u64 {
        // base64 with a line break every 76 characters, and the envelope
        self.chunk_bytes_max / 10 * 14 + (2 << 20)
    }

    /// Bounds of one XML-RPC document.
    pub(crate) fn xml(&self) -> Limits {
        Limits {
            elements_max: 20_000,
            blob_bytes_max: self.chunk_bytes_max,
            inline_blob_bytes_max: 48 << 10,
            tree_bytes_max: 2 << 20,
            total_bytes_max: self.body_bytes_max(),
            ..Limits::default()
        }
    }
}
