//! The strict reader: it recognises exactly the dialect, row by row, in bounded memory.
//!
//! It is a recogniser and not a general SQL parser on purpose: what it does not know it refuses, so that it cannot
//! disagree with the server about what a text means.

mod change;
mod copy;
mod insert;
mod lexer;
mod literals;
mod preamble;
mod queue;
mod statements;
mod window;

use std::io::BufRead;

use self::copy::CopyBlock;
use self::lexer::{Comment, cut_short};
use self::queue::{Item, Queue};
use self::window::{Flaw, Window};
use super::redact::redact;
use super::{DialectError, DialectErrorKind, Event, Statement, WriteKind};
use crate::names::TableName;

pub(super) use self::literals::is_plain_number;

/// Bounds of what a [`Reader`] takes. The reader's memory stays within a small multiple of their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderLimits {
    /// Bytes of one row, and of one structured comment.
    pub row_bytes_max: usize,
    /// Bytes of rows held back while an INSERT has not shown whether `ON CONFLICT` ends it. A longer INSERT streams,
    /// and is refused when `ON CONFLICT` does end it.
    pub lookahead_bytes: usize,
    /// Columns of one statement (PostgreSQL's own bound is 1600).
    pub columns_max: usize,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self { row_bytes_max: 256 << 20, lookahead_bytes: 8 << 20, columns_max: 1600 }
    }
}

/// What the input stands in the middle of.
#[derive(Debug, Clone, Copy)]
enum Mode {
    /// Between statements.
    Top,
    /// Among the rows of an INSERT that has been announced.
    Insert,
    /// Among the keys of a DELETE, each in brackets or not.
    Delete { tuples: bool },
    /// Among the data lines of a COPY.
    Copy(CopyBlock),
    /// The end has been reached, or an error returned.
    Ended,
}

/// Recognises the dialect and yields its statements, rows and notes one by one.
pub struct Reader<R: BufRead> {
    window: Window<R>,
    limits: ReaderLimits,
    mode: Mode,
    queue: Queue,
    /// The statement announced last.
    statement: Statement,
    /// Its text up to VALUES and from its last row on: a repeated INSERT is recognised by comparing bytes.
    insert_head: Vec<u8>,
    insert_tail: Vec<u8>,
    /// Fields of a row of the current statement; 0 while not known.
    width: usize,
    /// Whether the next row is the first of its statement.
    first_row: bool,
    number: u64,
    in_transaction: bool,
    setval: Option<(TableName, i64, bool)>,
    failed: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads a script of SQL text (already decompressed) from its beginning.
    pub fn new(inner: R, limits: ReaderLimits) -> Self {
        Self {
            window: Window::new(inner),
            limits,
            mode: Mode::Top,
            queue: Queue::default(),
            statement: Statement {
                number: 0,
                table: TableName::public(""),
                kind: WriteKind::Copy,
                columns: Vec::new(),
                set_len: 0,
                key_len: 0,
                overriding: false,
                conflict: Vec::new(),
                updates: Vec::new(),
            },
            insert_head: Vec::new(),
            insert_tail: Vec::new(),
            width: 0,
            first_row: true,
            number: 0,
            in_transaction: false,
            setval: None,
            failed: false,
        }
    }

    /// The next event, or none at the end of the script.
    ///
    /// # Errors
    /// [`DialectError`] when the text is not of the dialect, is cut short, passes a limit, is not UTF-8, or cannot be
    /// read. After an error every call returns an error.
    #[allow(clippy::should_implement_trait)] // the events borrow from the reader
    pub fn next(&mut self) -> Result<Option<Event<'_>>, DialectError> {
        Ok(self.next_numbered()?.map(|(_, event)| event))
    }

    /// The next event with the number of the statement it belongs to: [`Self::statement_number`] cannot be asked as long
    /// as the event is held.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_numbered(&mut self) -> Result<Option<(u64, Event<'_>)>, DialectError> {
        let item = match self.advance() {
            Ok(item) => item,
            Err(flaw) => {
                self.failed = true;
                self.mode = Mode::Ended;
                return Err(self.error(flaw));
            }
        };
        let event = match item {
            None => None,
            Some(Item::Statement) => Some(Event::Statement(&self.statement)),
            Some(Item::Line { start, end }) => Some(Event::Row(self.window.slice(start, end))),
            Some(Item::SetVal) => {
                self.setval.take().map(|(sequence, value, called)| Event::SetVal { sequence, value, called })
            }
            Some(queued) => Some(self.queue.event(queued)),
        };
        Ok(event.map(|event| (self.number, event)))
    }

    /// The statement that the last event belongs to, counted from 1; 0 before the first. Every SQL statement counts,
    /// SET and BEGIN too.
    pub fn statement_number(&self) -> u64 {
        self.number
    }

    /// Bytes of SQL text consumed so far.
    pub fn offset(&self) -> u64 {
        self.window.offset()
    }

    fn advance(&mut self) -> Result<Option<Item>, Flaw> {
        if self.failed {
            return Err(Flaw::syntax("the script was refused before this point"));
        }
        loop {
            if let Some(item) = self.queue.take() {
                return Ok(Some(item));
            }
            match &mut self.mode {
                Mode::Ended => return Ok(None),
                Mode::Copy(block) => match block.line(&mut self.window, self.limits.row_bytes_max)? {
                    Some((start, end)) => return Ok(Some(Item::Line { start, end })),
                    None => self.mode = Mode::Top,
                },
                Mode::Insert => self.stream_insert()?,
                Mode::Delete { tuples } => {
                    let tuples = *tuples;
                    self.stream_delete(tuples)?;
                }
                Mode::Top => self.top()?,
            }
        }
    }

    /// Between statements: takes blanks, comments and one statement.
    fn top(&mut self) -> Result<(), Flaw> {
        if self.window.offset() == 0 && self.window.starts_with(b"\xEF\xBB\xBF")? {
            self.window.consume(3);
        }
        loop {
            self.window.skip_space()?;
            self.window.begin_statement();
            if !self.comment()? {
                break;
            }
            if !self.queue.is_empty() {
                return Ok(());
            }
        }
        match self.window.peek()? {
            None if self.in_transaction => {
                Err(Flaw::syntax("the script ends inside a transaction, before COMMIT: it is not complete"))
            }
            None => {
                self.mode = Mode::Ended;
                Ok(())
            }
            Some(b'\\') => self.restrict().inspect_err(|_| self.number += 1),
            Some(b';') => {
                self.window.consume(1);
                Ok(())
            }
            Some(_) => {
                self.number += 1;
                self.one_statement()
            }
        }
    }

    /// Takes a comment where notes and watermarks may stand; false when there is none.
    fn comment(&mut self) -> Result<bool, Flaw> {
        let start = self.queue.len();
        let sort = self.window.comment(self.queue.bytes_mut(), self.limits.row_bytes_max)?;
        match sort {
            None => return Ok(false),
            Some(Comment::Plain) => {}
            Some(Comment::Note) => self.queue.push_note(start)?,
            Some(Comment::Watermark) => self.queue.push_watermark(start),
        }
        Ok(true)
    }

    fn one_statement(&mut self) -> Result<(), Flaw> {
        if self.window.try_keyword("INSERT")? {
            self.insert()
        } else if self.window.try_keyword("UPDATE")? {
            self.update()
        } else if self.window.try_keyword("DELETE")? {
            self.delete()
        } else if self.window.try_keyword("COPY")? {
            self.copy()
        } else if self.window.try_keyword("SET")? {
            self.set()
        } else if self.window.try_keyword("SELECT")? {
            self.select()
        } else if self.window.try_keyword("BEGIN")? {
            self.transaction(true)
        } else if self.window.try_keyword("START")? {
            self.window.keyword("TRANSACTION")?;
            self.transaction(true)
        } else if self.window.try_keyword("COMMIT")? {
            self.transaction(false)
        } else if self.window.ends_in_word()? {
            Err(cut_short())
        } else {
            Err(Flaw::refused(
                "this is not part of the dialect: only INSERT, UPDATE, DELETE and COPY of data are accepted",
            ))
        }
    }

    /// BEGIN and COMMIT: swallowed, but what begins must end, or the script has been cut.
    fn transaction(&mut self, begins: bool) -> Result<(), Flaw> {
        if !self.window.try_keyword("TRANSACTION")? {
            self.window.try_keyword("WORK")?;
        }
        self.window.mark(b';')?;
        self.in_transaction = begins;
        Ok(())
    }

    fn error(&self, flaw: Flaw) -> DialectError {
        let Flaw { kind, what } = flaw;
        let line = self.window.line();
        let mut message = format!("{what}; line {line}");
        if self.number > 0 && kind != DialectErrorKind::Io {
            let (consumed, ahead) = self.window.statement_text();
            message.push_str(&format!(", statement {}: {}", self.number, redact(&consumed, &ahead)));
        }
        DialectError { offset: self.window.offset(), statement: self.number, line, kind, message }
    }
}
