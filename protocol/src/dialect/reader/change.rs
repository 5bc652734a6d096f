//! UPDATE and DELETE of rows by key.

use std::io::BufRead;

use super::statements::check_distinct;
use super::window::Flaw;
use super::{Mode, Reader};
use crate::dialect::{Statement, WriteKind};

impl<R: BufRead> Reader<R> {
    /// `UPDATE t SET c = literal, ... WHERE key = literal [AND key = literal] [AND c IS NOT DISTINCT FROM literal];`
    pub(super) fn update(&mut self) -> Result<(), Flaw> {
        self.insert_head.clear();
        let slot = self.queue.reserve();
        let row = self.queue.len();
        let table = self.window.table_name()?;
        let mut draft = self.draft(table, WriteKind::Update);
        self.window.keyword("SET")?;
        loop {
            self.push_column(&mut draft.columns)?;
            self.window.mark(b'=')?;
            if draft.columns.len() > 1 {
                self.queue.bytes_mut().push(b'\t');
            }
            self.field(row, false)?;
            if !self.window.try_mark(b',')? {
                break;
            }
        }
        draft.set_len = draft.columns.len();
        self.window.keyword("WHERE")?;
        let mut guarded = false;
        loop {
            self.push_column(&mut draft.columns)?;
            self.queue.bytes_mut().push(b'\t');
            if !guarded && self.window.try_mark(b'=')? {
                self.key_field(row)?;
                draft.key_len += 1;
            } else if draft.key_len > 0 {
                for keyword in ["IS", "NOT", "DISTINCT", "FROM"] {
                    self.window.keyword(keyword)?;
                }
                guarded = true;
                self.field(row, false)?;
            } else {
                return Err(self.window.unexpected("="));
            }
            if !self.window.try_keyword("AND")? {
                break;
            }
        }
        self.window.mark(b';')?;
        self.end_row(row)?;
        if self.adopt(draft) {
            let (set, rest) = self.statement.columns.split_at(self.statement.set_len);
            let (keys, guards) = rest.split_at(self.statement.key_len);
            check_distinct(set)?;
            check_distinct(keys)?;
            check_distinct(guards)?;
            self.queue.announce(slot);
        }
        Ok(())
    }

    /// `DELETE FROM t WHERE` then `key IN (literal, ...)`, `(a, b) IN ((literal, literal), ...)`, or
    /// `key = literal [AND key = literal]`.
    pub(super) fn delete(&mut self) -> Result<(), Flaw> {
        self.insert_head.clear();
        self.window.keyword("FROM")?;
        let table = self.window.table_name()?;
        let mut draft = self.draft(table, WriteKind::Delete);
        self.window.keyword("WHERE")?;
        let tuples = self.window.try_mark(b'(')?;
        if tuples {
            draft.columns = self.column_list()?;
            if draft.columns.len() < 2 {
                return Err(Flaw::refused("a list of key columns in brackets needs two or more"));
            }
            self.window.keyword("IN")?;
        } else {
            self.push_column(&mut draft.columns)?;
            if !self.window.try_keyword("IN")? {
                return self.delete_one(draft);
            }
        }
        self.window.mark(b'(')?;
        self.width = draft.columns.len();
        draft.key_len = draft.columns.len();
        check_distinct(&draft.columns)?;
        let slot = self.queue.reserve();
        if self.adopt(draft) {
            self.queue.announce(slot);
        }
        self.first_row = true;
        self.mode = Mode::Delete { tuples };
        Ok(())
    }

    /// Goes on with the keys of a DELETE: one more, or its end.
    pub(super) fn stream_delete(&mut self, tuples: bool) -> Result<(), Flaw> {
        if !self.row_follows()? {
            self.window.mark(b')')?;
            self.window.mark(b';')?;
            self.mode = Mode::Top;
            return Ok(());
        }
        let start = self.queue.len();
        if tuples {
            self.window.mark(b'(')?;
            self.tuple(false)?;
            if self.queue.bytes()[start..].split(|byte| *byte == b'\t').any(|field| field == b"\\N") {
                return Err(Flaw::syntax("a key is NULL"));
            }
            return Ok(());
        }
        self.key_field(start)?;
        self.end_row(start)
    }

    /// `key = literal [AND key = literal]`, the first column already taken.
    fn delete_one(&mut self, mut draft: Statement) -> Result<(), Flaw> {
        let slot = self.queue.reserve();
        let row = self.queue.len();
        loop {
            self.window.mark(b'=')?;
            self.key_field(row)?;
            if !self.window.try_keyword("AND")? {
                break;
            }
            self.queue.bytes_mut().push(b'\t');
            self.push_column(&mut draft.columns)?;
        }
        self.window.mark(b';')?;
        self.end_row(row)?;
        draft.key_len = draft.columns.len();
        check_distinct(&draft.columns)?;
        if self.adopt(draft) {
            self.queue.announce(slot);
        }
        Ok(())
    }
}
