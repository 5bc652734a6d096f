//! The well-formedness layer: `quick-xml` events in, tags and text out, with everything checked that it leaves open.
//!
//! It adds: one root element, nothing after it, no end inside an element, the declaration only at the start, no DOCTYPE,
//! allowed characters, names and attributes, no `]]>` in text, known entities, normalised line ends, and bounds on the
//! memory that one token may take.

use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::errors::{Error as XmlError, IllFormedError};
use quick_xml::events::Event;

use super::charset::{BadBytes, Utf8Source};
use super::error::{ReadError, ReadErrorKind};
use super::limits::Limits;
use super::text::{append_normalized, attributes, forbidden_char, is_blank, is_name, resolve_reference};

/// Bytes of a stream that are handed on at a time; a multiple of four.
const STREAM_BYTES: usize = 48 << 10;

/// The next thing of a document that matters to XML-RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A start tag; its name is [`Events::name`].
    Open,
    /// An end tag, of the element that was opened last.
    Close,
    /// The document is complete.
    End,
}

/// A pull reader of tokens.
pub(super) struct Events<R> {
    reader: Reader<Guard<Utf8Source<R>>>,
    buffer: Vec<u8>,
    name: String,
    depth: usize,
    seen_anything: bool,
    seen_root: bool,
    close_next: bool,
    markup_bytes_max: usize,
    token_bytes_max: usize,
    offset: u64,
}

impl<R: BufRead> Events<R> {
    pub(super) fn new(source: Utf8Source<R>, limits: &Limits) -> Self {
        let markup_bytes_max = limits.markup_bytes_max;
        // Twice, because a text of CR LF halves when it is read.
        let token_bytes_max = limits.text_bytes_max.saturating_mul(2).max(markup_bytes_max).saturating_add(64);
        let guard =
            Guard { inner: source, token_left: token_bytes_max, total_left: limits.total_bytes_max, limits: *limits };
        let mut reader = Reader::from_reader(guard);
        let config = reader.config_mut();
        config.check_comments = true;
        config.check_end_names = true;
        Self {
            reader,
            buffer: Vec::new(),
            name: String::new(),
            depth: 0,
            seen_anything: false,
            seen_root: false,
            close_next: false,
            markup_bytes_max,
            token_bytes_max,
            offset: 0,
        }
    }

    /// The name of the start tag that was read last.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// An error at the token that was read last.
    pub(super) fn error(&self, kind: ReadErrorKind) -> ReadError {
        ReadError::new(self.offset, kind)
    }

    /// Reads up to the next tag and appends the text before it to `text`, which must not grow beyond `text_max` bytes.
    pub(super) fn next(&mut self, text: &mut String, text_max: usize) -> Result<Token, ReadError> {
        loop {
            if let Some(token) = self.next_part(text, text_max)? {
                return Ok(token);
            }
        }
    }

    /// Like [`Events::next`], but returns `None` after each piece of text, comment, reference and so on.
    pub(super) fn next_part(&mut self, text: &mut String, text_max: usize) -> Result<Option<Token>, ReadError> {
        if std::mem::take(&mut self.close_next) {
            self.depth -= 1;
            return Ok(Some(Token::Close));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let result = self.step(&mut buffer, text, text_max);
        self.buffer = buffer;
        result
    }

    /// Reads one event; `None` when it was no tag.
    fn step(&mut self, buffer: &mut Vec<u8>, text: &mut String, text_max: usize) -> Result<Option<Token>, ReadError> {
        self.reader.get_mut().token_left = self.token_bytes_max;
        self.offset = self.reader.buffer_position();
        let event = match self.reader.read_event_into(buffer) {
            Ok(event) => event,
            Err(error) => return Err(self.xml_error(error)),
        };
        let fail = |kind| Err(ReadError::new(self.offset, kind));
        let first = !std::mem::replace(&mut self.seen_anything, true);
        match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                if self.depth == 0 && std::mem::replace(&mut self.seen_root, true) {
                    return fail(ill_formed("a second root element"));
                }
                if tag.len() > self.markup_bytes_max {
                    return fail(markup_limit(self.markup_bytes_max));
                }
                let (name, rest) = (tag.name().into_inner(), tag.attributes_raw());
                if !is_name(name) {
                    return fail(ill_formed("a tag without a proper name"));
                }
                if !rest.is_empty()
                    && let Err(what) = attributes(rest)
                {
                    return fail(ill_formed(what));
                }
                self.name.clear();
                self.name.push_str(name);
                self.depth += 1;
                self.close_next = matches!(event, Event::Empty(_));
                Ok(Some(Token::Open))
            }
            Event::End(_) => {
                self.depth -= 1;
                Ok(Some(Token::Close))
            }
            Event::Text(data) => {
                if self.depth == 0 {
                    return if is_blank(&data) {
                        Ok(None)
                    } else {
                        fail(ill_formed("text outside of the root element"))
                    };
                }
                if memchr::memmem::find(data.as_bytes(), b"]]>").is_some() {
                    return fail(ill_formed("']]>' in text"));
                }
                self.append(text, &data, text_max)
            }
            Event::CData(_) | Event::GeneralRef(_) if self.depth == 0 => {
                fail(ill_formed("text outside of the root element"))
            }
            Event::CData(data) => self.append(text, &data, text_max),
            Event::GeneralRef(reference) => match resolve_reference(&reference) {
                Some(character) if text.len() + character.len_utf8() <= text_max => {
                    text.push(character);
                    Ok(None)
                }
                Some(_) => fail(text_limit(text_max)),
                None => fail(ill_formed("an entity that XML does not define, or a character that it does not allow")),
            },
            Event::Comment(data) => self.markup(&data).map(|()| None),
            Event::PI(data) => {
                let target = data.target();
                if !is_name(target) || target.eq_ignore_ascii_case("xml") {
                    return fail(ill_formed("a processing instruction without a proper name"));
                }
                self.markup(&data).map(|()| None)
            }
            Event::Decl(_) if !first => fail(ill_formed("an XML declaration that is not at the start")),
            Event::Decl(declaration) => match check_declaration(&declaration) {
                true => Ok(None),
                false => fail(ill_formed("a damaged XML declaration")),
            },
            Event::DocType(_) => fail(ReadErrorKind::Invalid("a DOCTYPE is refused".to_owned())),
            Event::Eof if self.depth > 0 => fail(ill_formed("the document ends inside an element")),
            Event::Eof if !self.seen_root => fail(ReadErrorKind::Invalid("an empty document".to_owned())),
            Event::Eof => Ok(Some(Token::End)),
        }
    }

    fn append(&self, text: &mut String, data: &str, text_max: usize) -> Result<Option<Token>, ReadError> {
        self.allowed(data)?;
        append_normalized(text, data);
        if text.len() > text_max {
            return Err(self.error(text_limit(text_max)));
        }
        Ok(None)
    }

    fn markup(&self, data: &str) -> Result<(), ReadError> {
        if data.len() > self.markup_bytes_max {
            return Err(self.error(markup_limit(self.markup_bytes_max)));
        }
        self.allowed(data)
    }

    fn allowed(&self, data: &str) -> Result<(), ReadError> {
        match forbidden_char(data) {
            None => Ok(()),
            Some(bad) => Err(self.error(ill_formed(format!("character U+{:04X} is not allowed", u32::from(bad))))),
        }
    }

    /// Where the next token begins.
    pub(super) fn position(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// Hands the bytes at hand to `take`, which says how many of them it has read: whole elements. At an empty element
    /// that was just opened, none are at hand.
    pub(super) fn at_hand<T>(&mut self, take: impl FnOnce(&[u8]) -> (usize, T)) -> Result<T, ReadError> {
        if self.close_next {
            return Ok(take(&[]).1);
        }
        self.reader.get_mut().token_left = usize::MAX;
        let mut stream = self.reader.stream();
        let offset = stream.offset();
        let bytes = match stream.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => &[],
            Err(error) => return Err(ReadError::new(offset, source_error(error))),
        };
        let (read, result) = take(bytes);
        stream.consume(read);
        Ok(result)
    }

    /// Hands raw character data to `take` as it arrives, up to the next `<` or `&`, without holding it. For base64.
    pub(super) fn stream(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), ReadErrorKind>) -> Result<(), ReadError> {
        if self.close_next {
            return Ok(()); // an empty element: what follows is not its content
        }
        self.reader.get_mut().token_left = usize::MAX;
        let mut stream = self.reader.stream();
        loop {
            let offset = stream.offset();
            let available = match stream.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadError::new(offset, source_error(error))),
            };
            // little enough for the caches, for it is looked at more than once
            let available = &available[..available.len().min(STREAM_BYTES)];
            let end = memchr::memchr2(b'<', b'&', available);
            let len = end.unwrap_or(available.len());
            if let Err(kind) = take(&available[..len]) {
                return Err(ReadError::new(offset, kind));
            }
            stream.consume(len);
            if end.is_some() || len == 0 {
                return Ok(());
            }
        }
    }

    fn xml_error(&self, error: XmlError) -> ReadError {
        let position = self.reader.error_position().max(self.offset);
        let kind = match error {
            XmlError::Io(error) => match std::sync::Arc::try_unwrap(error) {
                Ok(error) => source_error(error),
                Err(shared) => ReadErrorKind::Io(io::Error::new(shared.kind(), shared.to_string())),
            },
            XmlError::Encoding(_) => {
                ReadErrorKind::InvalidCharacter("bytes that are no characters in UTF-8".to_owned())
            }
            XmlError::IllFormed(IllFormedError::MismatchedEndTag { .. } | IllFormedError::UnmatchedEndTag(_)) => {
                ill_formed("an end tag that does not match its start tag")
            }
            XmlError::IllFormed(IllFormedError::UnclosedReference) => ill_formed("'&' that begins no entity"),
            XmlError::IllFormed(IllFormedError::MissingDoctypeName) => {
                ReadErrorKind::Invalid("a DOCTYPE is refused".to_owned())
            }
            other => ill_formed(other.to_string()),
        };
        ReadError::new(position, kind)
    }
}

/// An error of the source below, which may be one of ours in disguise.
pub(super) fn source_error(error: io::Error) -> ReadErrorKind {
    let inner = error.get_ref();
    if let Some(limit) = inner.and_then(|inner| inner.downcast_ref::<LimitReached>()) {
        return ReadErrorKind::Limit { what: limit.what, max: limit.max };
    }
    if let Some(bad) = inner.and_then(|inner| inner.downcast_ref::<BadBytes>()) {
        return ReadErrorKind::InvalidCharacter(bad.to_string());
    }
    if let Some(label) = inner.and_then(|inner| inner.downcast_ref::<super::charset::UnsupportedLabel>()) {
        return ReadErrorKind::UnsupportedEncoding(label.0.clone());
    }
    ReadErrorKind::Io(error)
}

fn ill_formed(what: impl Into<String>) -> ReadErrorKind {
    ReadErrorKind::NotWellFormed(what.into())
}

fn text_limit(max: usize) -> ReadErrorKind {
    ReadErrorKind::Limit { what: "bytes of text in one value", max: max as u64 }
}

fn markup_limit(max: usize) -> ReadErrorKind {
    ReadErrorKind::Limit { what: "bytes in one tag, comment or instruction", max: max as u64 }
}

/// `xml version="1.x" encoding="..." standalone="..."`, the last two optional.
fn check_declaration(declaration: &str) -> bool {
    let Some(Ok(attributes)) = declaration.strip_prefix("xml").map(attributes) else {
        return false;
    };
    let mut attributes = attributes.into_iter().peekable();
    let is_version = |(name, value): (&str, &str)| {
        let minor = value.strip_prefix("1.").unwrap_or_default();
        name == "version" && !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
    };
    attributes.next().is_some_and(is_version)
        && attributes.next_if(|(name, _)| *name == "encoding").is_none_or(|(_, label)| is_name(label))
        && attributes
            .next_if(|(name, _)| *name == "standalone")
            .is_none_or(|(_, standalone)| standalone == "yes" || standalone == "no")
        && attributes.next().is_none()
}

/// A bound of the reader that was exceeded; travels inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("limit exceeded: {what} of more than {max}")]
struct LimitReached {
    what: &'static str,
    max: u64,
}

/// Stops `quick-xml` from buffering a token, or reading a document, without end.
struct Guard<R> {
    inner: R,
    token_left: usize,
    total_left: u64,
    limits: Limits,
}

impl<R: BufRead> Read for Guard<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(buf.len());
        buf[..len].copy_from_slice(&available[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Guard<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let (token_left, total_left, limits) = (self.token_left, self.total_left, &self.limits);
        let available = self.inner.fill_buf()?;
        let allowed = token_left.min(usize::try_from(total_left).unwrap_or(usize::MAX));
        if allowed == 0 && !available.is_empty() {
            let limit = match total_left {
                0 => LimitReached { what: "bytes in the document", max: limits.total_bytes_max },
                _ => LimitReached { what: "bytes of text in one value", max: limits.text_bytes_max as u64 },
            };
            return Err(io::Error::other(limit));
        }
        Ok(&available[..available.len().min(allowed)])
    }

    fn consume(&mut self, amount: usize) {
        self.token_left = self.token_left.saturating_sub(amount);
        self.total_left = self.total_left.saturating_sub(amount as u64);
        self.inner.consume(amount);
    }
}
