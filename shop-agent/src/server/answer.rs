//! Answers: a value, a fault, or a slice of a file streamed as base64 with a length known beforehand.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use protocol::base64_gzip::Base64Gzip;
use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::{Base64Encoder, base64_len, response_envelope, write_fault, write_response};
use replica::killpoint;

use super::compression::gzip;
use super::{Reply, Slice};
use crate::rpc::fault::of_io;

/// Body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// Bytes of a file that are read and encoded at a time; a multiple of three.
const PIECE_BYTES: usize = 96 << 10;

/// A body that is already there.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The answer to a call.
pub(crate) async fn answer(result: Result<Reply, Fault>, may_gzip: bool) -> Response<AnswerBody> {
    killpoint::reach("reply.before");
    match result {
        Ok(Reply::Slice(slice)) => match streamed(slice, may_gzip).await {
            Ok(response) => response,
            Err(error) => message(write_fault(&of_io("read the diff", &error)), may_gzip),
        },
        Ok(Reply::Value(value)) => match write_response(&value) {
            Ok(text) => message(text, may_gzip),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written");
                message(
                    write_fault(&Fault::new(FaultCode::Internal, "internal error: the answer has no spelling")),
                    may_gzip,
                )
            }
        },
        Err(fault) => message(write_fault(&fault), may_gzip),
    }
}

fn message(text: Vec<u8>, may_gzip: bool) -> Response<AnswerBody> {
    let packed = if may_gzip { gzip(&text) } else { None };
    let is_packed = packed.is_some();
    respond(whole(packed.unwrap_or(text)), is_packed)
}

fn respond(body: AnswerBody, is_packed: bool) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn streamed(slice: Slice, may_gzip: bool) -> io::Result<Response<AnswerBody>> {
    let length = slice.length;
    let opening = tokio::task::spawn_blocking(move || -> io::Result<File> {
        let mut file = File::open(&slice.path)?;
        let there = file.metadata()?.len();
        if slice.offset.saturating_add(slice.length) > there {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(slice.offset))?;
        Ok(file)
    });
    let file = opening.await.map_err(io::Error::other)??;
    let envelope = response_envelope();
    let total = (envelope.prefix.len() + envelope.suffix.len()) as u64 + base64_len(length);
    let writer = Writer {
        file: Some(file),
        left: length,
        encoder: Base64Encoder::new(),
        gzip: may_gzip.then(Base64Gzip::new),
        prefix: Some(envelope.prefix),
        suffix: Some(envelope.suffix),
    };
    let pieces = stream::try_unfold(Some(writer), |writer| async move {
        let Some(mut writer) = writer else { return Ok(None) };
        // reading and encoding beside the runtime
        let piece = tokio::task::spawn_blocking(move || writer.next().map(|piece| (piece, writer)));
        let (piece, writer) = piece.await.map_err(io::Error::other)??;
        let is_last = writer.suffix.is_none();
        Ok::<_, io::Error>(Some((Frame::data(Bytes::from(piece)), (!is_last).then_some(writer))))
    });
    let mut response = respond(StreamBody::new(pieces).boxed_unsync(), may_gzip);
    if !may_gzip {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(total));
    }
    Ok(response)
}

struct Writer {
    file: Option<File>,
    left: u64,
    encoder: Base64Encoder,
    gzip: Option<Base64Gzip>,
    prefix: Option<Vec<u8>>,
    suffix: Option<Vec<u8>>,
}

impl Writer {
    /// The next piece; the last one takes the suffix away.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        if let Some(prefix) = self.prefix.take() {
            killpoint::reach("reply.blob.first");
            self.stored(&prefix, &mut out);
        }
        let mut bytes = vec![0; PIECE_BYTES.min(usize::try_from(self.left).unwrap_or(usize::MAX))];
        if let Some(file) = &mut self.file {
            file.read_exact(&mut bytes)?;
        }
        self.left -= bytes.len() as u64;
        let mut text = Vec::with_capacity(bytes.len() / 3 * 4 + 8);
        self.encoder.push(&bytes, &mut text);
        if self.left == 0 {
            self.encoder.finish(&mut text);
        }
        match &mut self.gzip {
            Some(gzip) => gzip.base64(&text, &mut out),
            None => out.append(&mut text),
        }
        if self.left == 0 {
            killpoint::reach("reply.blob.last");
            let suffix = self.suffix.take().unwrap_or_default();
            self.stored(&suffix, &mut out);
            if let Some(gzip) = self.gzip.take() {
                gzip.finish(&mut out);
            }
        }
        Ok(out)
    }

    fn stored(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.gzip {
            Some(gzip) => gzip.stored(bytes, out),
            None => out.extend_from_slice(bytes),
        }
    }
}
