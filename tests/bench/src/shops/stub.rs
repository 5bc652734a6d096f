//! Any number of shops in one process that say what a real agent has said, each with its own name and ids.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io::{BufRead as _, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use protocol::base64_gzip::Base64Gzip;
use protocol::history::{Chain, Offer, judge};
use protocol::methods::{Call as _, DiffRead, FrozenDiff, HelloReply, HelloRequest};
use protocol::xmlrpc::{
    Base64Encoder, Blob, Limits, Value, from_value, parse_response, response_envelope, to_value, write_response,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::recorder::call;
use super::recording::{Range, Recording};

/// What this program is told when it is to be the shops.
pub(crate) const SERVE: &str = "--serve-shops";

/// The shops, as a process of their own: what they cost is not the office's. They end with this.
pub(super) struct Shops {
    process: Child,
    address: String,
}

impl Shops {
    pub(super) fn start(recording: &Recording) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let recording = serde_json::to_vec(recording).expect("a recording is JSON");
        process.stdin.take().expect("its input").write_all(&recording).expect("it reads the recording");
        let mut line = String::new();
        std::io::BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
        Self { process, address: line.trim().to_owned() }
    }

    /// Where the shop with that number calls itself so, and draws its ids from there.
    pub(super) fn url(&self, office: usize, name: &str, low: i64) -> String {
        format!("http://{}/{office}/{name}/{low}", self.address)
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }
}

impl Drop for Shops {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves the recording that comes on stdin. Prints where it listens.
pub(crate) fn serve() {
    let mut recording = Vec::new();
    std::io::stdin().read_to_end(&mut recording).expect("the recording");
    let recording: Recording = serde_json::from_slice(&recording).expect("the recording");
    let served = Arc::new(Served { recording, shops: Mutex::default() });
    // one thread is enough, and takes the least from those who are measured
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        println!("{}", listener.local_addr().expect("an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let served = Arc::clone(&served);
            let service = service_fn(move |request| answer(Arc::clone(&served), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

struct Served {
    recording: Recording,
    /// Shops by the path of their address.
    shops: Mutex<HashMap<String, Shop>>,
}

/// What a shop knows between two calls.
#[derive(Debug, Default)]
struct Shop {
    contacts: Chain,
    /// Which of the recorded updates it is in, or comes next.
    update: usize,
    /// How often each method was called in it.
    called: BTreeMap<String, usize>,
    diff: Vec<u8>,
}

async fn answer(served: Arc<Served>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_gzip = request.headers().contains_key(CONTENT_ENCODING);
    let path = request.uri().path().to_owned();
    let Ok(body) = request.into_body().collect().await else { return Ok(Response::default()) };
    let mut response = Response::new(Full::default());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    match served.answer(&path, &body.to_bytes(), is_gzip) {
        Ok(Value::Base64(Blob::Inline(bytes))) => {
            // as an agent sends them
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            *response.body_mut() = Full::new(packed(&bytes).into());
        }
        Ok(value) => *response.body_mut() = Full::new(write_response(&value).unwrap_or_default().into()),
        Err(why) => {
            eprintln!("recorded shop {path}: {why}");
            *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        }
    }
    Ok(response)
}

/// An answer of base64 with the gzip that takes back what base64 adds.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let (mut text, mut encoder) = (Vec::new(), Base64Encoder::new());
    encoder.push(bytes, &mut text);
    encoder.finish(&mut text);
    let (mut out, mut gzip, envelope) = (Vec::new(), Base64Gzip::new(), response_envelope());
    gzip.stored(&envelope.prefix, &mut out);
    gzip.base64(&text, &mut out);
    gzip.stored(&envelope.suffix, &mut out);
    gzip.finish(&mut out);
    out
}

impl Served {
    fn answer(&self, path: &str, body: &[u8], is_gzip: bool) -> Result<Value, String> {
        let call = call(body, is_gzip)?;
        let (name, ids) = self.identity(path).ok_or("no such shop")?;
        let mut shops = self.shops.lock().unwrap_or_else(PoisonError::into_inner);
        let shop = shops.entry(path.to_owned()).or_default();
        match call.method.as_str() {
            "sync.hello" => shop.called.clear(),
            "sync.diff_open" => {
                let since = call.params.first().and_then(Value::as_str).ok_or("no since")?;
                let found = self.recording.update_since(since);
                shop.update = found.ok_or_else(|| format!("nothing was recorded since {since}"))?;
            }
            _ => {}
        }
        let recorded = self.recorded(shop, &call.method)?;
        match call.method.as_str() {
            "sync.hello" => {
                let request = call.params.into_iter().next().ok_or("an empty hello")?;
                self.hello(shop, name, ids, request, recorded)
            }
            "sync.diff_open" => {
                let mut frozen: FrozenDiff = from_value(recorded).map_err(|error| error.to_string())?;
                let slice = self.recorded(shop, "sync.diff_read")?;
                let slice = slice.as_bytes().ok_or("the recorded slice is no base64")?;
                shop.diff = self.recording.diff_for(slice, ids).map_err(|error| error.to_string())?;
                frozen.bytes = shop.diff.len() as i64;
                frozen.sha256 = Sha256::digest(&shop.diff).iter().map(|byte| format!("{byte:02x}")).collect();
                to_value(&frozen).map_err(|error| error.to_string())
            }
            DiffRead::METHOD => {
                let at = |index: usize| call.params.get(index).and_then(Value::as_long).ok_or("no place");
                let (from, length) = (at(1)? as usize, at(2)? as usize);
                let slice = shop.diff.get(from..(from + length).min(shop.diff.len())).ok_or("beyond the end")?;
                Ok(Value::Base64(Blob::Inline(slice.to_vec())))
            }
            _ => Ok(recorded),
        }
    }

    /// The name and the ids that a path stands for.
    fn identity<'a>(&self, path: &'a str) -> Option<(&'a str, Range)> {
        let mut parts = path.trim_start_matches('/').split('/').skip(1);
        let (name, low) = (parts.next()?, parts.next()?.parse::<i64>().ok()?);
        let span = self.recording.ids.high - self.recording.ids.low;
        Some((name, Range { low, high: low + span }))
    }

    /// The next answer to a method in the update that the shop is in.
    fn recorded(&self, shop: &mut Shop, method: &str) -> Result<Value, String> {
        let update = self.recording.updates.get(shop.update).ok_or("no more updates were recorded")?;
        let answers = update.answers.get(method).ok_or_else(|| format!("{method} was never called"))?;
        let called = shop.called.entry(method.to_owned()).or_default();
        let document = answers.get(*called).or(answers.last()).ok_or("an empty recording")?;
        *called += 1;
        let answer = parse_response(document.as_bytes(), &Limits::default()).map_err(|error| error.to_string())?;
        answer.map_err(|fault| fault.message)
    }

    /// The agent's word on the contacts is its own judgement of them, as an agent judges.
    fn hello(&self, shop: &mut Shop, name: &str, ids: Range, request: Value, recorded: Value) -> Result<Value, String> {
        let request: HelloRequest = from_value(request).map_err(|error| error.to_string())?;
        let mut facts: HelloReply = from_value(recorded).map_err(|error| error.to_string())?;
        let offer = Offer {
            number: request.contact.unwrap_or_default(),
            token: request.token,
            next: request.next_token.unwrap_or_default(),
        };
        let (history, agreed) = judge(&shop.contacts, &offer);
        shop.contacts = agreed.unwrap_or_else(|| shop.contacts.clone());
        facts.history = Some(history.as_str().to_owned());
        facts.contact = Some(shop.contacts.number);
        name.clone_into(&mut facts.branch);
        facts.clock = request.clock;
        facts.ids_used = facts.ids_used.map(|used| used - self.recording.ids.low + ids.low);
        (facts.id_low, facts.id_high) = (Some(ids.low), Some(ids.high));
        to_value(&facts).map_err(|error| error.to_string())
    }
}
