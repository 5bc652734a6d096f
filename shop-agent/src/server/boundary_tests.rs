//! Bounds of HTTP, over real sockets: just below them and at them a request is served, just above them it is not.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, PARSERS_MAX};

/// A call of exactly that many bytes.
fn call_of(length: usize) -> Vec<u8> {
    let (start, end) = CALL.split_at(CALL.len() - "</methodCall>".len());
    // in comments, since spaces in one place are a text, which has a bound of its own
    let comment = format!("<!--{}-->", "c".repeat(993));
    let missing = length - CALL.len();
    let filler = comment.repeat(missing / comment.len()) + &" ".repeat(missing % comment.len());
    [start.as_bytes(), filler.as_bytes(), end.as_bytes()].concat()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn boundary_of_head_bytes_max() -> Outcome {
    let server = start(None, small()).await?;
    for (length, expected) in [(HEAD_BYTES_MAX - 1, 200), (HEAD_BYTES_MAX, 200), (HEAD_BYTES_MAX + 1, 431)] {
        let head = |filler: &str| post(&format!("Connection: close\r\nX-Filler: {filler}\r\n"), CALL.as_bytes());
        let bare = head("").len() - CALL.len();
        let answer = text(&server, &head(&"x".repeat(length - bare))).await?;
        assert_eq!(status(&answer), expected, "{length}: {answer}");
    }
    // far more than that is not even kept
    let endless = [b"POST / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    let answer = text(&server, &endless).await.unwrap_or_default();
    assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    Ok(())
}

#[tokio::test]
async fn boundary_of_headers_max() -> Outcome {
    let server = start(None, small()).await?;
    for (count, taken) in [(HEADERS_MAX - 1, true), (HEADERS_MAX, true), (HEADERS_MAX + 1, false)] {
        // host, length and connection are headers too
        let fillers: String = (3..count).map(|n| format!("X-{n}: y\r\n")).collect();
        let answer = text(&server, &post(&format!("Connection: close\r\n{fillers}"), CALL.as_bytes())).await?;
        // what is refused unread may end in a reset, and then the answer is lost
        let expected: &[u16] = if taken { &[200] } else { &[431, 0] };
        assert!(expected.contains(&status(&answer)), "{count}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn boundary_of_body_bytes_max() -> Outcome {
    let limits = ServerLimits { chunk_bytes_max: 64 << 10, ..small() };
    let max = usize::try_from(limits.body_bytes_max())?;
    let server = start(None, limits).await?;
    for (length, expected) in [(max - 1, 200), (max, 200), (max + 1, 413)] {
        let body = call_of(length);
        let answer = text(&server, &post("Connection: close\r\n", &body)).await?;
        assert_eq!(status(&answer), expected, "{length} with its length: {answer}");
        // what is not announced is counted
        let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        let mut chunked = head.to_vec();
        write!(chunked, "{:x}\r\n", body.len())?;
        chunked.extend_from_slice(&body);
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        let answer = text(&server, &chunked).await?;
        assert_eq!(status(&answer), expected, "{length} chunked: {answer}");
        // and so is what comes out of gzip
        let answer = text(&server, &post("Connection: close\r\nContent-Encoding: gzip\r\n", &packed(&body))).await?;
        let refused = status(&answer) == 413 || answer.contains("faultCode");
        assert_eq!(refused, length > max, "{length} inflated: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn boundary_of_chunk_bytes_max() -> Outcome {
    let limits = ServerLimits { chunk_bytes_max: 100_000, ..small() };
    let server = start(None, limits).await?;
    for (length, taken) in [(99_999, true), (100_000, true), (100_001, false)] {
        let body = format!(
            "<methodCall><methodName>sizes</methodName><params><param><value><base64>{}</base64></value></param></params></methodCall>",
            STANDARD.encode(vec![7; length])
        );
        let answer = text(&server, &post("Connection: close\r\n", body.as_bytes())).await?;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(answer.contains(&format!("<string>{length}</string>")), taken, "{length}: {answer}");
        assert_eq!(answer.contains("<int>7</int>"), !taken, "the fault 'chunk too large': {answer}");
    }
    Ok(())
}

/// Sends pieces with pauses between them, and gives what comes back.
async fn slowly(server: &Server, pieces: &[&[u8]], pause: Duration) -> std::io::Result<String> {
    let (mut reader, mut writer) = TcpStream::connect(server.address).await?.into_split();
    let mut answer = Vec::new();
    let reading = async {
        let _ = reader.read_to_end(&mut answer).await;
    };
    let writing = async {
        for (n, piece) in pieces.iter().enumerate() {
            if n > 0 {
                tokio::time::sleep(pause).await;
            }
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
        // the connection stays open: only the server ends it
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn boundary_of_header_timeout() -> Outcome {
    // generous on the side where a loaded machine could be late
    let request = post("Connection: close\r\n", CALL.as_bytes());
    let (first, second) = request.split_at(20);
    let server = start(None, ServerLimits { header_timeout: Duration::from_secs(20), ..small() }).await?;
    assert_eq!(status(&slowly(&server, &[first, second], Duration::from_millis(100)).await?), 200);
    let server = start(None, ServerLimits { header_timeout: Duration::from_millis(300), ..small() }).await?;
    let began = std::time::Instant::now();
    assert_eq!(slowly(&server, &[first, second], Duration::from_secs(60)).await?, "");
    assert!(began.elapsed() >= Duration::from_millis(300));
    // nor may a connection be silent from the start, or trickle
    assert_eq!(slowly(&server, &[], Duration::ZERO).await?, "");
    let trickle: Vec<&[u8]> = request.chunks(1).collect();
    assert_eq!(slowly(&server, &trickle, Duration::from_millis(50)).await?, "");
    Ok(())
}

#[tokio::test]
async fn boundary_of_body_idle() -> Outcome {
    let request = post("Connection: close\r\n", CALL.as_bytes());
    let (first, second) = request.split_at(request.len() - 10);
    let limits = |body_idle| ServerLimits { body_idle, ..small() };
    let server = start(None, limits(Duration::from_secs(20))).await?;
    assert_eq!(status(&slowly(&server, &[first, second], Duration::from_millis(100)).await?), 200);
    let server = start(None, limits(Duration::from_millis(300))).await?;
    let began = std::time::Instant::now();
    assert_eq!(status(&slowly(&server, &[first, second], Duration::from_secs(60)).await?), 408);
    assert!(began.elapsed() >= Duration::from_millis(300));
    Ok(())
}

#[tokio::test]
async fn boundary_of_body_total() -> Outcome {
    let request = post("Connection: close\r\n", CALL.as_bytes());
    let (head, body) = request.split_at(request.len() - CALL.len());
    let pieces: Vec<&[u8]> = std::iter::once(head).chain(body.chunks(1)).collect();
    let limits = |body_total| ServerLimits { body_total, body_idle: Duration::from_secs(20), ..small() };
    let server = start(None, limits(Duration::from_secs(60))).await?;
    assert_eq!(status(&slowly(&server, &pieces, Duration::from_millis(1)).await?), 200);
    // never silent for long, and yet too slow
    let server = start(None, limits(Duration::from_millis(300))).await?;
    let began = std::time::Instant::now();
    assert_eq!(status(&slowly(&server, &pieces, Duration::from_millis(50)).await?), 408);
    assert!(began.elapsed() >= Duration::from_millis(300));
    Ok(())
}

#[tokio::test]
async fn boundary_of_parsers_max() -> Outcome {
    let limits = ServerLimits { body_idle: Duration::from_secs(2), ..small() };
    let server = start(None, limits).await?;
    let large = format!(
        "<methodCall><methodName>sizes</methodName><params><param><value><base64>{}</base64></value></param></params></methodCall>",
        STANDARD.encode(vec![7; 200_000])
    );
    let request = post("Connection: close\r\n", large.as_bytes());
    // all but one of the places are taken by requests that have stopped half-way
    let mut held = Vec::new();
    for _ in 1..PARSERS_MAX {
        let mut stream = TcpStream::connect(server.address).await?;
        stream.write_all(&request[..request.len() - 10]).await?;
        held.push(stream);
    }
    assert_eq!(status(&text(&server, &request).await?), 200, "there is one place left");
    // requests that need none are served all the same, whoever holds the places
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await?;
        stream.write_all(&request[..request.len() - 10]).await?;
        held.push(stream);
    }
    assert_eq!(status(&text(&server, &post("Connection: close\r\n", CALL.as_bytes())).await?), 200);
    // and whoever is one too many is told so, or served once those who stopped have been given up
    let answer = text(&server, &request).await?;
    assert!([200, 503].contains(&status(&answer)), "{answer}");
    drop(held);
    Ok(())
}
