//! Stands between an office and a real agent and writes down what the agent says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use protocol::xmlrpc::{Limits, MethodCall, Value, parse_call};
use tokio::net::{TcpListener, TcpStream};

use super::recording::Update;
use crate::world;

/// The recorder; what it has heard since it was last asked.
pub(super) struct Recorder {
    pub(super) url: String,
    heard: Arc<Mutex<Update>>,
}

impl Recorder {
    /// Listens in front of an agent.
    pub(super) fn start(agent: &str) -> Self {
        let agent: SocketAddr =
            agent.trim_start_matches("http://").trim_end_matches('/').parse().expect("the address of an agent");
        let heard = Arc::new(Mutex::new(Update::default()));
        let writes = Arc::clone(&heard);
        let listener = world::wait(TcpListener::bind("127.0.0.1:0")).expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        world::wait(async move {
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let writes = Arc::clone(&writes);
                    let service = service_fn(move |request| answer(agent, Arc::clone(&writes), request));
                    let connection = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
                }
            });
        });
        Self { url, heard }
    }

    /// What was heard of one update.
    pub(super) fn take(&self) -> Update {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn answer(
    agent: SocketAddr,
    writes: Arc<Mutex<Update>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole request").to_bytes();
    let is_gzip = head.headers.contains_key(CONTENT_ENCODING);
    let call = call(&body, is_gzip).expect("office-client speaks XML-RPC");
    // what is kept has to be legible
    head.headers.remove(ACCEPT_ENCODING);
    let stream = TcpStream::connect(agent).await.expect("the agent listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("the agent speaks HTTP");
    tokio::spawn(connection);
    let answered = sender.send_request(Request::from_parts(head, Full::new(body))).await.expect("an answer");
    let (head, body) = answered.into_parts();
    let body = body.collect().await.expect("a whole answer").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("XML is text");
    let mut heard = writes.lock().unwrap_or_else(PoisonError::into_inner);
    if let ("sync.diff_open", Some(since)) = (call.method.as_str(), call.params.first().and_then(Value::as_str)) {
        since.clone_into(&mut heard.since);
    }
    let answers: &mut BTreeMap<_, Vec<_>> = &mut heard.answers;
    answers.entry(call.method).or_default().push(text);
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// The call of a request's body.
pub(super) fn call(body: &[u8], is_gzip: bool) -> Result<MethodCall, String> {
    let mut inflated = Vec::new();
    let document = if is_gzip {
        MultiGzDecoder::new(body).read_to_end(&mut inflated).map_err(|error| error.to_string())?;
        inflated.as_slice()
    } else {
        body
    };
    parse_call(document, &Limits::default()).map_err(|error| error.to_string())
}
