//! The address for those who watch the agent: `/healthz`, `/readyz` and `/metrics`, apart from the office's. It answers
//! on loopback, or to those who bring the token; it changes nothing.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at a time: a scraper, a probe, a person.
const CONNECTIONS_MAX: usize = 8;

/// Longest life of a connection.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// What those who watch may ask.
pub(crate) trait Watched: Send + Sync + 'static {
    /// Whether the process works, or what is wrong with it.
    fn alive(&self) -> Result<(), String>;
    /// Whether a call would be carried out now, or why not.
    fn ready(&self) -> impl Future<Output = Result<(), String>> + Send;
    /// All figures, in the text format of Prometheus.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// A secret that scrapers send as `Authorization: Bearer`; only its hash is kept.
#[derive(Debug, Clone)]
pub(crate) struct Token([u8; 32]);

impl Token {
    /// Of the text in a file, without the white space around it.
    pub(crate) fn new(text: &str) -> Self {
        Self(Sha256::digest(text.trim()).into())
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = bearer.and_then(|value| value.split_once(' ')) else { return false };
        let sent: [u8; 32] = Sha256::digest(token.trim()).into();
        scheme.eq_ignore_ascii_case("bearer") && bool::from(sent.ct_eq(&self.0))
    }
}

/// Answers until `stop`.
pub(crate) async fn serve<W: Watched>(
    listener: TcpListener,
    watched: Arc<W>,
    token: Option<Token>,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (Ok(permit), Ok((stream, _))) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await; // out of file descriptors: others must end first
            continue;
        };
        let (watched, token, stop) = (Arc::clone(&watched), token.clone(), stop.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let (watched, token) = (Arc::clone(&watched), token.clone());
                async move { Ok::<_, Infallible>(answer(&request, &*watched, token.as_ref()).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), answer);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
                () = tokio::time::sleep(CONNECTION_MAX) => {}
            }
            drop(permit);
        });
    }
}

async fn answer<W: Watched>(request: &Request<Incoming>, watched: &W, token: Option<&Token>) -> Response<Full<Bytes>> {
    if token.is_some_and(|token| !token.is_in(request.headers())) {
        let mut response = text(StatusCode::UNAUTHORIZED, "send the token as Authorization: Bearer TOKEN\n".into());
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, String::new());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => verdict(watched.alive()),
        "/readyz" => verdict(watched.ready().await),
        "/metrics" => {
            let mut response = text(StatusCode::OK, watched.metrics().await);
            let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, version);
            response
        }
        _ => text(StatusCode::NOT_FOUND, "there is /healthz, /readyz and /metrics\n".into()),
    }
}

fn verdict(result: Result<(), String>) -> Response<Full<Bytes>> {
    match result {
        Ok(()) => text(StatusCode::OK, "ok\n".into()),
        Err(mut reason) => {
            let _ = writeln!(reason);
            text(StatusCode::SERVICE_UNAVAILABLE, reason)
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
