//! What surrounds the data: SET, set_config, setval, and pg_dump's `\restrict`.

use std::io::BufRead;

use super::Reader;
use super::queue::Item;
use super::window::Flaw;
use crate::names::TableName;

/// Settings that pg_dump 13-18 writes and that do not change what the data means.
const HARMLESS_SETTINGS: &[&str] = &[
    "check_function_bodies",
    "client_min_messages",
    "default_table_access_method",
    "default_tablespace",
    "escape_string_warning",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "row_security",
    "statement_timeout",
    "transaction_timeout",
    "xmloption",
];

impl<R: BufRead> Reader<R> {
    /// `SET name = value;`
    pub(super) fn set(&mut self) -> Result<(), Flaw> {
        let name = self.window.identifier()?;
        if !self.window.try_mark(b'=')? {
            self.window.keyword("TO")?;
        }
        self.window.skip_blank()?;
        let value = match self.window.peek()? {
            Some(b'\'') => self.window.plain_string()?,
            Some(b'0'..=b'9') => {
                let mut number = Vec::new();
                self.window.literal(&mut number, 0, 64)?;
                String::from_utf8_lossy(&number).into_owned()
            }
            _ => self.window.identifier()?,
        };
        self.window.mark(b';')?;
        match name.as_str() {
            "client_encoding" => match value.to_ascii_lowercase().as_str() {
                // SQL_ASCII says nothing about the bytes; they are checked to be UTF-8 like all others.
                "utf8" | "utf-8" | "unicode" | "sql_ascii" => Ok(()),
                _ => Err(Flaw::encoding("the script is not written in UTF-8: dump with --encoding=UTF8")),
            },
            "standard_conforming_strings" if matches!(value.as_str(), "on" | "true" | "1" | "yes") => Ok(()),
            "standard_conforming_strings" => {
                Err(Flaw::refused("standard_conforming_strings must be on: other strings are not part of the dialect"))
            }
            other if HARMLESS_SETTINGS.contains(&other) => Ok(()),
            _ => Err(Flaw::refused("this is not part of the dialect: a setting that pg_dump does not write")),
        }
    }

    /// `SELECT pg_catalog.set_config('search_path', '', false);` or `SELECT pg_catalog.setval('name', n, true|false);`
    pub(super) fn select(&mut self) -> Result<(), Flaw> {
        self.window.keyword("PG_CATALOG")?;
        self.window.mark(b'.')?;
        if self.window.try_keyword("SET_CONFIG")? {
            self.window.mark(b'(')?;
            let name = self.window.plain_string()?;
            self.window.mark(b',')?;
            let value = self.window.plain_string()?;
            self.window.mark(b',')?;
            self.window.keyword("FALSE")?;
            self.window.mark(b')')?;
            self.window.mark(b';')?;
            if name == "search_path" && value.is_empty() {
                return Ok(());
            }
            return Err(Flaw::refused("set_config may only empty the search_path"));
        }
        if self.window.try_keyword("SETVAL")? {
            return self.setval();
        }
        Err(Flaw::refused("functions are not part of the dialect"))
    }

    fn setval(&mut self) -> Result<(), Flaw> {
        self.window.mark(b'(')?;
        let sequence = sequence_name(&self.window.plain_string()?)?;
        self.window.mark(b',')?;
        self.window.skip_blank()?;
        let mut number = Vec::new();
        self.window.literal(&mut number, 0, 64)?;
        let value = String::from_utf8_lossy(&number).parse::<i64>();
        let value = value.map_err(|_| Flaw::syntax("setval needs a whole number of 64 bits"))?;
        self.window.mark(b',')?;
        let called = self.window.try_keyword("TRUE")?;
        if !called {
            self.window.keyword("FALSE")?;
        }
        self.window.mark(b')')?;
        self.window.mark(b';')?;
        self.setval = Some((sequence, value, called));
        self.queue.push(Item::SetVal);
        Ok(())
    }

    /// `\restrict key` and `\unrestrict key`, which pg_dump writes since the releases of August 2025: skipped. All
    /// other meta-commands are refused.
    pub(super) fn restrict(&mut self) -> Result<(), Flaw> {
        const KEY_BYTES_MAX: usize = 256;
        let refused = || Flaw::refused("psql's meta-commands are not part of the dialect");
        self.window.consume(1);
        if !self.window.starts_with(b"restrict ")? && !self.window.starts_with(b"unrestrict ")? {
            return Err(refused());
        }
        let word = if self.window.peek()? == Some(b'r') { "restrict " } else { "unrestrict " };
        self.window.consume(word.len());
        for _ in 0..=KEY_BYTES_MAX {
            match self.window.peek()? {
                None | Some(b'\n') => return Ok(()),
                Some(b'\r') if self.window.peek_at(1)? == Some(b'\n') => return Ok(()),
                Some(byte) if byte.is_ascii_alphanumeric() => self.window.consume(1),
                Some(_) => return Err(refused()),
            }
        }
        Err(refused())
    }
}

/// The name inside `setval('...')`, which is an identifier path by itself.
fn sequence_name(text: &str) -> Result<TableName, Flaw> {
    let mut window = super::window::Window::new(text.as_bytes());
    let name = window.table_name()?;
    if window.peek()?.is_some() {
        return Err(Flaw::refused("the name of the sequence is not a plain name"));
    }
    Ok(name)
}
