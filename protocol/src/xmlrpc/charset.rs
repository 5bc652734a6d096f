//! From the bytes of a document to UTF-8.
//!
//! In the order of RFC 7303: a byte order mark, the charset of the transport, the document's declaration, UTF-8. UTF-8
//! passes through untouched (its validity is checked where it is parsed).

use std::io::{self, BufRead, Chain, Cursor, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// As far as this the declaration is looked for.
const HEAD_MAX: usize = 1024;
/// Converted bytes that are held at once.
const CONVERTED_MAX: usize = 16 << 10;

type Bytes<R> = Chain<Cursor<Vec<u8>>, R>;

/// A label that names no encoding we know; travels inside an [`io::Error`] of the kind `Unsupported`.
#[derive(Debug, thiserror::Error)]
#[error("unsupported encoding {0:?}")]
pub(super) struct UnsupportedLabel(pub(super) String);

/// Bytes that are no text in the document's encoding; travels inside an [`io::Error`] of the kind `InvalidData`.
#[derive(Debug, thiserror::Error)]
#[error("bytes that are no characters in the encoding {0}")]
pub(super) struct BadBytes(pub(super) &'static str);

/// A document in UTF-8, whatever it came in.
pub(super) enum Utf8Source<R> {
    Plain(Bytes<R>),
    Ascii(Bytes<R>),
    Converted(Box<Converted<R>>),
}

pub(super) struct Converted<R> {
    bytes: Bytes<R>,
    decoder: Option<Decoder>, // None: ISO-8859-1, which encoding_rs takes for windows-1252
    out: Vec<u8>,
    start: usize,
    end: usize,
    /// The decoder has been told so, and must not be asked again.
    ended: bool,
}

impl<R: BufRead> Utf8Source<R> {
    /// Looks at the start of the document and chooses.
    ///
    /// # Errors
    /// Those of the source, and [`UnsupportedLabel`].
    pub(super) fn new(mut bytes: R, charset: Option<&str>) -> io::Result<Self> {
        let mut head = read_head(&mut bytes)?;
        let (marked, mark) = match Encoding::for_bom(&head) {
            Some((encoding, mark)) => (Some(encoding), mark),
            None => (unmarked_utf16(&head), 0),
        };
        let declared = declared_label(&head[mark..]).map(str::to_owned);
        head.drain(..mark);
        let bytes = Cursor::new(head).chain(bytes);
        if let Some(encoding) = marked {
            return Ok(Self::of(encoding, bytes));
        }
        let charset = charset.map(|label| label.trim().trim_matches(['"', '\'']).to_owned());
        let from_transport = charset.is_some();
        let Some(label) = charset.or(declared) else {
            return Ok(Self::Plain(bytes));
        };
        match label.to_ascii_lowercase().as_str() {
            "us-ascii" | "ascii" | "ansi_x3.4-1968" | "iso646-us" | "us" => return Ok(Self::Ascii(bytes)),
            "iso-8859-1" | "iso8859-1" | "iso_8859-1" | "latin1" | "l1" => return Ok(Self::converted(None, bytes)),
            _ => {}
        }
        let encoding = Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, UnsupportedLabel(label.chars().take(40).collect()))
        })?;
        if !from_transport && (encoding == UTF_16LE || encoding == UTF_16BE) {
            // The declaration was legible byte by byte, so it cannot be UTF-16: some libraries write it so into UTF-8.
            return Ok(Self::Plain(bytes));
        }
        Ok(Self::of(encoding, bytes))
    }

    fn of(encoding: &'static Encoding, bytes: Bytes<R>) -> Self {
        if encoding == UTF_8 {
            return Self::Plain(bytes);
        }
        Self::converted(Some(encoding.new_decoder_without_bom_handling()), bytes)
    }

    fn converted(decoder: Option<Decoder>, bytes: Bytes<R>) -> Self {
        Self::Converted(Box::new(Converted {
            bytes,
            decoder,
            out: vec![0; CONVERTED_MAX],
            start: 0,
            end: 0,
            ended: false,
        }))
    }
}

/// Reads until the declaration is whole, or it is certain that there is none.
fn read_head<R: BufRead>(bytes: &mut R) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let available = match bytes.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let take = available.len().min(HEAD_MAX - head.len());
        head.extend_from_slice(&available[..take]);
        bytes.consume(take);
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
        let undecided = text.len() < 6 || (text.starts_with(b"<?xml") && memchr::memmem::find(text, b"?>").is_none());
        if take == 0 || head.len() == HEAD_MAX || !undecided {
            return Ok(head);
        }
    }
}

/// `<?` in UTF-16 without a byte order mark.
fn unmarked_utf16(head: &[u8]) -> Option<&'static Encoding> {
    match head.get(..4)? {
        [0, b'<', 0, _] => Some(UTF_16BE),
        [b'<', 0, _, 0] => Some(UTF_16LE),
        _ => None,
    }
}

fn declared_label(head: &[u8]) -> Option<&str> {
    let declaration = head.strip_prefix(b"<?xml")?;
    let declaration = &declaration[..memchr::memmem::find(declaration, b"?>")?];
    let attributes = super::text::attributes(std::str::from_utf8(declaration).ok()?).ok()?;
    attributes.into_iter().find(|(name, _)| *name == "encoding").map(|(_, label)| label)
}

impl<R: BufRead> Converted<R> {
    fn convert(&mut self) -> io::Result<()> {
        while self.start == self.end && !self.ended {
            let input = self.bytes.fill_buf()?;
            let last = input.is_empty();
            let (read, written) = match &mut self.decoder {
                None => {
                    self.ended = last;
                    encoding_rs::mem::convert_latin1_to_utf8_partial(input, &mut self.out)
                }
                Some(decoder) => {
                    let name = decoder.encoding().name();
                    let (result, read, written) =
                        decoder.decode_to_utf8_without_replacement(input, &mut self.out, last);
                    // at the end more may be left in the decoder than fits
                    self.ended = last && result != DecoderResult::OutputFull;
                    if let DecoderResult::Malformed(..) = result {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, BadBytes(name)));
                    }
                    (read, written)
                }
            };
            self.bytes.consume(read);
            (self.start, self.end) = (0, written);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Utf8Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(buf.len());
        buf[..len].copy_from_slice(&available[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Utf8Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(bytes) => bytes.fill_buf(),
            Self::Ascii(bytes) => {
                let available = bytes.fill_buf()?;
                // What is legible goes first, so that an error names the place.
                match Encoding::ascii_valid_up_to(available) {
                    0 if !available.is_empty() => Err(io::Error::new(io::ErrorKind::InvalidData, BadBytes("US-ASCII"))),
                    valid => Ok(&available[..valid]),
                }
            }
            Self::Converted(converted) => {
                converted.convert()?;
                Ok(&converted.out[converted.start..converted.end])
            }
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Plain(bytes) | Self::Ascii(bytes) => bytes.consume(amount),
            Self::Converted(converted) => converted.start += amount,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &[u8], charset: Option<&str>, want: Result<&str, io::ErrorKind>) {
        for buffer in [1, 3, 8192] {
            let read =
                Utf8Source::new(io::BufReader::with_capacity(buffer, document), charset).and_then(|mut source| {
                    let mut text = String::new();
                    source.read_to_string(&mut text).map(|_| text)
                });
            assert_eq!(read.as_deref().map_err(io::Error::kind), want, "{document:?}, {buffer} bytes at a time");
        }
    }

    #[test]
    fn the_mark_beats_the_transport_beats_the_declaration() {
        check("\u{feff}é".as_bytes(), Some("ISO-8859-1"), Ok("é"));
        check(b"\xe9", Some("ISO-8859-1"), Ok("é"));
        check(b"\xe9", Some("\"iso-8859-1\""), Ok("é"));
        let declared =
            |label: &str, text: &[u8]| [b"<?xml version='1.0' encoding='", label.as_bytes(), b"'?>", text].concat();
        let latin = declared("ISO-8859-1", b"\xe9\x80");
        check(&latin, None, Ok("<?xml version='1.0' encoding='ISO-8859-1'?>é\u{80}"));
        check(&latin, Some("utf-8"), Err(io::ErrorKind::InvalidData));
        check(&declared("windows-1252", b"\x80"), None, Ok("<?xml version='1.0' encoding='windows-1252'?>€"));
        check(&declared("ISO-8859-15", b"\xa4"), None, Ok("<?xml version='1.0' encoding='ISO-8859-15'?>€"));
        check(&declared("UTF-16", "é".as_bytes()), None, Ok("<?xml version='1.0' encoding='UTF-16'?>é"));
        check(&declared("us-ascii", b"a"), None, Ok("<?xml version='1.0' encoding='us-ascii'?>a"));
        check(&declared("us-ascii", b"\xe9"), None, Err(io::ErrorKind::InvalidData));
        check(&declared("klingon", b""), None, Err(io::ErrorKind::Unsupported));
        check(&declared("hz-gb-2312", b""), None, Err(io::ErrorKind::Unsupported));
        check(b"a", Some("klingon"), Err(io::ErrorKind::Unsupported));
    }

    #[test]
    fn utf_16_is_recognised_with_and_without_a_mark() {
        let text = "<?xml version='1.0' encoding='UTF-16'?>é😀";
        let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        check(&big(text), None, Ok(text));
        check(&little(text), None, Ok(text));
        check(&big(&format!("\u{feff}{text}")), Some("utf-8"), Ok(text));
        check(&little(&format!("\u{feff}{text}")), None, Ok(text));
        check(b"\xff\xfe<\x00\x00\xd8", None, Err(io::ErrorKind::InvalidData));
        check(b"\xff\xfe<", None, Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn the_end_can_be_met_more_than_once() {
        for document in [&b"\xfe\xff"[..], b"\xff\xfea\x00", b"\xfe\xff\x00"] {
            let mut source = Utf8Source::new(document, None).unwrap();
            let mut text = String::new();
            let _ = source.read_to_string(&mut text);
            assert_eq!(source.fill_buf().map(<[u8]>::len).unwrap_or_default(), 0);
            assert_eq!(source.fill_buf().map(<[u8]>::len).unwrap_or_default(), 0);
        }
    }

    #[test]
    fn empty_and_tiny_documents_pass() {
        check(b"", None, Ok(""));
        check(b"<", None, Ok("<"));
        check(b"<?xml", None, Ok("<?xml"));
        check(b"\xfe\xff", None, Ok(""));
        check(b"\xff\xfe", None, Ok(""));
    }
}
