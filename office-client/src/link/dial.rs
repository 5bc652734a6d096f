//! Opening a connection: TCP, TLS where the address says so, and HTTP on top, its bytes counted below all of them.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tls::Caller;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::body::PacedBody;
use super::counted::Counted;
use super::{Address, Counters, LinkError};
use crate::limits::{CONNECT_DURATION_MAX, REPLY_HEAD_BYTES_MAX};

/// A connection, and what became of it.
pub(super) struct Connection {
    /// Takes requests.
    pub(super) sender: SendRequest<PacedBody>,
    /// Moves the bytes; ends with the reason when the other end does not take this program's certificate.
    driver: JoinHandle<Option<String>>,
}

impl Connection {
    /// Why the other end did not take this program's certificate, if that is why the connection broke. With TLS 1.3 it
    /// says so after this end believes that all is well.
    pub(super) async fn identity_refusal(self) -> Option<String> {
        drop(self.sender);
        tokio::time::timeout(LAST_WORDS, self.driver).await.ok()?.ok()?
    }
}

/// How long a broken connection may take to say why it broke.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Opens a connection to an agent.
///
/// # Errors
/// If it cannot be reached within the time ([`LinkError::Failed`], which may be tried again), or must not be talked to
/// ([`LinkError::Untrusted`], which may not).
pub(super) async fn dial(
    address: &Address,
    caller: Option<&Caller>,
    counters: &Arc<Counters>,
) -> Result<Connection, LinkError> {
    let opening = async {
        let failed = |error| LinkError::failed(format!("reach {address}"), error);
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(failed)?;
        // requests are written in one go, so that waiting for more would only cost time
        stream.set_nodelay(true).map_err(failed)?;
        let stream = Counted::new(stream, Arc::clone(counters));
        match caller {
            None => speak_http(address, stream).await,
            Some(caller) => {
                let stream =
                    caller.connect(&address.host, stream).await.map_err(|error| not_encrypted(address, error))?;
                speak_http(address, stream).await
            }
        }
    };
    match tokio::time::timeout(CONNECT_DURATION_MAX, opening).await {
        Ok(result) => result,
        Err(_) => {
            let why = format!("no answer within {} s", CONNECT_DURATION_MAX.as_secs());
            Err(LinkError::failed(format!("reach {address}"), why))
        }
    }
}

async fn speak_http(
    address: &Address,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Connection, LinkError> {
    let (sender, driver) = http1::Builder::new()
        .max_buf_size(REPLY_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| LinkError::failed(format!("reach {address}"), error))?;
    let driver = tokio::spawn(async move {
        let error = driver.await.err()?;
        tracing::debug!(error = %error, "connection ended");
        tls::identity_refusal(&error)
    });
    Ok(Connection { sender, driver })
}

/// What it means that no encrypted connection came about.
pub(super) fn not_encrypted(address: &Address, error: tls::ConnectError) -> LinkError {
    match error {
        tls::ConnectError::Io(_) => LinkError::failed(format!("reach {address}"), error),
        other => LinkError::Untrusted { address: address.to_string(), source: Box::new(other) },
    }
}
