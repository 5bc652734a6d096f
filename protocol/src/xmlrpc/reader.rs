//! Values out of tokens: iterative, bounded, with large base64 streamed into a sink.

use std::io::BufRead;

use super::blob::{BlobSink, DecodeError, Decoder};
use super::charset::Utf8Source;
use super::error::{ReadError, ReadErrorKind};
use super::events::{Events, Token, source_error};
use super::limits::{DEPTH_HARD_MAX, Limits};
use super::plain::{Plain, Spent};
use super::scalar::{SHORT_TEXT_MAX, Scalar};
use super::text::{forbidden_char, is_blank};
use super::value::{Blob, Struct, Value};

/// Reads the parts of one document.
pub(super) struct Parser<'a, R> {
    events: Events<R>,
    limits: Limits,
    blobs: Blobs<'a>,
    decoder: Decoder,
    text: String,
    spent: Spent,
    /// Where the short way may be tried again: it ended there when it was tried last.
    plain_from: u64,
}

/// An array or a struct that is not complete yet.
enum Frame {
    Array(Vec<Value>),
    Struct { members: Vec<(String, Value)>, name: Option<String> },
}

impl<'a, R: BufRead> Parser<'a, R> {
    pub(super) fn new(
        bytes: R,
        charset: Option<&str>,
        limits: &Limits,
        sink: Option<&'a mut dyn BlobSink>,
    ) -> Result<Self, ReadError> {
        let source = Utf8Source::new(bytes, charset).map_err(|error| ReadError::new(0, source_error(error)))?;
        Ok(Self {
            events: Events::new(source, limits),
            limits: *limits,
            blobs: Blobs { sink, spooled: 0 },
            decoder: Decoder::default(),
            text: String::new(),
            spent: Spent { values: 0, tree_bytes: 0 },
            plain_from: 0,
        })
    }

    /// An error at the token that was read last: it is not XML-RPC.
    pub(super) fn invalid(&self, what: impl Into<String>) -> ReadError {
        self.events.error(ReadErrorKind::Invalid(what.into()))
    }

    /// The next start tag, with nothing but white space before it; `None` where the parent ends instead.
    pub(super) fn open(&mut self) -> Result<Option<&str>, ReadError> {
        match self.blank_token()? {
            Token::Open => Ok(Some(self.events.name())),
            Token::Close | Token::End => Ok(None),
        }
    }

    /// The start tag of that name.
    pub(super) fn open_named(&mut self, name: &str) -> Result<(), ReadError> {
        match self.blank_token()? {
            Token::Open if self.events.name() == name => Ok(()),
            Token::Open => Err(self.unexpected(name)),
            Token::Close | Token::End => Err(self.invalid(format!("<{name}> is missing"))),
        }
    }

    /// The end tag of the open element, with nothing but white space before it.
    pub(super) fn close(&mut self) -> Result<(), ReadError> {
        match self.blank_token()? {
            Token::Close => Ok(()),
            Token::Open | Token::End => Err(self.unexpected("the end of the element")),
        }
    }

    /// The end of the document.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        match self.blank_token()? {
            Token::End => Ok(()),
            Token::Open | Token::Close => Err(self.unexpected("the end of the document")),
        }
    }

    /// That the start tag just read was not the one wanted.
    pub(super) fn unexpected(&self, wanted: &str) -> ReadError {
        let name: String = self.events.name().chars().take(40).collect();
        self.invalid(format!("<{name}> where {wanted} was expected"))
    }

    /// The text of the open element, up to and with its end tag.
    pub(super) fn text(&mut self, bytes_max: usize) -> Result<&str, ReadError> {
        self.text.clear();
        match self.events.next(&mut self.text, bytes_max)? {
            Token::Close => Ok(&self.text),
            Token::Open | Token::End => Err(self.unexpected("text")),
        }
    }

    fn blank_token(&mut self) -> Result<Token, ReadError> {
        self.text.clear();
        let token = self.events.next(&mut self.text, self.limits.text_bytes_max)?;
        if is_blank(&self.text) { Ok(token) } else { Err(self.invalid("text between elements")) }
    }

    /// The value whose `<value>` was just opened, up to and with its `</value>`.
    pub(super) fn value(&mut self) -> Result<Value, ReadError> {
        let mut stack: Vec<Frame> = Vec::new();
        loop {
            self.count()?;
            let mut done = match self.content(stack.len())? {
                Content::Value(value) => value,
                Content::Frame(mut frame) => match self.next_in(&mut frame, stack.len() + 1)? {
                    true => {
                        stack.push(frame);
                        continue;
                    }
                    false => self.complete(frame)?,
                },
            };
            // A value is complete: it goes into what surrounds it, which may be complete with it.
            loop {
                let depth = stack.len();
                let Some(frame) = stack.last_mut() else {
                    return Ok(done);
                };
                self.add(frame, done)?;
                if self.next_in(frame, depth)? {
                    break;
                }
                let Some(frame) = stack.pop() else {
                    return Err(self.invalid("an end tag too many"));
                };
                done = self.complete(frame)?;
            }
        }
    }

    /// Reads as many of the next parameters as are in plain spelling and at hand.
    pub(super) fn plain_params(&mut self, params: &mut Vec<Value>) -> Result<(), ReadError> {
        self.plain(|plain| plain.param().map(|value| params.push(value)))
    }

    /// Calls `next` as long as what it reads is in plain spelling and at hand.
    fn plain(&mut self, mut next: impl FnMut(&mut Plain<'_>) -> Option<()>) -> Result<(), ReadError> {
        let position = self.events.position();
        if position < self.plain_from {
            return Ok(());
        }
        let (limits, spent) = (&self.limits, self.spent);
        let (spent, went) = self.events.at_hand(|bytes| {
            let mut plain = Plain::new(bytes, limits, spent);
            let (mut read, mut spent) = (0, spent);
            while next(&mut plain).is_some() {
                (read, spent) = (plain.at(), plain.spent());
            }
            (read, (spent, plain.at()))
        })?;
        self.spent = spent;
        self.plain_from = position + went as u64;
        Ok(())
    }

    /// What is inside a `<value>`: a whole value with its `</value>`, or the beginning of an array or struct.
    fn content(&mut self, depth: usize) -> Result<Content, ReadError> {
        self.text.clear();
        match self.events.next(&mut self.text, self.limits.text_bytes_max)? {
            Token::Close => {
                self.charge(self.text.len() as u64)?;
                return Ok(Content::Value(Value::String(self.text.as_str().to_owned())));
            }
            Token::End => return Err(self.invalid("<value> does not end")),
            Token::Open if !is_blank(&self.text) => return Err(self.invalid("text beside a typed value")),
            Token::Open => {}
        }
        let name = self.events.name();
        if let Some(scalar) = Scalar::from_name(name) {
            let value = self.scalar(scalar)?;
            self.close()?;
            return Ok(Content::Value(value));
        }
        let frame = match name {
            "base64" => {
                let blob = self.base64()?;
                self.close()?;
                return Ok(Content::Value(Value::Base64(blob)));
            }
            "array" => Frame::Array(Vec::new()),
            "struct" => Frame::Struct { members: Vec::new(), name: None },
            _ => return Err(self.unexpected("a type of XML-RPC")),
        };
        let depth_max = self.limits.depth_max.min(DEPTH_HARD_MAX);
        if depth >= depth_max {
            let what = "arrays and structs inside each other";
            return Err(self.events.error(ReadErrorKind::Limit { what, max: depth_max as u64 }));
        }
        if let Frame::Array(_) = frame {
            self.open_named("data")?;
        }
        Ok(Content::Frame(frame))
    }

    /// Goes to the next value of an array or struct that has to be read with care; false when its last tag was read.
    fn next_in(&mut self, frame: &mut Frame, depth: usize) -> Result<bool, ReadError> {
        self.plain(|plain| match frame {
            Frame::Array(items) => plain.value(depth).map(|value| items.push(value)),
            Frame::Struct { members, .. } => plain.member(depth).map(|member| members.push(member)),
        })?;
        match frame {
            Frame::Array(_) => match self.open()? {
                Some("value") => Ok(true),
                Some(_) => Err(self.unexpected("<value>")),
                None => self.close().map(|()| false),
            },
            Frame::Struct { name, .. } => match self.open()? {
                Some("member") => {
                    // The name comes first, as the specification has it, or after the value.
                    match self.open()? {
                        Some("name") => {
                            *name = Some(self.member_name()?);
                            self.open_named("value")?;
                        }
                        Some("value") => *name = None,
                        Some(_) => return Err(self.unexpected("<name> or <value>")),
                        None => return Err(self.invalid("a member without name and value")),
                    }
                    Ok(true)
                }
                Some(_) => Err(self.unexpected("<member>")),
                None => Ok(false),
            },
        }
    }

    /// Adds a complete value to what surrounds it, and reads to the end of its member.
    fn add(&mut self, frame: &mut Frame, value: Value) -> Result<(), ReadError> {
        match frame {
            Frame::Array(items) => items.push(value),
            Frame::Struct { members, name } => {
                let name = match name.take() {
                    Some(name) => name,
                    None => {
                        self.open_named("name")?;
                        self.member_name()?
                    }
                };
                members.push((name, value));
                self.close()?;
            }
        }
        Ok(())
    }

    fn complete(&mut self, frame: Frame) -> Result<Value, ReadError> {
        self.close()?;
        Ok(match frame {
            Frame::Array(items) => Value::Array(items),
            Frame::Struct { members, .. } => Value::Struct(Struct::from_members(members)),
        })
    }

    fn member_name(&mut self) -> Result<String, ReadError> {
        let name = self.text(self.limits.name_bytes_max)?.to_owned();
        self.charge(name.len() as u64)?;
        Ok(name)
    }

    fn scalar(&mut self, scalar: Scalar) -> Result<Value, ReadError> {
        let is_string = scalar == Scalar::String;
        let non_finite = self.limits.non_finite_doubles;
        let parsed =
            scalar.parse(self.text(if is_string { self.limits.text_bytes_max } else { SHORT_TEXT_MAX })?, non_finite);
        if is_string {
            self.charge(self.text.len() as u64)?;
        }
        parsed.map_err(|what| self.invalid(what))
    }

    /// The bytes of the `<base64>` just opened, up to and with its end tag.
    fn base64(&mut self) -> Result<Blob, ReadError> {
        let limits = self.limits;
        let tree_left = limits.tree_bytes_max.saturating_sub(self.spent.tree_bytes);
        let mut target =
            Target { blobs: &mut self.blobs, limits, tree_left, inline: Vec::new(), spooled: false, bytes: 0 };
        self.decoder.reset();
        loop {
            let (decoder, target_ref) = (&mut self.decoder, &mut target);
            let mut take = |piece: &[u8]| {
                decoder.push(piece, |bytes| target_ref.write(bytes)).map_err(|error| explain(error, decoder))
            };
            self.events.stream(&mut take)?;
            self.text.clear();
            // What a comment, a CDATA section or a reference interrupts goes on behind it.
            let token = self.events.next_part(&mut self.text, limits.text_bytes_max)?;
            take(self.text.as_bytes()).map_err(|kind| self.events.error(kind))?;
            match token {
                None => {}
                Some(Token::Close) => break,
                Some(Token::Open | Token::End) => return Err(self.unexpected("base64 text")),
            }
        }
        let finished = self.decoder.finish(|bytes| target.write(bytes));
        let decoder = &self.decoder;
        let blob = finished.map_err(|error| explain(error, decoder)).and_then(|()| target.finish());
        let blob = blob.map_err(|kind| self.events.error(kind))?;
        if let Blob::Inline(bytes) = &blob {
            self.charge(bytes.len() as u64)?;
        }
        Ok(blob)
    }

    fn count(&mut self) -> Result<(), ReadError> {
        self.spent.values += 1;
        if self.spent.values > self.limits.elements_max {
            let kind = ReadErrorKind::Limit { what: "values in the document", max: self.limits.elements_max as u64 };
            return Err(self.events.error(kind));
        }
        Ok(())
    }

    fn charge(&mut self, bytes: u64) -> Result<(), ReadError> {
        self.spent.tree_bytes = self.spent.tree_bytes.saturating_add(bytes);
        if self.spent.tree_bytes > self.limits.tree_bytes_max {
            return Err(self.events.error(tree_limit(&self.limits)));
        }
        Ok(())
    }
}

enum Content {
    Value(Value),
    Frame(Frame),
}

/// The sink, and how many blobs it has received.
struct Blobs<'a> {
    sink: Option<&'a mut dyn BlobSink>,
    spooled: usize,
}

/// Where the bytes of one base64 go: into memory while it is small or there is no sink, then into the sink.
struct Target<'b, 'a> {
    blobs: &'b mut Blobs<'a>,
    limits: Limits,
    tree_left: u64,
    inline: Vec<u8>,
    spooled: bool,
    bytes: u64,
}

impl Target<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ReadErrorKind> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limits.blob_bytes_max {
            return Err(ReadErrorKind::Limit { what: "bytes in one base64", max: self.limits.blob_bytes_max });
        }
        let large = self.inline.len() + bytes.len() > self.limits.inline_blob_bytes_max;
        match &mut self.blobs.sink {
            Some(sink) if self.spooled => sink.write(bytes).map_err(ReadErrorKind::Sink),
            Some(sink) if large => {
                sink.begin(self.blobs.spooled).map_err(ReadErrorKind::Sink)?;
                self.spooled = true;
                let held = std::mem::take(&mut self.inline);
                if !held.is_empty() {
                    sink.write(&held).map_err(ReadErrorKind::Sink)?;
                }
                sink.write(bytes).map_err(ReadErrorKind::Sink)
            }
            _ if self.bytes > self.tree_left => Err(tree_limit(&self.limits)),
            _ => {
                self.inline.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Blob, ReadErrorKind> {
        match &mut self.blobs.sink {
            Some(sink) if self.spooled => {
                sink.end().map_err(ReadErrorKind::Sink)?;
                self.blobs.spooled += 1;
                Ok(Blob::Spooled { index: self.blobs.spooled - 1, bytes: self.bytes })
            }
            _ => Ok(Blob::Inline(self.inline)),
        }
    }
}

fn tree_limit(limits: &Limits) -> ReadErrorKind {
    ReadErrorKind::Limit { what: "bytes in all values together", max: limits.tree_bytes_max }
}

/// What is wrong with base64 text: it may not even be text that XML allows.
fn explain(error: DecodeError<ReadErrorKind>, decoder: &Decoder) -> ReadErrorKind {
    let what = match error {
        DecodeError::Target(kind) => return kind,
        DecodeError::Text(what) => what,
    };
    match std::str::from_utf8(decoder.pending()) {
        Err(error) if error.error_len().is_some() => {
            ReadErrorKind::InvalidCharacter("bytes that are no characters in UTF-8".to_owned())
        }
        Ok(text) if forbidden_char(text).is_some() => {
            ReadErrorKind::NotWellFormed("a character that is not allowed".to_owned())
        }
        Ok(text) if text.contains("]]>") => ReadErrorKind::NotWellFormed("']]>' in text".to_owned()),
        _ => ReadErrorKind::Invalid(what.to_owned()),
    }
}
