//! HTTP by hand, since bad input is what an HTTP library would not send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use protocol::fault::Fault;
use protocol::xmlrpc::{Limits, Value, parse_response};

/// What a case got.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A fault, with HTTP status 200.
    Fault(Fault),
    /// Another status, with the head and the text of the answer.
    Http(u16, String),
    /// A value: bad input was accepted.
    Accepted(#[expect(dead_code, reason = "shown when a case fails")] Value),
}

/// An answer of the server.
pub(crate) struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    /// Sorts it.
    pub(crate) fn answer(self) -> Answer {
        if self.status != 200 {
            return Answer::Http(self.status, format!("{}\n{}", self.head, String::from_utf8_lossy(&self.body)));
        }
        self.value().map_or_else(Answer::Fault, Answer::Accepted)
    }

    /// The value or the fault of an XML-RPC answer.
    pub(crate) fn value(self) -> Result<Value, Fault> {
        assert_eq!(self.status, 200, "{}", self.head);
        let says = self.head.to_lowercase();
        assert!(says.contains("content-type: text/xml; charset=utf-8"), "{}", self.head);
        parse_response(&self.body, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {}", self.head))
    }
}

/// Posts a body as XML.
pub(crate) fn post(url: &str, path: &str, body: &[u8]) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    http(url, &[head.as_bytes(), body].concat())
}

/// Sends bytes, and reads until the server closes the connection.
pub(crate) fn http(url: &str, request: &[u8]) -> Response {
    let address = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("the agent");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    // a server may answer before it has heard everything
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(!answer.is_empty(), "no answer: {error}");
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no HTTP: {} for {}", String::from_utf8_lossy(&answer), String::from_utf8_lossy(request))
    });
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut body = answer.split_off(end + 4);
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    Response { status: status.unwrap_or_else(|| panic!("no status: {head}")), head, body }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(&String::from_utf8_lossy(&body[..end]), 16).expect("a length");
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length..];
        body = body.strip_prefix(b"\r\n").unwrap_or(body);
        if length == 0 {
            break;
        }
    }
    whole
}
