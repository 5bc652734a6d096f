//! Requests and answers as wholes: lost, doubled, late.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::framing::{Framing, Place};
use super::{Shared, Trick};

/// Forwards one exchange after the other until either side hangs up.
pub(super) async fn forward(shared: &Shared, trick: Trick, mut caller: TcpStream, mut agent: TcpStream) {
    let mut earlier: VecDeque<Vec<u8>> = VecDeque::new();
    loop {
        let Some(mut request) = message(&mut caller).await else { return };
        if let Trick::Speaks(version) = trick {
            uncompressed(&mut request);
            speak(&mut request, version.office);
        }
        let number = {
            let mut counts = shared.counts();
            counts.to_agent += request.len() as u64;
            counts.requests += 1;
            counts.requests - 1
        };
        let beside = (trick == Trick::TwiceAtOnce).then(|| repeat(shared, &request));
        let answered = async {
            agent.write_all(&request).await.ok()?;
            message(&mut agent).await
        };
        let (answer, _) = tokio::join!(answered, async {
            match beside {
                Some(beside) => beside.await,
                None => None,
            }
        });
        let Some(mut answer) = answer else { return };
        if trick == Trick::Twice {
            let Some(second) = repeat(shared, &request).await else { return };
            answer = second;
        }
        if let Trick::Speaks(version) = trick {
            uncompressed(&mut answer);
            speak(&mut answer, version.agent);
        }
        if trick == Trick::LoseReply(number) {
            shared.counts().cuts += 1;
            return;
        }
        {
            let mut counts = shared.counts();
            counts.to_office += answer.len() as u64;
            counts.answers += 1;
        }
        if caller.write_all(&answer).await.is_err() {
            return;
        }
        if trick == Trick::Late {
            earlier.push_back(request);
            if earlier.len() > 2
                && let Some(old) = earlier.pop_front()
            {
                // nobody hears its answer
                let _ = repeat(shared, &old).await;
            }
        }
    }
}

/// Delivers a request over a connection of its own.
async fn repeat(shared: &Shared, request: &[u8]) -> Option<Vec<u8>> {
    shared.counts().repeats += 1;
    let mut agent = TcpStream::connect(shared.target).await.ok()?;
    agent.write_all(request).await.ok()?;
    message(&mut agent).await
}

/// Takes the offer of compression out of a message's head, its length staying what it is.
fn uncompressed(message: &mut [u8]) {
    const OFFER: &[u8] = b"accept-encoding:";
    let head = message.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(message.len());
    let found = message[..head].windows(OFFER.len()).position(|name| name.eq_ignore_ascii_case(OFFER));
    if let Some(found) = found {
        message[found] = b'x';
    }
}

/// Replaces the digit that stands for the version of the protocol.
fn speak(message: &mut [u8], version: Option<u8>) {
    const MEMBER: &[u8] = b"<name>protocol</name>";
    let Some(digit) = version.map(|version| b'0' + version.min(9)) else { return };
    let found = message.windows(MEMBER.len()).position(|name| name == MEMBER).map(|start| start + MEMBER.len());
    let value = found.and_then(|start| message[start..].iter().position(u8::is_ascii_digit).map(|skip| start + skip));
    // `<i4>` has a digit of its own
    let value = value.map(|at| if message[at - 1] == b'i' { at + 2 } else { at });
    if let Some(at) = value.filter(|at| message.get(*at).is_some_and(u8::is_ascii_digit)) {
        message[at] = digit;
    }
}

/// Reads one whole message; none when the connection ends before.
async fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut framing = Framing::default();
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        for byte in &buffer[..read] {
            bytes.push(*byte);
            // neither side sends a second message before it has the answer to the first
            if framing.byte(*byte).contains(&Place::End) {
                return Some(bytes);
            }
        }
    }
}
