//! What a peer may cost the agent. The product of these bounds keeps its memory under 64 MiB.

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
            chunk_bytes_max: 64 << 20,
            stop_deadline: Duration::from_secs(30),
        }
    }
}

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
