//! The rules of HTTP for one request, in the order in which they cost least, and then the call itself.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, RETRY_AFTER,
    TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use protocol::fault::{Fault, FaultCode};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::Dispatch;
use super::answer::{AnswerBody, answer, whole};
use super::authentication::{Authentication, Refusal};
use super::body::{Refused, receive};
use super::compression::{Coding, accepts_gzip, coding_of};
use super::house::Guest;
use crate::limits::{HEAD_BYTES_MAX, INLINE_BODY_BYTES, PARSERS_MAX, ServerLimits};

/// Paths that take calls; the first is the canonical one.
const PATHS: [&str; 3] = ["/RPC2", "/XMLRPC", "/"];

/// Which `Host` a request may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// Any.
    Any,
    /// Addresses, `localhost` and these names: a web page elsewhere cannot reach the agent under a name of its own.
    Local(Vec<String>),
}

/// Answers requests.
pub(crate) struct Service<D> {
    dispatcher: Arc<D>,
    authentication: Authentication,
    limits: ServerLimits,
    hosts: Hosts,
    spool_dir: PathBuf,
    parsers: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// A request that is not for XML-RPC to answer.
struct Status {
    code: StatusCode,
    text: &'static str,
    header: Option<(http::HeaderName, HeaderValue)>,
}

impl Status {
    fn new(code: StatusCode, text: &'static str) -> Self {
        Self { code, text, header: None }
    }

    fn with(self, name: http::HeaderName, value: impl Into<HeaderValue>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }
}

impl<D: Dispatch> Service<D> {
    /// Calls go to `dispatcher`, large blobs into `spool_dir`; running calls are counted by `tasks`.
    pub(crate) fn new(
        dispatcher: Arc<D>,
        authentication: Authentication,
        limits: ServerLimits,
        hosts: Hosts,
        spool_dir: PathBuf,
        tasks: TaskTracker,
    ) -> Self {
        let parsers = Arc::new(Semaphore::new(PARSERS_MAX));
        Self { dispatcher, authentication, limits, hosts, spool_dir, parsers, tasks }
    }

    /// Bounds in force.
    pub(crate) fn limits(&self) -> ServerLimits {
        self.limits.clone()
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: hyper::Request<Incoming>, guest: &Guest) -> Response<AnswerBody> {
        let (head, body) = request.into_parts();
        let refusal = match self.admit(&head, &body, guest).await {
            Ok((caller, coding)) => match self.call(&head, body, caller, coding).await {
                Ok(response) => return response,
                // part of the body is unread
                Err(status) => return refuse(status, true),
            },
            Err(status) => status,
        };
        let is_read = drain(body, &head.headers).await;
        refuse(refusal, !is_read || refusal_closes(&head))
    }

    async fn call(
        &self,
        head: &http::request::Parts,
        body: Incoming,
        caller: super::Caller,
        coding: Coding,
    ) -> Result<Response<AnswerBody>, Status> {
        let may_gzip = head.version == Version::HTTP_11 && accepts_gzip(&head.headers);
        let charset = charset_of(&head.headers);
        let received = receive(body, coding, charset, &self.limits, &self.spool_dir, &self.parsers).await;
        let request = match received {
            Ok(request) => request,
            Err(Refused::Fault(fault)) => return Ok(answer(Err(fault), may_gzip).await),
            Err(Refused::Http(code, text)) => return Err(Status::new(code, text)),
        };
        let result = self.carry_out(caller, request).await.unwrap_or_else(|| {
            tracing::error!("a method panicked");
            Err(Fault::new(FaultCode::Internal, "internal error; the shop's log says more"))
        });
        Ok(answer(result, may_gzip).await)
    }

    /// Carries out a call to its end, also when the caller hangs up half-way; none when it panics.
    async fn carry_out(&self, caller: super::Caller, request: super::Request) -> Option<Result<super::Reply, Fault>> {
        let call = AssertUnwindSafe(Arc::clone(&self.dispatcher).call(caller, request)).catch_unwind();
        let mut call = Box::pin(call);
        // only what has to wait for something needs a task of its own, which costs more than most such calls
        match futures_util::poll!(call.as_mut()) {
            Poll::Ready(result) => result.ok(),
            Poll::Pending => self.tasks.spawn(call).await.ok()?.ok(),
        }
    }

    async fn admit(
        &self,
        head: &http::request::Parts,
        body: &Incoming,
        guest: &Guest,
    ) -> Result<(super::Caller, Coding), Status> {
        if head_bytes(head) > HEAD_BYTES_MAX {
            return Err(Status::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large"));
        }
        self.check_host(head)?;
        if !PATHS.contains(&head.uri.path()) {
            return Err(Status::new(StatusCode::NOT_FOUND, ""));
        }
        if head.method != Method::POST {
            let status = Status::new(StatusCode::METHOD_NOT_ALLOWED, "");
            return Err(status.with(ALLOW, HeaderValue::from_static("POST")));
        }
        let headers = &head.headers;
        if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
            return Err(Status::new(StatusCode::LENGTH_REQUIRED, "a body needs a length"));
        }
        if body.size_hint().lower() > self.limits.body_bytes_max() {
            return Err(Status::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
        }
        check_content_type(headers)?;
        let Some(coding) = coding_of(headers) else {
            return Err(Status::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as it is, or gzipped")
                .with(ACCEPT_ENCODING, HeaderValue::from_static("gzip")));
        };
        if let Some(expect) = headers.get(EXPECT)
            && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
        {
            return Err(Status::new(StatusCode::EXPECTATION_FAILED, "only 100-continue is understood"));
        }
        let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let caller =
            self.authentication.caller(authorization, guest.peer()).await.map_err(|refusal| match refusal {
                Refusal::Unauthorized => Status::new(StatusCode::UNAUTHORIZED, "a user and a password are needed")
                    .with(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="shop-agent", charset="UTF-8""#)),
                Refusal::TooManyTries(left) => Status::new(StatusCode::TOO_MANY_REQUESTS, "too many tries; wait")
                    .with(RETRY_AFTER, left.as_secs() + 1),
                Refusal::Unavailable => {
                    Status::new(StatusCode::SERVICE_UNAVAILABLE, "busy; try again").with(RETRY_AFTER, 5_u64)
                }
            })?;
        guest.is_known();
        Ok((caller, coding))
    }

    fn check_host(&self, head: &http::request::Parts) -> Result<(), Status> {
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (None, _) if head.version == Version::HTTP_11 => {
                return Err(Status::new(StatusCode::BAD_REQUEST, "HTTP/1.1 needs a Host"));
            }
            (None, _) => return Ok(()),
            (Some(host), None) => host,
            (Some(_), Some(_)) => return Err(Status::new(StatusCode::BAD_REQUEST, "more than one Host")),
        };
        let Hosts::Local(names) = &self.hosts else { return Ok(()) };
        let allowed = host.to_str().is_ok_and(|host| {
            let name = host_name(host);
            is_address(name)
                || name.eq_ignore_ascii_case("localhost")
                || names.iter().any(|known| known.eq_ignore_ascii_case(name))
        });
        let refusal = || Status::new(StatusCode::MISDIRECTED_REQUEST, "this host name is not served here");
        if allowed { Ok(()) } else { Err(refusal()) }
    }
}

/// Bytes of the request line and of all headers as they came, but for spaces that mean nothing.
fn head_bytes(head: &http::request::Parts) -> usize {
    let line = head.method.as_str().len() + head.uri.path_and_query().map_or(1, |path| path.as_str().len()) + 12;
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    line + headers.sum::<usize>() + 2
}

/// A `Host` without its port.
fn host_name(host: &str) -> &str {
    if let Some(end) = host.find(']') {
        return &host[..=end];
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_address(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok()
}

/// XML, or nothing said. A browser can send forms and plain text to any address without asking; this keeps them out.
fn check_content_type(headers: &HeaderMap) -> Result<(), Status> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or("?").split(';').next().unwrap_or("").trim();
    let is_xml = essence.eq_ignore_ascii_case("text/xml") || essence.eq_ignore_ascii_case("application/xml");
    let refusal = || Status::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send text/xml");
    if is_xml { Ok(()) } else { Err(refusal()) }
}

/// The charset that HTTP names; it goes before the one in the document.
fn charset_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Reads what is left of a small body, so that the connection can be kept and the client hears the answer.
async fn drain(body: Incoming, headers: &HeaderMap) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let is_small = body.size_hint().upper().is_some_and(|bytes| bytes <= INLINE_BODY_BYTES as u64);
    if !is_small || headers.contains_key(EXPECT) {
        return false;
    }
    matches!(tokio::time::timeout(Duration::from_secs(5), body.collect()).await, Ok(Ok(_)))
}

/// Whether what follows on the connection might not be a request.
fn refusal_closes(head: &http::request::Parts) -> bool {
    let headers = &head.headers;
    let has_length = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    head.method == Method::POST && !has_length
}

fn refuse(status: Status, closes: bool) -> Response<AnswerBody> {
    let mut response = Response::new(whole(status.text));
    *response.status_mut() = status.code;
    let headers = response.headers_mut();
    if !status.text.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    if let Some((name, value)) = status.header {
        headers.insert(name, value);
    }
    if closes {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
