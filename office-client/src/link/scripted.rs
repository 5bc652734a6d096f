//! Tests against a server that follows a script: it resets, truncates, stalls, and answers at last.

use std::time::Duration;

use protocol::methods::{SqlFinish, SqlPrepare};
use protocol::xmlrpc::{self, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, LinkError, LinkSettings, Patience, Peer, Retry, TrustSettings};
use crate::stop::Stop;

/// What the server does with one request.
#[derive(Clone)]
enum Turn {
    /// Reads the request, then closes without a word.
    Reset,
    /// Answers with the first bytes only.
    Truncate(&'static str),
    /// Reads the request and says nothing for ever.
    Stall,
    /// Answers.
    Answer(Vec<u8>),
    /// Answers with a status.
    Status(&'static str),
}

fn answer(value: impl Into<Value>) -> Turn {
    Turn::Answer(xmlrpc::write_response(&value.into()).unwrap())
}

/// Starts a server; each connection takes the next turn, and goes on as long as the turns are answers.
async fn server(turns: Vec<Turn>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut turns = turns.into_iter();
        'connections: loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            while read_request(&mut stream).await {
                match turns.next() {
                    None => return,
                    Some(Turn::Reset) => continue 'connections,
                    Some(Turn::Truncate(text)) => {
                        let _ = stream.write_all(text.as_bytes()).await;
                        continue 'connections;
                    }
                    Some(Turn::Stall) => std::future::pending::<()>().await,
                    Some(Turn::Status(status)) => {
                        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                        let _ = stream.write_all(text.as_bytes()).await;
                    }
                    Some(Turn::Answer(body)) => {
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                        let _ = stream.write_all(head.as_bytes()).await;
                        let _ = stream.write_all(&body).await;
                    }
                }
            }
        }
    });
    format!("http://{address}")
}

async fn read_request(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return false,
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let head = text[..end].to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|n| n.parse().ok());
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            return true;
        }
    }
}

fn client(url: &str, silence_max: Duration) -> Client {
    Client::new(LinkSettings {
        trust: TrustSettings::default(),
        address: url.parse().unwrap(),
        credentials: None,
        silence_max,
        rate_limit: None,
        temporary_dir: std::env::temp_dir(),
    })
    .unwrap()
}

fn peer(url: &str) -> Peer {
    let retry = Retry::new(Stop::default(), Duration::from_secs(20), true);
    Peer::new(client(url, Duration::from_secs(20)), retry)
}

#[tokio::test]
async fn a_repeatable_call_survives_resets_and_truncated_replies() {
    let truncated = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<?xml version=\"1.0\"?><methodResponse>";
    let url = server(vec![Turn::Reset, Turn::Truncate(truncated), Turn::Status("503 Busy"), answer(7)]).await;
    let sid = peer(&url).ask(&SqlPrepare::default(), Patience::Quick).await.unwrap();
    assert_eq!(sid, 7);
}

#[tokio::test]
async fn a_truncated_reply_is_unknown_and_never_an_answer() {
    // without a length only the XML itself can tell that something is missing
    let truncated = "HTTP/1.0 200 OK\r\n\r\n<?xml version=\"1.0\"?><methodResponse><params><param>";
    let url = server(vec![Turn::Truncate(truncated)]).await;
    let result = peer(&url).once(&SqlFinish { sid: 1 }, Patience::Quick).await;
    assert!(matches!(result, Err(LinkError::Unknown { .. })), "{result:?}");
}

#[tokio::test]
async fn a_lost_finish_is_not_repeated_behind_the_callers_back() {
    let url = server(vec![Turn::Reset, answer(0)]).await;
    let result = peer(&url).once(&SqlFinish { sid: 1 }, Patience::Quick).await;
    assert!(matches!(result, Err(LinkError::Unknown { .. })), "{result:?}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_its_outcome_is_unknown() {
    let url = server(vec![Turn::Stall]).await;
    let mut client = client(&url, Duration::from_millis(80));
    let result = client.call(&SqlPrepare::default(), Patience::Quick).await;
    assert!(matches!(result, Err(LinkError::Unknown { .. })), "{result:?}");
}

#[tokio::test]
async fn a_closed_port_is_a_failure_without_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let result = client(&url, Duration::from_secs(5)).call(&SqlPrepare::default(), Patience::Quick).await;
    assert!(matches!(result, Err(LinkError::Failed { .. })), "{result:?}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_tried_again() {
    let url = server(vec![Turn::Status("401 Unauthorized"), answer(7)]).await;
    let result = peer(&url).ask(&SqlPrepare::default(), Patience::Quick).await;
    assert!(matches!(result, Err(LinkError::Http { status: 401, .. })), "{result:?}");
}

#[tokio::test]
async fn a_fault_is_a_refusal() {
    let fault = protocol::fault::Fault::new(protocol::fault::FaultCode::Busy, "busy");
    let url = server(vec![Turn::Answer(xmlrpc::write_fault(&fault))]).await;
    let result = peer(&url).ask(&SqlPrepare::default(), Patience::Quick).await;
    assert!(matches!(result, Err(LinkError::Refused(told)) if told == fault));
}

#[tokio::test]
async fn one_connection_serves_many_calls_and_every_byte_is_counted() {
    let url = server(vec![answer(1), answer(2), answer(3)]).await;
    let mut peer = peer(&url);
    for expected in 1..=3 {
        assert_eq!(peer.ask(&SqlPrepare::default(), Patience::Quick).await.unwrap(), expected);
    }
    let counters = peer.client().counters();
    assert!(counters.sent() > 300 && counters.received() > 300);
}

#[tokio::test]
async fn a_long_base64_goes_to_a_file_and_a_short_one_too() {
    let dir = tempfile::tempdir().unwrap();
    for size in [3, 300_000] {
        let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let url = server(vec![answer(data.clone())]).await;
        let path = dir.path().join(format!("{size}"));
        let value = peer(&url).ask_to_file("diff", &[], &path).await.unwrap();
        assert_eq!(value.as_blob().unwrap().len(), size as u64);
        assert_eq!(std::fs::read(&path).unwrap(), data);
    }
}

#[tokio::test]
async fn a_generic_server_without_hello_is_a_base_peer() {
    let fault = protocol::fault::Fault { code: 1, message: "method \"sync.hello\" is not supported".into() };
    let url = server(vec![Turn::Answer(xmlrpc::write_fault(&fault))]).await;
    let mut peer = peer(&url);
    assert_eq!(peer.greet(protocol::methods::HelloRequest::default()).await.unwrap(), None);
    assert!(!peer.abilities().keyed_sessions);
}
