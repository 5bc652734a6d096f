//! Connections: accepted, bounded in number and time, and drained at the end.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Console, routes};
use crate::limits::{CONSOLE_CONNECTIONS_MAX, CONSOLE_HEADER_DURATION_MAX, CONSOLE_STOP_DURATION_MAX};

/// Serves until the program is to stop; then every run and every stream of events ends, and what is being answered is
/// waited for, within bounds.
pub(super) async fn run(listener: TcpListener, console: Arc<Console>, tls: Option<Arc<tls::Server>>) {
    let router = routes::router(Arc::clone(&console));
    let graceful = GracefulShutdown::new();
    let seats = Arc::new(Semaphore::new(CONSOLE_CONNECTIONS_MAX));
    loop {
        let seat = Arc::clone(&seats).acquire_owned();
        let (seat, stream, peer) = tokio::select! {
            () = console.stop.wait() => break,
            Ok(seat) = seat => tokio::select! {
                () = console.stop.wait() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => (seat, stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        continue;
                    }
                },
            },
        };
        let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _seat = seat;
            let _ = stream.set_nodelay(true);
            let served = match tls {
                None => watcher.watch(connection(stream, peer, router)).await,
                Some(tls) => match tokio::time::timeout(CONSOLE_HEADER_DURATION_MAX, tls.accept(stream)).await {
                    Ok(Ok(stream)) => watcher.watch(connection(stream, peer, router)).await,
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "no encryption was agreed on"),
                    Err(_) => return,
                },
            };
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    console.closing.cancel();
    if tokio::time::timeout(CONSOLE_STOP_DURATION_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the deadline");
    }
}

fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: SocketAddr,
    router: axum::Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    let service = router.layer(axum::Extension(ConnectInfo(peer)));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONSOLE_HEADER_DURATION_MAX)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
