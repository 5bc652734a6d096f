//! Connections: a bounded number, a bounded number of one peer, each with timers, all of them let finish at the end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::http::Service;
use super::linger::Lingering;

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves until `stop`, then lets what is running finish within the deadline.
pub(crate) async fn serve<D: Dispatch>(listener: TcpListener, service: Arc<Service<D>>, stop: CancellationToken) {
    let limits = service.limits();
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let peers = Arc::new(Peers::default());
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                // a full house waits in the backlog of the socket
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (permit, stream, peer) = match accepted {
            (Ok(permit), Ok((stream, peer))) => (permit, stream, peer),
            (_, Err(error)) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of file descriptors: others must end first
                continue;
            }
            (Err(_), _) => break,
        };
        let Some(seat) = Peers::seat(&peers, peer.ip(), limits.connections_per_peer_max) else {
            tracing::warn!(peer = %peer.ip(), "too many connections of one address");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = connection(stream, peer, Arc::clone(&service));
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(peer = %peer, %error, "connection ended");
            }
            drop((permit, seat));
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.stop_deadline, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the deadline");
    }
}

fn connection<D: Dispatch>(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<Service<D>>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    let header_timeout = service.limits().header_timeout;
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.answer(request, peer.ip()).await) }
    });
    // without pipeline_flush: it holds answers back while anything unread is at hand, and loses them when the connection then
    // closes, those that say 400, 411 and 413
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_BYTES_MAX.max(8192) * 4)
        .serve_connection(TokioIo::new(Lingering::new(stream)), answer)
}

#[derive(Default)]
struct Peers {
    counts: Mutex<HashMap<IpAddr, usize>>,
}

struct Seat {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    fn seat(peers: &Arc<Self>, peer: IpAddr, most: usize) -> Option<Seat> {
        let mut counts = peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat { peers: Arc::clone(peers), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}
