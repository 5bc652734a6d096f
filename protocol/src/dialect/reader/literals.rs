//! Literals, turned into COPY text fields.

use std::io::BufRead;

use super::lexer::{continues_identifier, cut_short, zero_byte};
use super::window::{Flaw, Window};

impl<R: BufRead> Window<R> {
    /// Takes one literal and appends it to `row` as a COPY text field. `row_start` is where the row begins in `row`.
    #[inline]
    pub(super) fn literal(&mut self, row: &mut Vec<u8>, row_start: usize, bytes_max: usize) -> Result<(), Flaw> {
        self.skip_blank()?;
        match self.peek()? {
            Some(b'\'') => self.string(row, row_start, bytes_max),
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => self.number(row),
            Some(b'b' | b'B') if self.peek_at(1)? == Some(b'\'') => self.bits(row, row_start, bytes_max),
            _ if self.try_keyword("NULL")? => {
                row.extend_from_slice(b"\\N");
                Ok(())
            }
            _ if self.try_keyword("TRUE")? => {
                row.push(b't');
                Ok(())
            }
            _ if self.try_keyword("FALSE")? => {
                row.push(b'f');
                Ok(())
            }
            _ => Err(self.unexpected("a literal")),
        }
    }

    /// Takes `'text'` and appends it escaped.
    fn string(&mut self, row: &mut Vec<u8>, row_start: usize, bytes_max: usize) -> Result<(), Flaw> {
        self.consume(1);
        loop {
            let rest = self.rest();
            let quote = memchr::memchr(b'\'', rest);
            let count = quote.unwrap_or(rest.len());
            escape_field(&rest[..count], row)?;
            if row.len() - row_start > bytes_max {
                return Err(Flaw::too_long(format!("a row is longer than {bytes_max} bytes")));
            }
            if quote.is_none() {
                self.consume(count);
                if !self.fill()? {
                    return Err(Flaw::syntax("the script ends inside a string: it is not complete"));
                }
                continue;
            }
            self.consume(count + 1);
            if self.peek()? != Some(b'\'') {
                return Ok(());
            }
            self.consume(1);
            row.push(b'\'');
        }
    }

    /// Takes `B'0101'`.
    fn bits(&mut self, row: &mut Vec<u8>, row_start: usize, bytes_max: usize) -> Result<(), Flaw> {
        self.consume(1);
        let start = row.len();
        self.string(row, row_start, bytes_max)?;
        if row[start..].iter().all(|byte| matches!(byte, b'0' | b'1')) {
            Ok(())
        } else {
            Err(Flaw::syntax("a bit string holds something other than 0 and 1"))
        }
    }

    /// Takes a decimal number: `[+-] digits [. digits] [e [+-] digits]`.
    fn number(&mut self, row: &mut Vec<u8>) -> Result<(), Flaw> {
        /// More digits than numeric can have (131,072 before the point, 16,383 after it).
        const NUMBER_BYTES_MAX: usize = 160_000;
        let start = row.len();
        while let Some(byte) = self.peek()? {
            if !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') {
                break;
            }
            if byte == b'-' && self.peek_at(1)? == Some(b'-') {
                break;
            }
            self.consume(1);
            row.push(byte);
            if row.len() - start > NUMBER_BYTES_MAX {
                return Err(Flaw::too_long("a number has too many digits"));
            }
        }
        if self.peek()?.is_none() {
            return Err(cut_short());
        }
        if !is_plain_number(&row[start..]) || self.peek()?.is_some_and(continues_identifier) {
            return Err(Flaw::refused("this is not part of the dialect: a plain number is expected here"));
        }
        Ok(())
    }

    /// Takes a short string as it is, for settings and the names of sequences.
    pub(super) fn plain_string(&mut self) -> Result<String, Flaw> {
        const BYTES_MAX: usize = 1024;
        self.skip_blank()?;
        if self.peek()? != Some(b'\'') {
            return Err(self.unexpected("a string"));
        }
        let mut text = Vec::new();
        self.string(&mut text, 0, BYTES_MAX)?;
        match String::from_utf8(text) {
            Ok(text) if !text.contains('\\') => Ok(text),
            _ => Err(Flaw::refused("a string here must be plain text")),
        }
    }
}

/// `[+-] (digits [. [digits]] | . digits) [e [+-] digits]`, which is what PostgreSQL takes for a decimal constant.
pub(in crate::dialect) fn is_plain_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let whole = digits(rest);
    rest = &rest[whole..];
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix(b".") {
        fraction = digits(after);
        rest = &after[fraction..];
    }
    if whole + fraction == 0 {
        return false;
    }
    if let Some(after) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let after = after.strip_prefix(b"-").or_else(|| after.strip_prefix(b"+")).unwrap_or(after);
        let exponent = digits(after);
        return exponent > 0 && exponent == after.len();
    }
    rest.is_empty()
}

/// Appends `text` as (part of) a COPY text field, escaped as PostgreSQL's COPY TO does.
#[inline]
fn escape_field(mut text: &[u8], row: &mut Vec<u8>) -> Result<(), Flaw> {
    while let Some(place) = text.iter().position(|byte| *byte < b' ' || *byte == b'\\') {
        row.extend_from_slice(&text[..place]);
        match text[place] {
            b'\\' => row.extend_from_slice(b"\\\\"),
            b'\n' => row.extend_from_slice(b"\\n"),
            b'\r' => row.extend_from_slice(b"\\r"),
            b'\t' => row.extend_from_slice(b"\\t"),
            0x08 => row.extend_from_slice(b"\\b"),
            0x0b => row.extend_from_slice(b"\\v"),
            0x0c => row.extend_from_slice(b"\\f"),
            0 => return Err(zero_byte()),
            other => row.push(other),
        }
        text = &text[place + 1..];
    }
    row.extend_from_slice(text);
    Ok(())
}
