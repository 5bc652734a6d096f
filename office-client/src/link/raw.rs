//! One exchange spelled out byte by byte, for tests of conformance: what a proper client never sends, and all that comes
//! back.

use std::io::Read as _;
use std::time::Duration;

use tls::Caller;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::dial::not_encrypted;
use super::{Address, LinkError};
use crate::limits::CONNECT_DURATION_MAX;

/// Bytes that are read of what a server says.
const HEARD_BYTES_MAX: usize = 16 << 20;

/// One answer of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAnswer {
    /// Status code.
    pub(crate) status: u16,
    /// Status line and headers, in lower case.
    pub(crate) head: String,
    /// The body, unchunked and decompressed.
    pub(crate) body: Vec<u8>,
}

/// All that was heard on one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// The answers in their order, those of status 100 among them.
    pub(crate) answers: Vec<RawAnswer>,
    /// Whether the server closed the connection.
    pub(crate) closed: bool,
}

impl Heard {
    /// The last answer that is not only the word to go on.
    pub(crate) fn last(&self) -> RawAnswer {
        self.answers.iter().rfind(|answer| answer.status != 100).cloned().unwrap_or_default()
    }
}

/// Sends these bytes on a connection of their own, and hears what comes until the server closes or has been silent for so
/// long. With `and_ends` the server is told that nothing follows.
pub(crate) async fn exchange(
    address: &Address,
    caller: Option<&Caller>,
    request: &[u8],
    and_ends: bool,
    silence_max: Duration,
) -> Result<Heard, LinkError> {
    let what = || format!("reach {address}");
    let opening = TcpStream::connect((address.host.as_str(), address.port));
    let stream = tokio::time::timeout(CONNECT_DURATION_MAX, opening).await;
    let stream = match stream {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(LinkError::failed(what(), error)),
        Err(_) => return Err(LinkError::failed(what(), "no answer")),
    };
    let Some(caller) = caller else { return converse(stream, request, and_ends, silence_max).await };
    let greeting = caller.connect(&address.host, stream);
    match tokio::time::timeout(CONNECT_DURATION_MAX, greeting).await {
        Ok(Ok(stream)) => converse(stream, request, and_ends, silence_max).await,
        Ok(Err(error)) => Err(not_encrypted(address, error)),
        Err(_) => Err(LinkError::failed(what(), "no answer")),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite,
    request: &[u8],
    and_ends: bool,
    silence_max: Duration,
) -> Result<Heard, LinkError> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    // a server that has heard enough may close before everything is said
    let said = async {
        let _ = writing.write_all(request).await;
        let _ = writing.flush().await;
        if and_ends {
            let _ = writing.shutdown().await;
        }
    };
    let heard = async {
        let (mut bytes, mut piece) = (Vec::new(), [0_u8; 16 << 10]);
        let mut closed = false;
        while bytes.len() < HEARD_BYTES_MAX {
            match tokio::time::timeout(silence_max, reading.read(&mut piece)).await {
                Ok(Ok(0) | Err(_)) => {
                    closed = true;
                    break;
                }
                Ok(Ok(count)) => bytes.extend_from_slice(&piece[..count]),
                Err(_) => break,
            }
        }
        (bytes, closed)
    };
    let ((), (bytes, closed)) = tokio::join!(said, heard);
    let is_head = request.starts_with(b"HEAD ");
    Ok(Heard { answers: answers(&bytes, is_head), closed })
}

fn answers(mut bytes: &[u8], is_head: bool) -> Vec<RawAnswer> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        bytes = &bytes[end + 4..];
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let mut body = Vec::new();
        if is_head || status < 200 || status == 204 {
        } else if field("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
            bytes = unchunk(bytes, &mut body);
        } else {
            let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(bytes.len());
            let length = length.min(bytes.len());
            body = bytes[..length].to_vec();
            bytes = &bytes[length..];
        }
        if field("content-encoding").is_some_and(|coding| coding == "gzip") {
            let mut plain = Vec::new();
            let inflating = flate2::read::MultiGzDecoder::new(&body[..]);
            if inflating.take(HEARD_BYTES_MAX as u64).read_to_end(&mut plain).is_ok() {
                body = plain;
            }
        }
        answers.push(RawAnswer { status, head, body });
    }
    answers
}

/// Takes a chunked body; what follows it.
fn unchunk<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> &'a [u8] {
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let line = String::from_utf8_lossy(&bytes[..end]);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap_or_default();
        bytes = &bytes[end + 2..];
        if size == 0 {
            let end = bytes.windows(2).position(|window| window == b"\r\n").map_or(bytes.len(), |end| end + 2);
            return &bytes[end..];
        }
        body.extend_from_slice(&bytes[..size.min(bytes.len())]);
        bytes = bytes.get(size + 2..).unwrap_or_default();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_answers_are_told_apart() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n\
                      HTTP/1.1 405 No\r\nAllow: POST\r\nContent-Length: 2\r\n\r\nno";
        let found: Vec<(u16, Vec<u8>)> =
            answers(bytes, false).into_iter().map(|answer| (answer.status, answer.body)).collect();
        assert_eq!(found, [(100, vec![]), (200, b"abcd".to_vec()), (405, b"no".to_vec())]);
        assert_eq!(answers(b"HTTP/1.1 405 No\r\nContent-Length: 9\r\n\r\n", true).len(), 1);
    }
}
