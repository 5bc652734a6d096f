//! COPY blocks: the statement and its data lines.

use std::io::BufRead;

use super::lexer::check_text;
use super::queue::Item;
use super::statements::check_distinct;
use super::window::{Flaw, Window};
use super::{Mode, Reader};
use crate::dialect::WriteKind;

impl<R: BufRead> Reader<R> {
    /// `COPY t [(columns)] FROM stdin;` and the end of its line.
    pub(super) fn copy(&mut self) -> Result<(), Flaw> {
        self.insert_head.clear();
        let table = self.window.table_name()?;
        let mut draft = self.draft(table, WriteKind::Copy);
        if self.window.try_mark(b'(')? {
            draft.columns = self.column_list()?;
            check_distinct(&draft.columns)?;
        }
        self.window.keyword("FROM")?;
        self.window.keyword("STDIN")?;
        self.window.mark(b';')?;
        while matches!(self.window.peek()?, Some(b' ' | b'\t' | b'\r')) {
            self.window.consume(1);
        }
        match self.window.peek()? {
            Some(b'\n') => self.window.consume(1),
            Some(_) => {
                return Err(Flaw::refused("something follows COPY ... FROM stdin; on its line"));
            }
            None => {
                return Err(Flaw::syntax("the script ends inside a COPY block: it is not complete"));
            }
        }
        let width = Some(draft.columns.len()).filter(|width| *width > 0);
        self.statement = draft;
        self.queue.push(Item::Statement);
        self.mode = Mode::Copy(CopyBlock::new(width));
        Ok(())
    }
}

/// The state of a COPY block.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyBlock {
    /// Fields of each row; known from the column list or from the first row.
    width: Option<usize>,
    /// Whether lines end in CR LF; known from the first line, as PostgreSQL itself decides it.
    crlf: Option<bool>,
}

impl CopyBlock {
    pub(super) fn new(width: Option<usize>) -> Self {
        Self { width, crlf: None }
    }

    /// The place in the window of the next line without its line end; none at `\.`.
    #[inline]
    pub(super) fn line<R: BufRead>(
        &mut self,
        window: &mut Window<R>,
        bytes_max: usize,
    ) -> Result<Option<(usize, usize)>, Flaw> {
        let mut searched = 0;
        let newline = loop {
            let rest = window.rest();
            if let Some(found) = memchr::memchr(b'\n', &rest[searched..]) {
                break searched + found;
            }
            searched = rest.len();
            if searched > bytes_max {
                return Err(Flaw::too_long(format!("a row is longer than {bytes_max} bytes")));
            }
            if !window.fill()? {
                // The end mark may be the very last thing in the script, without a line end.
                if matches!(window.rest(), b"\\." | b"\\.\r") {
                    window.consume(window.rest().len());
                    return Ok(None);
                }
                return Err(Flaw::syntax("the script ends inside a COPY block: it is not complete"));
            }
        };
        if newline > bytes_max {
            return Err(Flaw::too_long(format!("a row is longer than {bytes_max} bytes")));
        }
        let line = &window.rest()[..newline];
        if matches!(line, b"\\." | b"\\.\r") {
            window.consume(newline + 1);
            return Ok(None);
        }
        let length = self.check(line)?;
        window.consume(newline + 1);
        let start = window.consumed(newline + 1);
        Ok(Some((start, start + length)))
    }

    /// Checks one line and returns its length without a carriage return that belongs to the line end.
    #[inline]
    fn check(&mut self, line: &[u8]) -> Result<usize, Flaw> {
        let crlf = *self.crlf.get_or_insert(line.ends_with(b"\r"));
        let row = match line.strip_suffix(b"\r") {
            Some(row) if crlf => row,
            None if crlf => {
                return Err(Flaw::syntax("COPY data mixes line ends: a line feed without carriage return"));
            }
            _ => line,
        };
        if memchr::memchr(b'\r', row).is_some() {
            return Err(Flaw::syntax("COPY data holds a carriage return that is not written as \\r"));
        }
        check_text(row)?;
        check_escapes(row)?;
        let fields = memchr::memchr_iter(b'\t', row).count() + 1;
        let width = *self.width.get_or_insert(fields);
        if fields != width {
            return Err(Flaw::syntax(format!("a row has {fields} values where {width} are expected")));
        }
        Ok(row.len())
    }
}

/// Only the escapes that COPY TO writes: `\N` as a whole field, and `\b \f \n \r \t \v \\`. PostgreSQL would also take
/// `\.`, octal and hexadecimal escapes and a backslash before a real line end, all of which can change where data ends.
fn check_escapes(row: &[u8]) -> Result<(), Flaw> {
    let mut place = 0;
    while let Some(found) = memchr::memchr(b'\\', &row[place..]) {
        let at = place + found;
        match row.get(at + 1) {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\') => {}
            Some(b'N') if (at == 0 || row[at - 1] == b'\t') && row.get(at + 2).is_none_or(|byte| *byte == b'\t') => {}
            Some(b'.') => {
                return Err(Flaw::refused("an end mark \\. stands inside a line of COPY data"));
            }
            _ => {
                return Err(Flaw::refused("COPY data holds an escape that COPY TO never writes"));
            }
        }
        place = at + 2;
    }
    Ok(())
}
