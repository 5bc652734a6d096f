//! The HTTP side: connections, TLS, rules of HTTP, bodies, compression, credentials. Knows nothing of methods.

pub(crate) mod accept;
pub(crate) mod answer;
pub(crate) mod authentication;
pub(crate) mod body;
pub(crate) mod compression;
pub(crate) mod house;
pub(crate) mod http;
mod linger;
pub(crate) mod monitor;
pub(crate) mod throttle;
pub(crate) mod tls;
mod unstuck;
pub(crate) mod users;

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::fault::Fault;
use protocol::xmlrpc::{MethodCall, Value};

use crate::session::payload::SpooledBlob;

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Office that the credential names.
    pub(crate) office: String,
    /// Name of the credential; none without authentication.
    pub(crate) user: Option<String>,
    /// Whether its client cannot take nil.
    pub(crate) no_nil: bool,
    /// Where it calls from.
    pub(crate) peer: IpAddr,
}

/// A call, read whole and found well formed.
#[derive(Debug)]
pub(crate) struct Request {
    /// Method and parameters.
    pub(crate) call: MethodCall,
    /// Blobs too large for memory, by their index.
    pub(crate) blobs: Vec<Option<SpooledBlob>>,
}

/// What a method gives back.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A value.
    Value(Value),
    /// A slice of a file, as one base64.
    Slice(Slice),
}

/// Part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The file.
    pub(crate) path: PathBuf,
    /// Where it begins.
    pub(crate) offset: u64,
    /// Bytes of it.
    pub(crate) length: u64,
}

/// Carries out calls. Runs to its end even when the caller hangs up.
pub(crate) trait Dispatch: Send + Sync + 'static {
    /// Carries out one call.
    fn call(self: Arc<Self>, caller: Caller, request: Request) -> impl Future<Output = Result<Reply, Fault>> + Send;
}
