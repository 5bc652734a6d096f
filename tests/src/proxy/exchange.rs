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
        let Some(request) = message(&mut caller).await else { return };
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
