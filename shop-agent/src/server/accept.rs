//! Connections: let in by the [`House`], encrypted where that is wanted, each with timers, all of them let finish at the
//! end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::house::{Guest, House};
use super::http::Service;
use super::linger::Lingering;
use super::unstuck::Unstuck;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, ServerLimits};

/// Less than any time that a peer is given.
const TICK: Duration = Duration::from_millis(500);

/// First byte of a TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a caller hears that speaks plain HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 34\r\n\
    Connection: close\r\n\r\nthis port speaks TLS: use https://";

/// Serves until `stop`, then lets what is running finish within the deadline.
pub(crate) async fn serve<D: Dispatch>(
    listener: TcpListener,
    service: Arc<Service<D>>,
    tls: Option<Arc<tls::Server>>,
    stop: CancellationToken,
) {
    let limits = service.limits();
    let house = Arc::new(House::new(limits.connections_max, limits.connections_per_peer_max));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of file descriptors: others must end first
                continue;
            }
        };
        let guest = tokio::select! {
            () = stop.cancelled() => break,
            guest = House::enter(&house, peer.ip()) => guest,
        };
        let Some(guest) = guest else {
            tracing::debug!(peer = %peer.ip(), "too many connections of one address");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = connection(stream, peer, guest, Arc::clone(&service), tls.clone(), graceful.watcher());
        tokio::spawn(connection);
    }
    drop(listener);
    if tokio::time::timeout(limits.stop_deadline, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the deadline");
    }
}

/// One connection, from its first byte to its end, or until it gives way to another one.
async fn connection<D: Dispatch>(
    stream: TcpStream,
    peer: SocketAddr,
    guest: Guest,
    service: Arc<Service<D>>,
    tls: Option<Arc<tls::Server>>,
    watcher: Watcher,
) {
    let limits = service.limits();
    let guest = Arc::new(guest);
    let stream = Unstuck::new(stream, limits.write_idle);
    let talk = async {
        match tls {
            None => speak_http(stream, peer, Arc::clone(&guest), service, watcher).await,
            Some(tls) => match encrypted(stream, &tls, &limits).await {
                Ok(Some(stream)) => speak_http(stream, peer, Arc::clone(&guest), service, watcher).await,
                Ok(None) => {}
                Err(error) => tracing::debug!(%peer, %error, "no encryption was agreed on"),
            },
        }
    };
    tokio::select! {
        () = talk => {}
        () = keep_time() => {}
        () = guest.asked_to_leave() => tracing::debug!(%peer, "a connection without a credential gave way to a new one"),
    }
}

/// Lets the runtime's clock tick while somebody is connected. A timer that is due before all others wakes a thread when it
/// is set, and one is set for every head: so another one is always due earlier.
async fn keep_time() {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
    }
}

/// Shakes hands within the time for a head; none for a caller that was told to speak TLS.
async fn encrypted(
    mut stream: Unstuck<TcpStream>,
    tls: &tls::Server,
    limits: &ServerLimits,
) -> io::Result<Option<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>> {
    let shaking = async {
        let mut first = [0];
        let count = stream.get_ref().peek(&mut first).await?;
        if count == 1 && first[0] != TLS_HANDSHAKE {
            stream.write_all(SPEAK_TLS).await?;
            stream.shutdown().await?;
            // what it had to say is read, so that it hears the answer instead of a reset
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            return Ok(None);
        }
        tls.accept(stream).await.map(Some)
    };
    tokio::time::timeout(limits.header_timeout, shaking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn speak_http<D: Dispatch>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    guest: Arc<Guest>,
    service: Arc<Service<D>>,
    watcher: Watcher,
) {
    let header_timeout = service.limits().header_timeout;
    let answer = service_fn(move |request| {
        let (service, guest) = (Arc::clone(&service), Arc::clone(&guest));
        async move { Ok::<_, std::convert::Infallible>(service.answer(request, &guest).await) }
    });
    // without pipeline_flush: it holds answers back while anything unread is at hand, and loses them when the connection then
    // closes, those that say 400, 411 and 413
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        // what is read at a time; the bound of a head is held exactly when it is there
        .max_buf_size(HEAD_BYTES_MAX * 4)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Lingering::new(stream)), answer);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
