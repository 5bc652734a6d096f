//! The HTTP path of a running agent, from the outside: whatever is sent, it answers in HTTP or closes, soon, and goes on
//! serving others.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long a connection that says nothing more may stay open. The agent's own deadlines are shorter.
const PATIENCE: Duration = Duration::from_secs(90);

/// Words that mean something to it.
pub const WORDS: &[&str] = &[
    "POST ",
    "GET ",
    "HEAD ",
    "OPTIONS ",
    "/RPC2",
    "/XMLRPC",
    "/",
    "*",
    "http://localhost/RPC2",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/2.0\r\n",
    "Host: localhost\r\n",
    "Host: \r\n",
    "Content-Length: ",
    "Content-Length: 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Expect: 100-continue\r\n",
    "Expect: tea\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "Content-Encoding: gzip\r\n",
    "Content-Encoding: br\r\n",
    "Accept-Encoding: gzip\r\n",
    "Accept-Encoding: gzip;q=0, *\r\n",
    "Content-Type: text/xml\r\n",
    "Content-Type: text/xml; charset=utf-16\r\n",
    "Content-Type: text/plain\r\n",
    "Authorization: Basic YTpi\r\n",
    "Authorization: Basic !\r\n",
    " folded\r\n",
    "\r\n",
    "\n",
    "\r",
    "0\r\n\r\n",
    "5\r\n",
    "ffffffffffffffff\r\n",
    "1;ext=\"x\"\r\n",
    "\u{0}",
    "é",
    ": ",
    "<methodCall><methodName>get_station_name</methodName></methodCall>",
    "<methodName>sql_prepare</methodName>",
    "<methodName>system.listMethods</methodName>",
    "<methodName>diff</methodName>",
];

/// Sends one input on a connection of its own, says that this was all, and hears what comes.
///
/// # Panics
/// When the agent does not listen, does not end, or answers in something else than HTTP.
pub fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("the agent is gone: {error}"));
    let bounded = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    bounded.unwrap_or_else(|error| panic!("{error}"));
    // a server that has heard enough may close: then what it said counts
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let waited = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!waited, "no end within {} s; so far: {}", PATIENCE.as_secs(), String::from_utf8_lossy(&answer));
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.starts_with("HTTP/1."), "an answer that is not HTTP: {text}");
    assert!(!text.contains("panicked"), "{text}");
    let statuses = text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)).take(4);
    statuses.collect::<Vec<_>>().join(" ")
}

/// Makes one sane call; whether it was answered as it should be.
pub fn still_serves(address: &str) -> bool {
    let body = "<methodCall><methodName>get_station_name</methodName></methodCall>";
    let request = format!(
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = String::new();
    let bounded = stream.set_read_timeout(Some(PATIENCE));
    let heard = stream.write_all(request.as_bytes()).and(bounded).and_then(|()| stream.read_to_string(&mut answer));
    heard.is_ok() && answer.starts_with("HTTP/1.1 200") && answer.contains("<string>")
}
