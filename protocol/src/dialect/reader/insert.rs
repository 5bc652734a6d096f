//! INSERT, with or without ON CONFLICT.

use std::io::BufRead;

use super::lexer::continues_identifier;
use super::statements::check_distinct;
use super::window::Flaw;
use super::{Mode, Reader};
use crate::dialect::{Statement, WriteKind};

/// Text of an INSERT up to VALUES that is worth remembering.
const HEAD_BYTES_MAX: usize = 16 << 10;

impl<R: BufRead> Reader<R> {
    /// `INSERT INTO t [(columns)] [OVERRIDING SYSTEM VALUE] VALUES (...), ... [ON CONFLICT ...];`
    pub(super) fn insert(&mut self) -> Result<(), Flaw> {
        let slot = self.queue.reserve();
        let draft = if self.repeats_head()? { None } else { Some(self.insert_head()?) };
        self.first_row = true;
        let has_ended = loop {
            if !self.insert_row()? {
                break true;
            }
            if self.queue.held() > self.limits.lookahead_bytes {
                // a single long row must not hide how the statement ends
                self.window.skip_blank()?;
                break self.window.peek()? != Some(b',');
            }
        };
        if has_ended {
            if self.insert_end(draft)? {
                self.queue.announce(slot);
            }
            return Ok(());
        }
        // Too long to wait for its end: announced as a plain INSERT, which its end must then confirm.
        let mut plain = draft.unwrap_or_else(|| self.statement.clone());
        plain.kind = WriteKind::Insert;
        plain.number = self.number;
        plain.conflict.clear();
        plain.updates.clear();
        if self.adopt(plain) {
            self.queue.announce(slot);
        }
        self.mode = Mode::Insert;
        Ok(())
    }

    /// Goes on with an INSERT that has been announced: one more row, or its end.
    pub(super) fn stream_insert(&mut self) -> Result<(), Flaw> {
        if self.insert_row()? {
            return Ok(());
        }
        self.mode = Mode::Top;
        if self.window.try_mark(b';')? {
            self.insert_tail.clear();
            self.insert_tail.push(b';');
            return Ok(());
        }
        if self.window.try_keyword("ON")? {
            return Err(Flaw::too_long(format!(
                "an INSERT with ON CONFLICT has more than {} bytes of rows: write fewer rows in each statement",
                self.limits.lookahead_bytes
            )));
        }
        Err(self.window.unexpected("a comma or the end of the statement"))
    }

    /// Takes the text from after INSERT to VALUES when it is the same as the last time.
    fn repeats_head(&mut self) -> Result<bool, Flaw> {
        let length = self.insert_head.len();
        if length == 0 || !self.window.starts_with(&self.insert_head)? {
            return Ok(false);
        }
        if self.window.peek_at(length)?.is_some_and(continues_identifier) {
            return Ok(false);
        }
        self.window.consume(length);
        Ok(true)
    }

    fn insert_head(&mut self) -> Result<Statement, Flaw> {
        let start = self.window.offset();
        self.insert_head.clear();
        self.insert_tail.clear();
        self.window.keyword("INTO")?;
        let table = self.window.table_name()?;
        let mut draft = self.draft(table, WriteKind::Insert);
        if self.window.try_mark(b'(')? {
            draft.columns = self.column_list()?;
            check_distinct(&draft.columns)?;
        }
        if self.window.try_keyword("OVERRIDING")? {
            self.window.keyword("SYSTEM")?;
            self.window.keyword("VALUE")?;
            draft.overriding = true;
        }
        self.window.keyword("VALUES")?;
        self.width = draft.columns.len();
        if let Some(text) = self.window.since(start).filter(|text| text.len() <= HEAD_BYTES_MAX) {
            self.insert_head.extend_from_slice(text);
        }
        Ok(draft)
    }

    /// Takes `[,] (literal, ...)` with any notes before the bracket; false when the rows have ended.
    fn insert_row(&mut self) -> Result<bool, Flaw> {
        if !self.row_follows()? {
            return Ok(false);
        }
        self.window.mark(b'(')?;
        self.tuple(true)?;
        Ok(true)
    }

    /// Takes what follows the rows of an INSERT; `draft` is none when it repeats the current statement's head. True
    /// when the statement is to be announced.
    fn insert_end(&mut self, draft: Option<Statement>) -> Result<bool, Flaw> {
        let repeated = draft.is_none() && !self.insert_tail.is_empty();
        if repeated && self.window.starts_with(&self.insert_tail)? {
            self.window.consume(self.insert_tail.len());
            return Ok(false);
        }
        let start = self.window.offset();
        let mut draft = draft.unwrap_or_else(|| self.statement.clone());
        draft.number = self.number;
        draft.kind = WriteKind::Insert;
        draft.conflict.clear();
        draft.updates.clear();
        if self.window.try_keyword("ON")? {
            self.window.keyword("CONFLICT")?;
            self.on_conflict(&mut draft)?;
        }
        self.window.mark(b';')?;
        self.insert_tail.clear();
        if let Some(text) = self.window.since(start).filter(|text| text.len() <= HEAD_BYTES_MAX) {
            self.insert_tail.extend_from_slice(text);
        }
        Ok(self.adopt(draft))
    }

    /// `[(columns)] DO NOTHING` or `(columns) DO UPDATE SET c = excluded.c, ...`
    fn on_conflict(&mut self, draft: &mut Statement) -> Result<(), Flaw> {
        if self.window.try_mark(b'(')? {
            draft.conflict = self.column_list()?;
            check_distinct(&draft.conflict)?;
        }
        self.window.keyword("DO")?;
        draft.kind = WriteKind::InsertIgnore;
        if draft.conflict.is_empty() || self.window.try_keyword("NOTHING")? {
            return if draft.conflict.is_empty() { self.window.keyword("NOTHING") } else { Ok(()) };
        }
        self.window.keyword("UPDATE")?;
        self.window.keyword("SET")?;
        draft.kind = WriteKind::Upsert;
        loop {
            self.push_column(&mut draft.updates)?;
            self.window.mark(b'=')?;
            self.window.keyword("EXCLUDED")?;
            self.window.mark(b'.')?;
            let source = self.window.identifier()?;
            if draft.updates.last() != Some(&source) {
                return Err(Flaw::refused("DO UPDATE may only set a column to its own value in excluded"));
            }
            if !self.window.try_mark(b',')? {
                return check_distinct(&draft.updates);
            }
        }
    }
}
