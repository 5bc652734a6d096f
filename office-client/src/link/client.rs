//! XML-RPC calls over one keep-alive HTTP/1.1 connection, opened when it is needed and again after a loss.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use protocol::base64_gzip::Base64Gzip;
use protocol::methods::Call;
use protocol::xmlrpc::{self, Base64Encoder, Blob, BlobSink, Envelope, Limits, ReadErrorKind, Value};
use tokio::io::AsyncWriteExt as _;

use super::body::PacedBody;
use super::dial::{Connection, dial};
use super::pace::Pace;
use super::{Address, Counters, Credentials, LinkError, TrustSettings, clock};
use crate::limits::{
    REPLY_BYTES_MAX, REPLY_ELEMENTS_MAX, REPLY_HEAD_BYTES_MAX, REPLY_MEMORY_BYTES_MAX, REPLY_TREE_BYTES_MAX,
    REPLY_VALUE_BYTES_MAX, WORK_DURATION_MAX,
};

/// How a shop is reached.
#[derive(Debug, Clone)]
pub(crate) struct LinkSettings {
    /// Where its agent listens.
    pub(crate) address: Address,
    /// Whose certificate is taken, and which one is shown.
    pub(crate) trust: TrustSettings,
    /// User and password, where the agent wants them.
    pub(crate) credentials: Option<Credentials>,
    /// How long a connection may stay silent while a quick answer is awaited.
    pub(crate) silence_max: Duration,
    /// Bytes per second that may move, both directions together; unlimited when none.
    pub(crate) rate_limit: Option<u64>,
    /// Directory for replies that are too long for memory.
    pub(crate) temporary_dir: PathBuf,
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The peer only looks something up or stores a chunk.
    Quick,
    /// The peer works: clean, a diff, an apply.
    Work,
}

/// A link to one agent.
pub(crate) struct Client {
    settings: LinkSettings,
    /// What was prepared out of the settings for TLS; sessions are resumed as long as it lives.
    caller: Option<Arc<tls::Caller>>,
    counters: Arc<Counters>,
    pace: Arc<Pace>,
    connection: Option<Connection>,
    gzip_requests: bool,
}

impl Client {
    /// A link that is not connected yet.
    ///
    /// # Errors
    /// If the settings about certificates cannot work.
    pub(crate) fn new(settings: LinkSettings) -> Result<Self, LinkError> {
        let caller = settings.trust.caller(&settings.address)?;
        if settings.address.is_exposed() && settings.credentials.is_some() {
            tracing::warn!(
                address = %settings.address,
                "INSECURE: plain HTTP beyond this machine: password and data can be read and changed on the way; use https://"
            );
        }
        let pace = Arc::new(Pace::new(settings.rate_limit));
        Ok(Self { settings, caller, counters: Arc::default(), pace, connection: None, gzip_requests: false })
    }

    /// Bytes on the wire so far.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Compresses the bodies of requests from now on; only for a peer that announces that it takes them.
    pub(crate) fn compress_requests(&mut self, on: bool) {
        self.gzip_requests = on;
    }

    /// Makes one typed call.
    pub(crate) async fn call<C: Call>(&mut self, call: &C, patience: Patience) -> Result<C::Reply, LinkError> {
        let value = self.call_value(C::METHOD, &call.params(), patience).await?;
        // an answer that is none tells nothing about the effect
        C::reply(value).map_err(|error| LinkError::unknown(C::METHOD, error))
    }

    /// Makes one call with any values.
    pub(crate) async fn call_value(
        &mut self,
        method: &str,
        params: &[Value],
        patience: Patience,
    ) -> Result<Value, LinkError> {
        let body = xmlrpc::write_call(method, params).map_err(LinkError::Unwritable)?;
        let reply = self.exchange(method, body, patience, REPLY_VALUE_BYTES_MAX).await?;
        reply.into_value(method, None).await
    }

    /// Makes one call and writes a long base64 in its answer to a file; the value says what was written.
    /// A short one is written there too. Nothing is written when the answer holds none.
    pub(crate) async fn call_to_file(
        &mut self,
        method: &str,
        params: &[Value],
        patience: Patience,
        file: &Path,
    ) -> Result<Value, LinkError> {
        let body = xmlrpc::write_call(method, params).map_err(LinkError::Unwritable)?;
        let reply = self.exchange(method, body, patience, REPLY_BYTES_MAX).await?;
        reply.into_value(method, Some(file.to_owned())).await
    }

    /// Sends one chunk, with its number where the peer counts.
    pub(crate) async fn send_chunk(&mut self, sid: i64, data: &[u8], seq: Option<u64>) -> Result<(), LinkError> {
        let sid = i32::try_from(sid).map_or(Value::Long(sid), Value::Int);
        let number = |seq: u64| i32::try_from(seq).map_or(Value::Long(seq as i64), Value::Int);
        let after: Vec<Value> = seq.map(number).into_iter().collect();
        let envelope = xmlrpc::call_envelope("sql_create", &[sid], &after).map_err(LinkError::Unwritable)?;
        let body = if self.gzip_requests { packed_chunk(&envelope, data) } else { plain_chunk(envelope, data) };
        let reply = self.exchange("sql_create", body, Patience::Quick, REPLY_VALUE_BYTES_MAX).await?;
        reply.into_value("sql_create", None).await.map(drop)
    }

    /// Sends a request and takes in the reply. A connection that broke is dropped; the next call opens another one.
    async fn exchange(
        &mut self,
        method: &str,
        body: impl Into<RequestBody>,
        patience: Patience,
        reply_bytes_max: u64,
    ) -> Result<Reply, LinkError> {
        let mut connection = self.connect().await?;
        let whole = Arc::new(AtomicBool::new(false));
        let request = self.request(body.into(), &whole)?;
        let silence_max = match patience {
            Patience::Quick => self.settings.silence_max,
            Patience::Work => self.settings.silence_max.max(WORK_DURATION_MAX),
        };
        let outcome = |error: Box<dyn std::error::Error + Send + Sync>| {
            if whole.load(Ordering::Relaxed) {
                LinkError::unknown(method, error)
            } else {
                LinkError::failed(format!("send {method}"), error)
            }
        };
        let exchanged = async {
            let answering = async {
                connection.sender.send_request(request).await.map_err(|error| {
                    // with TLS 1.3 the server says so only now; see also below
                    if let Some(reason) = tls::identity_refusal(&error) {
                        return self.identity_refused(reason);
                    }
                    // a connection that the peer had closed while it was idle: nothing was sent
                    if error.is_canceled() {
                        LinkError::failed(format!("send {method}"), error)
                    } else {
                        outcome(error.into())
                    }
                })
            };
            let response = tokio::select! {
                biased;
                response = answering => response?,
                () = flooded(&self.counters) => {
                    return Err(LinkError::unknown(method, "the answer has a head without an end"));
                }
            };
            self.take_in(method, response, reply_bytes_max).await
        };
        let result = tokio::select! {
            result = exchanged => result,
            () = silent(&self.counters, clock::real(silence_max)) => {
                Err(outcome(format!("the line was silent for {} s", silence_max.as_secs()).into()))
            }
        };
        if !matches!(&result, Err(LinkError::Failed { .. } | LinkError::Unknown { .. })) {
            self.connection = Some(connection);
        } else if self.caller.is_some()
            && let Some(reason) = connection.identity_refusal().await
        {
            return Err(self.identity_refused(reason));
        }
        result
    }

    fn identity_refused(&self, reason: String) -> LinkError {
        let source = Box::new(tls::ConnectError::IdentityRefused(reason));
        LinkError::Untrusted { address: self.settings.address.to_string(), source }
    }

    async fn connect(&mut self) -> Result<Connection, LinkError> {
        if let Some(mut connection) = self.connection.take()
            && !connection.sender.is_closed()
            && connection.sender.ready().await.is_ok()
        {
            return Ok(connection);
        }
        dial(&self.settings.address, self.caller.as_deref(), &self.counters).await
    }

    fn request(&self, body: RequestBody, whole: &Arc<AtomicBool>) -> Result<Request<PacedBody>, LinkError> {
        let address = &self.settings.address;
        let mut builder = Request::post(address.path.as_str())
            .header(header::HOST, address.to_string())
            .header(header::USER_AGENT, concat!("office-client/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT_ENCODING, "gzip")
            .header(header::CONTENT_TYPE, "text/xml; charset=utf-8");
        if let Some(credentials) = &self.settings.credentials {
            let mut value = HeaderValue::from_str(credentials.header())
                .map_err(|_| LinkError::Address("user or password cannot be sent in a header".into()))?;
            value.set_sensitive(true);
            builder = builder.header(header::AUTHORIZATION, value);
        }
        let RequestBody { mut bytes, mut packed } = body;
        if self.gzip_requests && !packed && bytes.len() > 512 {
            let shorter = gzip(&bytes);
            if shorter.len() < bytes.len() {
                (bytes, packed) = (shorter, true);
            }
        }
        if packed {
            builder = builder.header(header::CONTENT_ENCODING, "gzip");
        }
        builder = builder.header(header::CONTENT_LENGTH, bytes.len());
        builder
            .body(PacedBody::new(bytes, Arc::clone(&self.pace), Arc::clone(whole)))
            .map_err(|error| LinkError::Address(format!("the request cannot be made: {error}")))
    }

    /// Reads the body of a reply to its end, into memory or into a file.
    async fn take_in(
        &self,
        method: &str,
        response: Response<Incoming>,
        reply_bytes_max: u64,
    ) -> Result<Reply, LinkError> {
        let status = response.status().as_u16();
        let gzip = match response.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity" | b"") => false,
            Some(b"gzip" | b"x-gzip") => true,
            Some(_) => return Err(LinkError::unknown(method, "the answer is compressed in an unknown way")),
        };
        let charset = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(charset_of)
            .map(str::to_owned);
        let mut body = response.into_body();
        let mut kept = Kept::Memory(Vec::new());
        let mut total = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| LinkError::unknown(method, error))?;
            let Ok(data) = frame.into_data() else { continue };
            total += data.len() as u64;
            if is_too_long(total, reply_bytes_max) {
                return Err(LinkError::unknown(method, "the answer is longer than any this program takes"));
            }
            kept.push(&data, &self.settings.temporary_dir).await.map_err(|error| LinkError::unknown(method, error))?;
            if let Some(slot) = self.pace.take(data.len()) {
                tokio::time::sleep_until(slot.end).await;
            }
        }
        http_refusal(status, method)?;
        kept.flush().await.map_err(|error| LinkError::unknown(method, error))?;
        Ok(Reply { kept, gzip, charset })
    }
}

fn is_too_long(bytes: u64, bytes_max: u64) -> bool {
    bytes > bytes_max
}

/// What the XML of a reply may hold that is read into memory.
fn reply_limits() -> Limits {
    Limits {
        elements_max: REPLY_ELEMENTS_MAX,
        blob_bytes_max: REPLY_TREE_BYTES_MAX,
        tree_bytes_max: REPLY_TREE_BYTES_MAX,
        total_bytes_max: REPLY_VALUE_BYTES_MAX,
        ..Limits::default()
    }
}

/// What HTTP itself says no to.
fn http_refusal(status: u16, method: &str) -> Result<(), LinkError> {
    let meaning = match status {
        200..=299 => return Ok(()),
        401 => "user or password are wrong",
        403 => "this user may not",
        404 => "no XML-RPC at this path",
        405 => "it takes no POST: no XML-RPC server",
        411 => "it wants a length",
        413 => "the chunk is too large for it",
        415 => "it does not take this content type",
        429 | 503 => {
            return Err(LinkError::failed(
                format!("call {method}"),
                format!("the server cannot serve this now ({status}): too many callers, or its log says why"),
            ));
        }
        500..=599 => return Err(LinkError::unknown(method, format!("the server failed ({status})"))),
        300..=399 => "it sends elsewhere; a shop is called at its own address only",
        _ => "no XML-RPC server",
    };
    Err(LinkError::Http { status, meaning })
}

/// Resolves when far more has come than a head may have: interim answers, one after the other, are never an end.
async fn flooded(counters: &Counters) {
    let before = counters.received();
    while counters.received() - before < 4 * REPLY_HEAD_BYTES_MAX as u64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Resolves when no byte has moved for so long.
async fn silent(counters: &Counters, silence_max: Duration) {
    let mut moved = counters.moved();
    let mut since = tokio::time::Instant::now();
    loop {
        tokio::time::sleep((silence_max / 8).clamp(Duration::from_millis(10), Duration::from_secs(5))).await;
        let now = counters.moved();
        if now != moved {
            (moved, since) = (now, tokio::time::Instant::now());
        } else if since.elapsed() >= silence_max {
            return;
        }
    }
}

fn charset_of(content_type: &str) -> Option<&str> {
    content_type.split(';').find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("charset").then(|| value.trim_matches(['"', ' ']))
    })
}

/// The body of a request.
struct RequestBody {
    bytes: Vec<u8>,
    /// Whether it is gzip already.
    packed: bool,
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, packed: false }
    }
}

/// A chunk in its envelope.
fn plain_chunk(envelope: Envelope, data: &[u8]) -> RequestBody {
    let mut bytes = envelope.prefix;
    bytes.reserve(xmlrpc::base64_len(data.len() as u64) as usize + envelope.suffix.len());
    let mut encoder = Base64Encoder::new();
    encoder.push(data, &mut bytes);
    encoder.finish(&mut bytes);
    bytes.extend_from_slice(&envelope.suffix);
    bytes.into()
}

/// The same gzipped by a code that is made for base64: it takes back the third that base64 adds, and searches nothing.
fn packed_chunk(envelope: &Envelope, data: &[u8]) -> RequestBody {
    let mut text = Vec::with_capacity(xmlrpc::base64_len(data.len() as u64) as usize);
    let mut encoder = Base64Encoder::new();
    encoder.push(data, &mut text);
    encoder.finish(&mut text);
    let mut bytes = Vec::with_capacity(data.len() + data.len() / 128 + 512);
    let mut packed = Base64Gzip::new();
    packed.stored(&envelope.prefix, &mut bytes);
    packed.base64(&text, &mut bytes);
    packed.stored(&envelope.suffix, &mut bytes);
    packed.finish(&mut bytes);
    RequestBody { bytes, packed: true }
}

/// For the small requests around the chunks.
const REQUEST_GZIP_LEVEL: u32 = 6;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(REQUEST_GZIP_LEVEL));
    // writing into memory cannot fail; an empty result is never used, for it would not be a shorter body
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(packed) => packed,
        Err(_) => bytes.to_vec(),
    }
}

/// A reply as it came, in memory or in a file that goes away with it.
enum Kept {
    Memory(Vec<u8>),
    File { file: tokio::fs::File, path: TemporaryPath },
}

/// A file that is removed when nobody needs it any more.
struct TemporaryPath(PathBuf);

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        // a file left behind is harmless, and a later reply replaces it
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Kept {
    async fn push(&mut self, data: &[u8], dir: &Path) -> std::io::Result<()> {
        if let Self::Memory(bytes) = self {
            if bytes.len() + data.len() <= REPLY_MEMORY_BYTES_MAX {
                bytes.extend_from_slice(data);
                return Ok(());
            }
            tokio::fs::create_dir_all(dir).await?;
            let path = dir.join(format!("reply-{:016x}.xml", rand::random::<u64>()));
            let mut file = tokio::fs::File::create(&path).await?;
            let path = TemporaryPath(path);
            file.write_all(bytes).await?;
            *self = Self::File { file, path };
        }
        match self {
            Self::File { file, .. } => file.write_all(data).await,
            Self::Memory(_) => Ok(()),
        }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::File { file, .. } => file.flush().await,
            Self::Memory(_) => Ok(()),
        }
    }
}

/// A reply of status 200.
struct Reply {
    kept: Kept,
    gzip: bool,
    charset: Option<String>,
}

impl Reply {
    /// Reads the XML. With `file`, the base64 in it is written there.
    async fn into_value(self, method: &str, file: Option<PathBuf>) -> Result<Value, LinkError> {
        let named = method.to_owned();
        tokio::task::spawn_blocking(move || self.read(&named, file))
            .await
            .map_err(|error| LinkError::unknown(method, error))?
    }

    fn read(self, method: &str, file: Option<PathBuf>) -> Result<Value, LinkError> {
        let path;
        let raw: Box<dyn std::io::Read> = match self.kept {
            Kept::Memory(bytes) => Box::new(std::io::Cursor::new(bytes)),
            Kept::File { path: kept, .. } => {
                path = kept;
                Box::new(std::fs::File::open(&path.0).map_err(|error| LinkError::unknown(method, error))?)
            }
        };
        let plain: Box<dyn std::io::Read> =
            if self.gzip { Box::new(flate2::read::MultiGzDecoder::new(raw)) } else { raw };
        let mut limits = reply_limits();
        let mut sink = file.map(FileSink::new);
        if sink.is_some() {
            limits.blob_bytes_max = REPLY_BYTES_MAX;
            limits.total_bytes_max = REPLY_BYTES_MAX;
        }
        // one byte more than a document may have, so that its own limit speaks
        let reader = std::io::BufReader::with_capacity(64 * 1024, plain.take(limits.total_bytes_max.saturating_add(1)));
        let sink_ref = sink.as_mut().map(|sink| sink as &mut dyn BlobSink);
        let answer = xmlrpc::read_response(reader, self.charset.as_deref(), &limits, sink_ref).map_err(|error| {
            if let ReadErrorKind::Sink(_) = error.kind {
                return LinkError::failed(format!("store the answer of {method}"), error);
            }
            LinkError::unknown(method, error)
        })?;
        let value = answer.map_err(LinkError::Refused)?;
        if let (Some(mut sink), Value::Base64(Blob::Inline(bytes))) = (sink, &value) {
            let store = |error| LinkError::failed(format!("store the answer of {method}"), error);
            sink.begin(0).and_then(|()| sink.write(bytes)).and_then(|()| sink.end()).map_err(store)?;
        }
        Ok(value)
    }
}

/// Writes the one base64 of an answer to a file.
struct FileSink {
    path: PathBuf,
    file: Option<std::io::BufWriter<std::fs::File>>,
}

impl FileSink {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }
}

impl BlobSink for FileSink {
    fn begin(&mut self, _index: usize) -> std::io::Result<()> {
        self.file = Some(std::io::BufWriter::new(std::fs::File::create(&self.path)?));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        use std::io::Write as _;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    fn end(&mut self) -> std::io::Result<()> {
        use std::io::Write as _;
        match self.file.take() {
            Some(mut file) => {
                file.flush()?;
                file.get_ref().sync_data()
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
