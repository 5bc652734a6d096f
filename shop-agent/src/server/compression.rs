//! Content codings: which one a request came in, whether its answer may be gzipped, and bounded inflation.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

/// Answers shorter than this are not worth compressing.
const WORTH_BYTES: usize = 1400;

/// The coding of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    /// Gzip.
    Gzip,
}

/// The coding of a request; none when it is one that is not known.
pub(crate) fn coding_of(headers: &HeaderMap) -> Option<Coding> {
    let mut coding = Coding::Identity;
    for value in headers.get_all(CONTENT_ENCODING) {
        for token in value.to_str().ok()?.split(',') {
            let token = token.trim();
            if token.is_empty() || token.eq_ignore_ascii_case("identity") {
                continue;
            }
            let is_gzip = token.eq_ignore_ascii_case("gzip") || token.eq_ignore_ascii_case("x-gzip");
            if !is_gzip || coding == Coding::Gzip {
                return None;
            }
            coding = Coding::Gzip;
        }
    }
    Some(coding)
}

/// Whether the answer may be gzipped (RFC 9110, 12.5.3): gzip is named, or `*` is, and not with a weight of zero.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut by_star = false;
    for value in headers.get_all(ACCEPT_ENCODING) {
        let Ok(text) = value.to_str() else { continue };
        for item in text.split(',') {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>).unwrap_or(0.0);
            match name.trim() {
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                    return weight > 0.0;
                }
                "*" => by_star = weight > 0.0,
                _ => {}
            }
        }
    }
    by_star
}

/// Gzips a message, if that is worth it.
pub(crate) fn gzip(message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < WORTH_BYTES {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::new(5));
    encoder.write_all(message).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < message.len())
}

/// Marks an error as one of the coding, not of the line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodingError {
    /// No gzip, or damaged.
    #[error("the body is not sound gzip")]
    Damaged,
    /// More than allowed comes out of it.
    #[error("the body is too large once it is decompressed")]
    TooLarge,
}

/// Inflates a body, never more than `bytes_max`.
pub(crate) struct Inflating<R> {
    inner: MultiGzDecoder<R>,
    left: u64,
}

impl<R: Read> Inflating<R> {
    /// Reads gzip from `inner`.
    pub(crate) fn new(inner: R, bytes_max: u64) -> Self {
        Self { inner: MultiGzDecoder::new(inner), left: bytes_max }
    }
}

impl<R: Read> Read for Inflating<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Ok(count) => count,
            // what the line said stays what it was
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<super::body::BodyError>()) => {
                return Err(error);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(_) => return Err(io::Error::other(CodingError::Damaged)),
        };
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(CodingError::TooLarge))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))])
    }

    #[test]
    fn only_gzip_is_known() {
        assert_eq!(coding_of(&HeaderMap::new()), Some(Coding::Identity));
        assert_eq!(coding_of(&headers(CONTENT_ENCODING, "X-GZIP")), Some(Coding::Gzip));
        assert_eq!(coding_of(&headers(CONTENT_ENCODING, "br")), None);
        assert_eq!(coding_of(&headers(CONTENT_ENCODING, "gzip, gzip")), None);
    }

    #[test]
    fn weights_count() {
        for (value, accepted) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("*", true),
            ("*, gzip;q=0", false),
            ("br", false),
        ] {
            assert_eq!(accepts_gzip(&headers(ACCEPT_ENCODING, value)), accepted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let bomb = gzip(&vec![b'x'; 1 << 20]).unwrap_or_default();
        let error = io::copy(&mut Inflating::new(&bomb[..], 1 << 16), &mut io::sink()).map_err(|e| e.to_string());
        assert_eq!(error, Err(CodingError::TooLarge.to_string()));
    }
}
