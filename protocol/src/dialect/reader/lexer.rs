//! The words of the dialect: blanks, comments, keywords, identifiers.

use std::io::BufRead;

use super::window::{Flaw, Window};

/// PostgreSQL's NAMEDATALEN less one: it would cut a longer name silently, so a longer one is refused.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// A comment, as far as it concerns the reader. Its text is in the buffer given to [`Window::comment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comment {
    Plain,
    Note,
    Watermark,
}

const NOTE_MARK: &[u8] = b"--@";
const WATERMARK_MARK: &[u8] = b"-- watermark:";

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn starts_identifier(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

pub(super) fn continues_identifier(byte: u8) -> bool {
    starts_identifier(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl<R: BufRead> Window<R> {
    /// Skips white space only.
    #[inline]
    pub(super) fn skip_space(&mut self) -> Result<(), Flaw> {
        while let Some(byte) = self.peek()? {
            if !is_space(byte) {
                break;
            }
            self.consume(1);
        }
        Ok(())
    }

    /// Skips white space and comments inside a statement, where a structured comment has no place.
    #[inline]
    pub(super) fn skip_blank(&mut self) -> Result<(), Flaw> {
        self.skip_space()?;
        while self.peek()? == Some(b'-') && self.peek_at(1)? == Some(b'-') {
            if self.peek_at(2)? == Some(b'@') {
                return Err(Flaw::syntax("a structured comment stands in the middle of a statement"));
            }
            self.skip_line()?;
            self.skip_space()?;
        }
        Ok(())
    }

    /// Takes a comment when one stands here. Like PostgreSQL's own scanner it ends it at a line feed or a carriage
    /// return. `text` receives what follows the mark of a note or a watermark.
    pub(super) fn comment(&mut self, text: &mut Vec<u8>, bytes_max: usize) -> Result<Option<Comment>, Flaw> {
        if self.peek()? != Some(b'-') || self.peek_at(1)? != Some(b'-') {
            return Ok(None);
        }
        let (sort, mark) = if self.starts_with(NOTE_MARK)? {
            (Comment::Note, NOTE_MARK)
        } else if self.starts_with(WATERMARK_MARK)? {
            (Comment::Watermark, WATERMARK_MARK)
        } else {
            self.skip_line()?;
            return Ok(Some(Comment::Plain));
        };
        self.consume(mark.len());
        let start = text.len();
        while self.peek()?.is_some() {
            let rest = self.rest();
            let stop = memchr::memchr2(b'\n', b'\r', rest);
            let count = stop.unwrap_or(rest.len());
            if text.len() - start + count > bytes_max {
                return Err(Flaw::too_long(format!("a structured comment is longer than {bytes_max} bytes")));
            }
            text.extend_from_slice(&rest[..count]);
            self.consume(count);
            if stop.is_some() {
                break;
            }
        }
        check_text(&text[start..])?;
        Ok(Some(sort))
    }

    /// Skips to the end of the line, however long.
    fn skip_line(&mut self) -> Result<(), Flaw> {
        while self.peek()?.is_some() {
            let rest = self.rest();
            if let Some(stop) = memchr::memchr2(b'\n', b'\r', rest) {
                self.consume(stop);
                return Ok(());
            }
            self.consume(rest.len());
        }
        Ok(())
    }

    /// Takes `keyword` (ASCII capitals) in any case when it stands here as a whole word.
    #[inline]
    pub(super) fn try_keyword(&mut self, keyword: &str) -> Result<bool, Flaw> {
        self.skip_blank()?;
        let length = keyword.len();
        if !self.has(length)? || !self.rest()[..length].eq_ignore_ascii_case(keyword.as_bytes()) {
            return Ok(false);
        }
        if self.peek_at(length)?.is_some_and(continues_identifier) {
            return Ok(false);
        }
        self.consume(length);
        Ok(true)
    }

    /// Takes a keyword that must stand here.
    pub(super) fn keyword(&mut self, keyword: &str) -> Result<(), Flaw> {
        if self.try_keyword(keyword)? { Ok(()) } else { Err(self.unexpected(keyword)) }
    }

    /// Takes one character of punctuation when it stands here.
    #[inline]
    pub(super) fn try_mark(&mut self, mark: u8) -> Result<bool, Flaw> {
        self.skip_blank()?;
        let found = self.peek()? == Some(mark);
        if found {
            self.consume(1);
        }
        Ok(found)
    }

    /// Takes punctuation that must stand here.
    #[inline]
    pub(super) fn mark(&mut self, mark: u8) -> Result<(), Flaw> {
        if self.try_mark(mark)? { Ok(()) } else { Err(self.unexpected(&char::from(mark).to_string())) }
    }

    /// What to say when something else stands where `wanted` should: cut short is not the same as refused.
    pub(super) fn unexpected(&mut self, wanted: &str) -> Flaw {
        match self.ends_in_word() {
            Ok(true) => cut_short(),
            Ok(false) => Flaw::refused(format!("this is not part of the dialect: {wanted} is expected here")),
            Err(flaw) => flaw,
        }
    }

    /// Whether the input ends here, or in the middle of what may be the beginning of a word.
    pub(super) fn ends_in_word(&mut self) -> Result<bool, Flaw> {
        for ahead in 0..=IDENTIFIER_BYTES_MAX {
            match self.peek_at(ahead)? {
                None => return Ok(true),
                Some(byte) if continues_identifier(byte) => {}
                Some(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Takes an identifier: unquoted ones are folded to lower case, quoted ones kept.
    pub(super) fn identifier(&mut self) -> Result<String, Flaw> {
        self.skip_blank()?;
        let mut name = Vec::new();
        match self.peek()? {
            Some(b'"') => {
                self.consume(1);
                loop {
                    let Some(byte) = self.peek()? else {
                        return Err(self.unexpected("a closing quote"));
                    };
                    self.consume(1);
                    if byte == b'"' {
                        if self.peek()? != Some(b'"') {
                            break;
                        }
                        self.consume(1);
                    }
                    push_bounded(&mut name, byte)?;
                }
            }
            Some(byte) if starts_identifier(byte) => {
                while let Some(byte) = self.peek()?.filter(|byte| continues_identifier(*byte)) {
                    self.consume(1);
                    push_bounded(&mut name, byte.to_ascii_lowercase())?;
                }
                // U&"..." and x"..." are other kinds of names: what follows a plain word must not glue to it.
                if matches!(self.peek()?, Some(b'"' | b'\'')) {
                    return Err(Flaw::refused("this is not part of the dialect: a name is glued to a quote"));
                }
            }
            _ => return Err(self.unexpected("a name")),
        }
        if name.is_empty() {
            return Err(Flaw::refused("a name is empty"));
        }
        check_text(&name)?;
        String::from_utf8(name).map_err(|_| Flaw::encoding("a name is not UTF-8"))
    }
}

pub(super) fn cut_short() -> Flaw {
    Flaw::syntax("the script ends inside a statement: it is not complete")
}

fn push_bounded(name: &mut Vec<u8>, byte: u8) -> Result<(), Flaw> {
    if name.len() == IDENTIFIER_BYTES_MAX {
        return Err(Flaw::too_long(format!("a name is longer than {IDENTIFIER_BYTES_MAX} bytes")));
    }
    name.push(byte);
    Ok(())
}

pub(super) fn zero_byte() -> Flaw {
    Flaw::encoding("a zero byte, which no text can hold")
}

/// Refuses what is not UTF-8 and what PostgreSQL cannot store.
#[inline]
pub(super) fn check_text(bytes: &[u8]) -> Result<(), Flaw> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Flaw::encoding("the text is not UTF-8"));
    }
    if memchr::memchr(0, bytes).is_some() {
        return Err(zero_byte());
    }
    Ok(())
}
