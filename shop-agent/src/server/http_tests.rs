//! The rules of HTTP, over real sockets, before a dispatcher that only echoes.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use credentials::hash_password;
use protocol::xmlrpc::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::server::accept::serve;
use crate::server::users::{User, Users, users_path};
use crate::server::{Caller, Reply, Request, Slice};

#[path = "boundary_tests.rs"]
mod boundaries;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Gives back its parameters; `slice` gives the file `blob`, `sizes` the sizes of blobs, `panic` panics.
struct Echo {
    dir: PathBuf,
}

impl Dispatch for Echo {
    async fn call(self: Arc<Self>, _caller: Caller, request: Request) -> Result<Reply, Fault> {
        match request.call.method.as_str() {
            "panic" => std::panic::resume_unwind(Box::new("on purpose")),
            "slice" => Ok(Reply::Slice(Slice { path: self.dir.join("blob"), offset: 1, length: 300_000 })),
            "sizes" => {
                let size = |value: &Value| value.as_blob().map(|blob| blob.len()).unwrap_or_default();
                let spooled = request.blobs.iter().flatten().count();
                let mut sizes: Vec<Value> = request.call.params.iter().map(|v| size(v).to_string().into()).collect();
                sizes.push(spooled.to_string().into());
                Ok(Reply::Value(Value::Array(sizes)))
            }
            _ => Ok(Reply::Value(Value::Array(request.call.params))),
        }
    }
}

struct Server {
    address: SocketAddr,
    dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start(
    authentication: Option<Authentication>,
    limits: ServerLimits,
) -> Result<Server, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("blob"), blob())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let dispatcher = Arc::new(Echo { dir: dir.path().to_owned() });
    let authentication = authentication.unwrap_or(Authentication::Off);
    let hosts = Hosts::Local(vec!["shop.example".into()]);
    let service = Service::new(dispatcher, authentication, limits, hosts, dir.path().to_owned(), TaskTracker::new());
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, Arc::new(service), None, stop.clone()));
    Ok(Server { address, dir, stop })
}

fn blob() -> Vec<u8> {
    (0..300_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn small() -> ServerLimits {
    ServerLimits {
        chunk_bytes_max: 1 << 20,
        header_timeout: Duration::from_millis(300),
        body_idle: Duration::from_millis(300),
        ..ServerLimits::default()
    }
}

const CALL: &str = "<methodCall><methodName>echo</methodName><params/></methodCall>";

fn post(head: &str, body: &[u8]) -> Vec<u8> {
    let request = format!("POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{head}\r\n", body.len());
    [request.into_bytes(), body.to_vec()].concat()
}

/// Sends raw bytes, says that this was all, and gives back all that came.
async fn raw(server: &Server, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server.address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    // a server that closes early may reset: what came before counts
    let closing = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    let _ = closing.await;
    Ok(answer)
}

async fn text(server: &Server, request: &[u8]) -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&raw(server, request).await?).into_owned())
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn each_rule_has_its_status() -> Outcome {
    let server = start(None, small()).await?;
    let close = "Connection: close\r\n";
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("plain", 200, post(&format!("Content-Type: text/xml\r\n{close}"), CALL.as_bytes())),
        ("no content type", 200, post(close, CALL.as_bytes())),
        (
            "charset",
            200,
            post(&format!("Content-Type: application/xml; charset=\"utf-8\"\r\n{close}"), CALL.as_bytes()),
        ),
        ("form", 415, post(&format!("Content-Type: text/plain\r\n{close}"), CALL.as_bytes())),
        ("brotli", 415, post(&format!("Content-Encoding: br\r\n{close}"), CALL.as_bytes())),
        ("expectation", 417, post(&format!("Expect: tea\r\n{close}"), CALL.as_bytes())),
        (
            "other path",
            404,
            format!("POST /other HTTP/1.1\r\nHost: localhost\r\n{close}Content-Length: 0\r\n\r\n").into(),
        ),
        ("get", 405, format!("GET /RPC2 HTTP/1.1\r\nHost: localhost\r\n{close}\r\n").into()),
        ("no length", 411, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("too long", 413, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n".to_vec()),
        ("no host", 400, b"POST / HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()),
        (
            "strange host",
            421,
            b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        (
            "known host",
            200,
            [
                format!(
                    "POST /XMLRPC HTTP/1.1\r\nHost: Shop.Example:9000\r\n{close}Content-Length: {}\r\n\r\n",
                    CALL.len()
                )
                .into_bytes(),
                CALL.into(),
            ]
            .concat(),
        ),
        (
            "http/1.0",
            200,
            [format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", CALL.len()).into_bytes(), CALL.into()].concat(),
        ),
        ("damaged gzip", 400, post(&format!("Content-Encoding: gzip\r\n{close}"), b"not gzip")),
    ];
    for (name, expected, request) in cases {
        let answer = text(&server, &request).await?;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
        match expected {
            405 => assert!(answer.to_lowercase().contains("allow: post"), "{answer}"),
            411 | 413 => assert!(answer.to_lowercase().contains("connection: close"), "{answer}"),
            200 => assert!(answer.to_lowercase().contains("content-type: text/xml; charset=utf-8"), "{answer}"),
            _ => {}
        }
    }
    Ok(())
}

#[tokio::test]
async fn bad_xml_and_panics_are_faults_with_status_200() -> Outcome {
    let server = start(None, small()).await?;
    for (body, code) in [("<methodCall>", "-32700"), ("<a/>", "-32600"), (&CALL.replace("echo", "panic"), "-32603")] {
        let answer = text(&server, &post("Connection: close\r\n", body.as_bytes())).await?;
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(answer.contains(code), "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_takes_several_requests_pipelined_and_after_a_refusal() -> Outcome {
    let server = start(None, small()).await?;
    let form = post("Content-Type: text/plain\r\n", CALL.as_bytes());
    let requests = [post("", CALL.as_bytes()), form, post("Connection: close\r\n", CALL.as_bytes())].concat();
    let answer = text(&server, &requests).await?;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 415").count(), 1, "{answer}");
    Ok(())
}

#[tokio::test]
async fn chunked_gzipped_and_large_bodies_arrive_whole() -> Outcome {
    let server = start(None, small()).await?;
    let large = STANDARD.encode(vec![7_u8; 500_000]);
    let body = format!(
        "<methodCall><methodName>sizes</methodName><params><param><value><base64>{large}</base64></value></param>\
         <param><value><base64>AAAA</base64></value></param></params></methodCall>"
    );
    let mut chunked =
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
    for piece in body.as_bytes().chunks(70_001) {
        write!(chunked, "{:x}\r\n", piece.len())?;
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let packed = crate::server::compression::gzip(body.as_bytes()).ok_or("must shrink")?;
    let gzipped = post("Content-Encoding: gzip\r\nConnection: close\r\n", &packed);
    let plain = post("Connection: close\r\n", body.as_bytes());
    for request in [chunked, gzipped, plain] {
        let answer = text(&server, &request).await?;
        assert!(answer.contains("<string>500000</string>"), "{answer}");
        assert!(answer.contains("<string>3</string>"), "{answer}");
        assert!(answer.contains("<string>1</string>"), "one blob was spooled: {answer}");
    }
    assert_eq!(std::fs::read_dir(server.dir.path())?.count(), 1, "no file stays behind");
    Ok(())
}

#[tokio::test]
async fn a_chunk_too_large_and_a_bomb_are_refused() -> Outcome {
    let server = start(None, small()).await?;
    let large = STANDARD.encode(vec![7_u8; (1 << 20) + 1]);
    let body = format!(
        "<methodCall><methodName>x</methodName><params><param><value><base64>{large}</base64></value></param></params></methodCall>"
    );
    let answer = text(&server, &post("Connection: close\r\n", body.as_bytes())).await?;
    assert!(answer.contains("<int>7</int>"), "{answer}");
    let bomb = crate::server::compression::gzip(&vec![b' '; 64 << 20]).ok_or("must shrink")?;
    let answer = text(&server, &post("Content-Encoding: gzip\r\nConnection: close\r\n", &bomb)).await?;
    assert!(status(&answer) == 413 || answer.contains("<int>-32000</int>"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_slice_comes_with_its_length_or_gzipped_without_the_cost_of_base64() -> Outcome {
    let server = start(None, small()).await?;
    let call = CALL.replace("echo", "slice");
    let expected = STANDARD.encode(&blob()[1..]);
    let plain = text(&server, &post("Connection: close\r\n", call.as_bytes())).await?;
    let (head, body) = plain.split_once("\r\n\r\n").ok_or("no head")?;
    assert!(head.to_lowercase().contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(body.contains(&expected));

    let packed = raw(&server, &post("Accept-Encoding: gzip\r\nConnection: close\r\n", call.as_bytes())).await?;
    assert!(packed.len() < 304_000, "{}", packed.len());
    let at = packed.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("no head")?;
    let mut unpacked = Vec::new();
    let chunks = dechunk(&packed[at + 4..]).ok_or("not chunked")?;
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&chunks[..]), &mut unpacked)?;
    assert_eq!(unpacked, body.as_bytes());
    Ok(())
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(all);
        }
        all.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}

#[tokio::test]
async fn a_silent_peer_is_shown_the_door() -> Outcome {
    let server = start(None, small()).await?;
    assert_eq!(text(&server, b"POST / HT").await?, "");
    let answer = text(&server, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n<meth").await?;
    assert_eq!(status(&answer), 408, "{answer}");
    Ok(())
}

/// Who drips is shown the door, while others are served.
#[tokio::test]
async fn boundary_of_drip_bytes_per_second() -> Outcome {
    let server = start(None, small()).await?;
    let begun: [&[u8]; 2] = [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n<",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n<",
    ];
    for begun in begun {
        let mut stream = TcpStream::connect(server.address).await?;
        stream.write_all(begun).await?;
        let (mut reading, mut writing) = stream.split();
        let dripping = async {
            // often enough for an idle timer, for as long as somebody listens
            while writing.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let mut answer = String::new();
        let hearing = tokio::time::timeout(Duration::from_secs(30), reading.read_to_string(&mut answer));
        tokio::select! {
            heard = hearing => drop(heard?),
            () = dripping => {}
        }
        assert_eq!(status(&answer), 408, "{answer}");
        let others = text(&server, &post("Connection: close\r\n", CALL.as_bytes())).await?;
        assert_eq!(status(&others), 200, "{others}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_is_heard_although_more_was_said_than_was_read() -> Outcome {
    let server = start(None, small()).await?;
    let more = post("", CALL.as_bytes());
    for (begun, expected) in [
        ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 411),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", 413),
    ] {
        let answer = text(&server, &[begun.as_bytes(), &more.repeat(1000)].concat()).await?;
        assert_eq!(status(&answer), expected, "{begun}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "what follows is taken for a request: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_credential_not_even_the_body_is_read() -> Outcome {
    let users_dir = tempfile::tempdir()?;
    add_user(users_dir.path())?;
    let server = start(Some(Authentication::basic(users_dir.path())?), small()).await?;
    let expecting = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\nExpect: 100-continue\r\n\r\n";
    let answer = text(&server, expecting).await?;
    assert_eq!(status(&answer), 401, "{answer}");
    assert!(answer.to_lowercase().contains("www-authenticate: basic realm="), "{answer}");
    let good = format!("Authorization: Basic {}\r\nConnection: close\r\n", STANDARD.encode("ana:secret"));
    assert_eq!(status(&text(&server, &post(&good, CALL.as_bytes())).await?), 200);
    Ok(())
}

fn add_user(dir: &Path) -> Outcome {
    let hash = hash_password("secret").map_err(|error| error.to_string())?;
    let mut users = Users::default();
    users.put(User { name: "ana".into(), office: "centre".into(), hash, no_nil: false });
    Ok(users.save(&users_path(dir))?)
}

#[tokio::test]
async fn a_stop_lets_nobody_in() -> Outcome {
    let server = start(None, small()).await?;
    assert_eq!(status(&text(&server, &post("Connection: close\r\n", CALL.as_bytes())).await?), 200);
    server.stop.cancel();
    let gone = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await?;
    Ok(())
}
