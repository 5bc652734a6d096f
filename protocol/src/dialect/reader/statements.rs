//! What the data statements have in common: names, column lists, rows.

use std::io::BufRead;

use super::Reader;
use super::lexer::check_text;
use super::queue::Item;
use super::window::{Flaw, Window};
use crate::dialect::{DEFAULT_FIELD, Statement, WriteKind};
use crate::names::{DEFAULT_SCHEMA, TableName};

impl<R: BufRead> Window<R> {
    /// `table` or `schema.table`. An unqualified name is one of schema public, also after pg_dump has emptied the
    /// search_path.
    pub(super) fn table_name(&mut self) -> Result<TableName, Flaw> {
        let first = self.identifier()?;
        if !self.try_mark(b'.')? {
            return Ok(TableName::new(DEFAULT_SCHEMA, first));
        }
        Ok(TableName::new(first, self.identifier()?))
    }
}

impl<R: BufRead> Reader<R> {
    /// `(a, b, c)`, the bracket already taken.
    pub(super) fn column_list(&mut self) -> Result<Vec<String>, Flaw> {
        let mut columns = Vec::new();
        loop {
            self.push_column(&mut columns)?;
            if !self.window.try_mark(b',')? {
                self.window.mark(b')')?;
                return Ok(columns);
            }
        }
    }

    pub(super) fn push_column(&mut self, columns: &mut Vec<String>) -> Result<(), Flaw> {
        let column = self.window.identifier()?;
        if columns.len() == self.limits.columns_max {
            return Err(Flaw::too_long(format!("a statement has more than {} columns", self.limits.columns_max)));
        }
        columns.push(column);
        Ok(())
    }

    pub(super) fn draft(&self, table: TableName, kind: WriteKind) -> Statement {
        Statement {
            number: self.number,
            table,
            kind,
            columns: Vec::new(),
            set_len: 0,
            key_len: 0,
            overriding: false,
            conflict: Vec::new(),
            updates: Vec::new(),
        }
    }

    /// Makes `draft` the current statement; true when it differs from the last one in more than its rows.
    pub(super) fn adopt(&mut self, draft: Statement) -> bool {
        let mut previous = std::mem::replace(&mut self.statement, draft);
        let number = std::mem::replace(&mut previous.number, self.statement.number);
        if previous == self.statement {
            // The event that the caller has seen keeps its number.
            self.statement.number = number;
            return false;
        }
        true
    }

    /// Steps to the next row: over the comma, unless it is the first, and the notes before it.
    #[inline]
    pub(super) fn row_follows(&mut self) -> Result<bool, Flaw> {
        if self.first_row {
            self.first_row = false;
        } else if !self.window.try_mark(b',')? {
            return Ok(false);
        }
        self.window.skip_space()?;
        while self.comment()? {
            self.window.skip_space()?;
        }
        Ok(true)
    }

    /// Takes `literal, ...)` as a row.
    #[inline]
    pub(super) fn tuple(&mut self, defaults: bool) -> Result<(), Flaw> {
        let start = self.queue.len();
        let mut fields = 0;
        loop {
            self.field(start, defaults)?;
            fields += 1;
            if self.window.try_mark(b',')? {
                self.queue.bytes_mut().push(b'\t');
            } else {
                self.window.mark(b')')?;
                break;
            }
        }
        if self.width == 0 {
            self.width = fields;
        }
        if fields != self.width {
            return Err(Flaw::syntax(format!("a row has {fields} values where {} are expected", self.width)));
        }
        self.end_row(start)
    }

    #[inline]
    pub(super) fn field(&mut self, row_start: usize, defaults: bool) -> Result<(), Flaw> {
        self.window.skip_blank()?;
        if defaults && matches!(self.window.peek()?, Some(b'd' | b'D')) && self.window.try_keyword("DEFAULT")? {
            self.queue.bytes_mut().extend_from_slice(DEFAULT_FIELD);
            return Ok(());
        }
        self.window.literal(self.queue.bytes_mut(), row_start, self.limits.row_bytes_max)?;
        if self.queue.len() - row_start > self.limits.row_bytes_max {
            return Err(Flaw::too_long(format!("a row is longer than {} bytes", self.limits.row_bytes_max)));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn end_row(&mut self, start: usize) -> Result<(), Flaw> {
        let end = self.queue.len();
        check_text(&self.queue.bytes()[start..end])?;
        self.queue.push(Item::Row { start, end });
        Ok(())
    }

    /// A literal that selects a row: never null, which would select none.
    pub(super) fn key_field(&mut self, row_start: usize) -> Result<(), Flaw> {
        let start = self.queue.len();
        self.field(row_start, false)?;
        if &self.queue.bytes()[start..] == b"\\N" {
            return Err(Flaw::syntax("a key is NULL"));
        }
        Ok(())
    }
}

pub(super) fn check_distinct(columns: &[String]) -> Result<(), Flaw> {
    for (place, column) in columns.iter().enumerate() {
        if columns[..place].contains(column) {
            return Err(Flaw::syntax(format!("column {column} is named twice")));
        }
    }
    Ok(())
}
