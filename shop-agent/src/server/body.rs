//! The body of a request: small ones are parsed in memory, large ones while they arrive, both within limits.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::{ReadError, ReadErrorKind, mend_cut_string, parse_labelled_call, read_call};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::Request;
use super::compression::{Coding, CodingError, Inflating};
use crate::limits::{DRIP_BYTES_PER_SECOND, INLINE_BODY_BYTES, ServerLimits};
use crate::session::payload::FileSink;

/// Why a body did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is larger than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// Nothing came for too long, or the whole took too long.
    #[error("the body took too long")]
    TooSlow,
    /// The line was lost, or the framing is broken.
    #[error("the body was cut off")]
    CutOff,
}

/// Why there is no request.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// HTTP's business.
    Http(StatusCode, &'static str),
    /// XML-RPC's business.
    Fault(Fault),
}

/// Reads a body whole and parses it.
pub(crate) async fn receive(
    body: Incoming,
    coding: Coding,
    charset: Option<String>,
    limits: &ServerLimits,
    spool_dir: &Path,
    parsers: &Arc<Semaphore>,
) -> Result<Request, Refused> {
    let mut frames = Frames::new(body, limits);
    let mut start = BytesMut::new();
    let mut is_whole = false;
    while start.len() < INLINE_BODY_BYTES {
        match frames.next().await.map_err(refused)? {
            // mostly there is one piece, and nobody else has it
            Some(bytes) if start.is_empty() => start = BytesMut::from(bytes),
            Some(bytes) => start.extend_from_slice(&bytes),
            None => {
                is_whole = true;
                break;
            }
        }
    }
    if is_whole && coding == Coding::Identity {
        let read = |document: &[u8]| parse_labelled_call(document, charset.as_deref(), &limits.xml());
        let call = read(&start).or_else(|error| match error.fault_code() {
            // a piece of SQL that an old client has cut inside a character
            FaultCode::InvalidCharacter => mend_cut_string(&start).map_or(Err(error), |mended| read(&mended)),
            _ => Err(error),
        });
        return Ok(Request { call: call.map_err(|error| unreadable(&error))?, blobs: Vec::new() });
    }

    let Ok(permit) = tokio::time::timeout(limits.body_idle, Arc::clone(parsers).acquire_owned()).await else {
        return Err(Refused::Http(StatusCode::SERVICE_UNAVAILABLE, "too many large requests at a time"));
    };
    let (sender, receiver) = mpsc::channel(4);
    let source = Pieces { receiver, current: start.freeze() };
    let (xml, dir, disk_reserve) = (limits.xml(), spool_dir.to_owned(), limits.disk_reserve);
    let parsing = tokio::task::spawn_blocking(move || {
        let mut sink = FileSink::new(&dir, disk_reserve);
        let call = match coding {
            Coding::Identity => {
                read_call(BufReader::with_capacity(64 << 10, source), charset.as_deref(), &xml, Some(&mut sink))
            }
            Coding::Gzip => {
                // one byte more than a document may have, so that its own limit speaks first
                let inflating = Inflating::new(source, xml.total_bytes_max + 1);
                read_call(BufReader::with_capacity(64 << 10, inflating), charset.as_deref(), &xml, Some(&mut sink))
            }
        };
        drop(permit);
        call.map(|call| Request { call, blobs: sink.into_blobs() })
    });
    let line = if is_whole { Ok(()) } else { pump(&mut frames, &sender).await };
    if let Err(error) = line {
        let _ = sender.send(Err(io::Error::other(error))).await;
    }
    drop(sender);
    let parsed = parsing.await;
    line.map_err(refused)?;
    match parsed {
        Ok(parsed) => parsed.map_err(|error| unreadable(&error)),
        Err(_) => Err(Refused::Fault(Fault::new(FaultCode::Internal, "internal error while the request was read"))),
    }
}

/// Hands on all of the body. When the parser has seen enough, the rest is read all the same: most clients listen only
/// after they have said everything.
async fn pump(frames: &mut Frames, sender: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), BodyError> {
    while let Some(bytes) = frames.next().await? {
        let _ = sender.send(Ok(bytes)).await;
    }
    Ok(())
}

fn refused(error: BodyError) -> Refused {
    match error {
        BodyError::TooLarge => Refused::Http(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        BodyError::TooSlow => Refused::Http(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        BodyError::CutOff => Refused::Http(StatusCode::BAD_REQUEST, "the body was cut off"),
    }
}

fn unreadable(error: &ReadError) -> Refused {
    if let ReadErrorKind::Io(io) = &error.kind
        && let Some(coding) = io.get_ref().and_then(|inner| inner.downcast_ref::<CodingError>())
    {
        return match coding {
            CodingError::Damaged => Refused::Http(StatusCode::BAD_REQUEST, "the body is not sound gzip"),
            CodingError::TooLarge => Refused::Http(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        };
    }
    Refused::Fault(match &error.kind {
        ReadErrorKind::Limit { what, max } if what.contains("base64") => {
            let message = format!("the chunk has more than {max} bytes; send smaller ones");
            Fault::new(FaultCode::ChunkTooLarge, message)
        }
        ReadErrorKind::Sink(source) => crate::rpc::fault::of_io("keep the chunk", source),
        _ => error.to_fault(),
    })
}

/// Pieces of a body, counted and timed.
struct Frames {
    body: Incoming,
    left: u64,
    idle: Duration,
    began: Instant,
    received: u64,
    deadline: Instant,
}

impl Frames {
    fn new(body: Incoming, limits: &ServerLimits) -> Self {
        let began = Instant::now();
        let deadline = began + limits.body_total;
        Self { body, left: limits.body_bytes_max(), idle: limits.body_idle, began, received: 0, deadline }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let earned = Duration::from_millis(self.received.saturating_mul(1000) / DRIP_BYTES_PER_SECOND);
            let until = self.deadline.min(Instant::now() + self.idle).min(self.began + self.idle + earned);
            let frame = match tokio::time::timeout_at(until, self.body.frame()).await {
                Err(_) => return Err(BodyError::TooSlow),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(BodyError::CutOff),
                Ok(Some(Ok(frame))) => frame,
            };
            // trailers say nothing here
            let Ok(bytes) = frame.into_data() else { continue };
            self.left = self.left.checked_sub(bytes.len() as u64).ok_or(BodyError::TooLarge)?;
            self.received += bytes.len() as u64;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

/// The pieces as a source for the parser, on a thread where waiting is allowed.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
