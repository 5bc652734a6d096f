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

/// A client that speaks byte by byte, over no network: time can stand still meanwhile.
#[cfg(test)]
pub(super) mod test_client {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::connection;

    pub(in crate::console) struct Client(DuplexStream);

    impl Client {
        /// Connects to pages.
        pub(in crate::console) fn connect(router: axum::Router) -> Self {
            let (here, there) = tokio::io::duplex(256 * 1024);
            tokio::spawn(async move {
                let _ = connection(there, ([127, 0, 0, 1], 1).into(), router).await;
            });
            Self(here)
        }

        /// Says something; a server that has heard enough may have closed.
        pub(in crate::console) async fn say(&mut self, words: &str) {
            let _ = self.0.write_all(words.as_bytes()).await;
        }

        /// The status of what is answered until the connection ends; empty where nothing is.
        pub(in crate::console) async fn status(&mut self) -> String {
            let mut answer = Vec::new();
            let _ = self.0.read_to_end(&mut answer).await;
            let text = String::from_utf8_lossy(&answer);
            text.split(' ').nth(1).unwrap_or_default().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::test_client::Client;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn boundary_of_console_header_duration_max() {
        let moment = Duration::from_millis(1);
        for (pause, status) in [
            (CONSOLE_HEADER_DURATION_MAX - 2 * moment, "404"),
            (CONSOLE_HEADER_DURATION_MAX - moment, "404"),
            (CONSOLE_HEADER_DURATION_MAX + moment, ""),
        ] {
            let mut client = Client::connect(axum::Router::new());
            client.say("GET / HTTP/1.1\r\nHost: localhost\r\n").await;
            tokio::time::sleep(pause).await;
            client.say("Connection: close\r\n\r\n").await;
            assert_eq!(client.status().await, status, "{pause:?}");
        }
    }
}
