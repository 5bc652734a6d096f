//! Writing the dialect: rows in, a script out that plain psql can run.

use std::io::{self, Error, ErrorKind, Write};

use super::Shape;
use super::literal::{fields, key_literals, push_field, row_literals};
use crate::names::{TableName, quote_identifier};

/// Rows of one INSERT or DELETE statement at most.
const GROUP_ROWS_MAX: usize = 500;

/// Bytes of one INSERT or DELETE statement after which it is ended.
const GROUP_BYTES_MAX: usize = 64 << 10;

/// Writes a script of the dialect.
///
/// Rows come as COPY text lines, as PostgreSQL's COPY TO writes them. Neighbouring rows of the same shape share a
/// statement, and statements appear in the order of the calls. Errors are those of the output, and `InvalidInput` or
/// `InvalidData` for calls that cannot be written; after an error the script is unfinished and must be dropped.
pub struct ScriptWriter<W: Write> {
    out: W,
    group: Option<Group>,
    /// Notes written since the last row of the group: they stand before the next row, in its statement.
    notes: Vec<u8>,
    in_copy: bool,
    rows: u64,
}

/// What the rows of an open statement have in common.
struct Group {
    shape: Shape,
    deletes: bool,
    rows: usize,
    /// The rows, separated by commas, with their notes.
    values: Vec<u8>,
    /// With a deferrable key: the same rows' keys.
    keys: Vec<u8>,
}

impl<W: Write> ScriptWriter<W> {
    /// Starts a script: its preamble and BEGIN.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n")?;
        Ok(Self { out, group: None, notes: Vec::new(), in_copy: false, rows: 0 })
    }

    /// As [`Self::new`], with a comment as the first line: what a client must know that runs the script as it is, for
    /// instance that foreign keys form a cycle which no plain script can load.
    pub fn with_caution(mut out: W, caution: &str) -> io::Result<Self> {
        let line: String = caution.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // The blank keeps it apart from a structured comment.
        writeln!(out, "-- {line}")?;
        Self::new(out)
    }

    /// Begins `COPY table (columns) FROM stdin;`. Until [`Self::copy_block_end`] only rows may follow.
    pub fn copy_block_begin(&mut self, table: &TableName, columns: &[&str]) -> io::Result<()> {
        self.end_group()?;
        self.flush_notes()?;
        let columns = name_list(columns.iter().copied());
        writeln!(self.out, "COPY {} ({columns}) FROM stdin;", table.quoted())?;
        self.in_copy = true;
        Ok(())
    }

    /// Whole COPY text lines, each with its line feed, passed through as they are.
    pub fn copy_block_rows(&mut self, copy_text: &[u8]) -> io::Result<()> {
        if !self.in_copy {
            return Err(invalid("rows outside a COPY block"));
        }
        if copy_text.last().is_some_and(|byte| *byte != b'\n') {
            return Err(invalid("COPY rows that do not end with a line"));
        }
        self.rows += memchr::memchr_iter(b'\n', copy_text).count() as u64;
        self.out.write_all(copy_text)
    }

    /// Ends the COPY block.
    pub fn copy_block_end(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.in_copy) {
            return Err(invalid("the end of a COPY block that was not begun"));
        }
        self.out.write_all(b"\\.\n")
    }

    /// One row to insert, or to update where its key exists: a COPY text line without line feed, with a field for each
    /// column of the shape. A shape needs a key.
    pub fn upsert(&mut self, shape: &Shape, copy_line: &[u8]) -> io::Result<()> {
        let notes = self.join_group(shape, false)?;
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        group.separate(&notes);
        group.values.push(b'(');
        row_literals(shape, copy_line, &mut group.values)?;
        group.values.push(b')');
        if shape.deferrable_key {
            if group.rows > 0 {
                group.keys.extend_from_slice(b", ");
            }
            key_literals(shape, copy_line, false, &mut group.keys)?;
        }
        self.count_row()
    }

    /// One row to update: sets the columns of the given places (in `shape.columns`) to their fields of `copy_line`,
    /// which is a whole row, where the key is that of `copy_line`.
    ///
    /// `was` is a JSON object of old values by column name: null, true, false, or strings with the text form (numbers
    /// too, but those beyond 15 digits lose some: better as strings).
    /// It goes along as the note `was`, and each column of it that is set and whose type can be compared becomes a
    /// guard, `AND column IS NOT DISTINCT FROM old`.
    pub fn update(&mut self, shape: &Shape, set: &[usize], copy_line: &[u8], was: Option<&str>) -> io::Result<()> {
        self.end_group()?;
        if set.is_empty() {
            return Err(invalid("an update that sets nothing"));
        }
        check_key(shape)?;
        let row = fields(shape.columns.len(), copy_line)?;
        let mut text = Vec::new();
        text.extend_from_slice(format!("UPDATE {} SET ", shape.table.quoted()).as_bytes());
        for (place, index) in set.iter().enumerate() {
            let column = shape.columns.get(*index).ok_or_else(|| invalid("an update of a column that is not there"))?;
            if place > 0 {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(quote_identifier(&column.name).as_bytes());
            text.extend_from_slice(b" = ");
            push_field(column.literal, row[*index], &mut text)?;
        }
        let mut glue = " WHERE ";
        for (column, field) in shape.columns.iter().zip(&row).filter(|(column, _)| column.key) {
            text.extend_from_slice(glue.as_bytes());
            text.extend_from_slice(quote_identifier(&column.name).as_bytes());
            text.extend_from_slice(b" = ");
            if *field == b"\\N" {
                return Err(invalid("a key that is null"));
            }
            push_field(column.literal, field, &mut text)?;
            glue = " AND ";
        }
        if let Some(was) = was {
            super::literal::push_guards(shape, set, was, &mut text)?;
            self.write_note("was", was)?;
        }
        text.extend_from_slice(b";\n");
        self.flush_notes()?;
        self.out.write_all(&text)?;
        self.rows += 1;
        Ok(())
    }

    /// One row to delete: the fields of its key as a COPY text line, in the order in which the shape has them.
    pub fn delete(&mut self, shape: &Shape, key_copy_line: &[u8]) -> io::Result<()> {
        let notes = self.join_group(shape, true)?;
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        group.separate(&notes);
        key_literals(shape, key_copy_line, true, &mut group.values)?;
        self.count_row()
    }

    /// A structured comment, `--@ name {json}`, ahead of the row written next. `name` is of letters, digits, `_`, `-`
    /// and `.`; `json` is on one line.
    pub fn note(&mut self, name: &str, json: &str) -> io::Result<()> {
        if self.in_copy {
            return Err(invalid("a note inside a COPY block"));
        }
        self.write_note(name, json)
    }

    /// Ends the script with COMMIT and the watermark line, and returns the output.
    pub fn finish(mut self, watermark: Option<&str>) -> io::Result<W> {
        self.end_group()?;
        self.flush_notes()?;
        self.out.write_all(b"COMMIT;\n")?;
        if let Some(watermark) = watermark {
            if watermark.chars().any(char::is_control) || watermark.trim() != watermark || watermark.is_empty() {
                return Err(invalid("a watermark that is not one word on a line"));
            }
            writeln!(self.out, "-- watermark: {watermark}")?;
        }
        Ok(self.out)
    }

    /// Rows written so far, in whatever form.
    pub fn rows_written(&self) -> u64 {
        self.rows
    }

    /// Makes sure that the open group is of this shape, and returns the notes that belong before its next row.
    fn join_group(&mut self, shape: &Shape, deletes: bool) -> io::Result<Vec<u8>> {
        check_key(shape)?;
        if !self.group.as_ref().is_some_and(|group| group.deletes == deletes && group.shape == *shape) {
            self.end_group()?;
            self.flush_notes()?;
            self.group = Some(Group { shape: shape.clone(), deletes, rows: 0, values: Vec::new(), keys: Vec::new() });
        }
        Ok(std::mem::take(&mut self.notes))
    }

    fn count_row(&mut self) -> io::Result<()> {
        self.rows += 1;
        let full = self.group.as_mut().is_some_and(|group| {
            group.rows += 1;
            group.rows >= GROUP_ROWS_MAX || group.values.len() >= GROUP_BYTES_MAX
        });
        if full { self.end_group() } else { Ok(()) }
    }

    /// Writes the open statement; notes that came after its last row stay for what follows.
    fn end_group(&mut self) -> io::Result<()> {
        if self.in_copy {
            return Err(invalid("a statement inside a COPY block"));
        }
        match self.group.take() {
            Some(group) if group.rows > 0 => group.write(&mut self.out),
            _ => Ok(()),
        }
    }

    fn write_note(&mut self, name: &str, json: &str) -> io::Result<()> {
        let proper = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(proper) {
            return Err(invalid("a note without a proper name"));
        }
        if json.contains(['\n', '\r', '\0']) {
            return Err(invalid("a note of more than one line"));
        }
        writeln!(self.notes, "--@ {name} {}", json.trim())
    }

    fn flush_notes(&mut self) -> io::Result<()> {
        self.out.write_all(&self.notes)?;
        self.notes.clear();
        Ok(())
    }
}

impl Group {
    /// Starts the next row on a line of its own, after the notes that belong to it.
    fn separate(&mut self, notes: &[u8]) {
        if self.rows > 0 {
            self.values.push(b',');
        }
        self.values.push(b'\n');
        self.values.extend_from_slice(notes);
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let table = self.shape.table.quoted();
        let keys: Vec<&str> = self.key_columns().collect();
        let key_list = name_list(keys.iter().copied());
        let key_tuple = if keys.len() == 1 { key_list.clone() } else { format!("({key_list})") };
        if self.deletes {
            write!(out, "DELETE FROM {table} WHERE {key_tuple} IN (")?;
            out.write_all(&self.values)?;
            return out.write_all(b");\n");
        }
        if self.shape.deferrable_key {
            write!(out, "DELETE FROM {table} WHERE {key_tuple} IN (")?;
            out.write_all(&self.keys)?;
            out.write_all(b");\n")?;
        }
        let columns = name_list(self.shape.columns.iter().map(|column| column.name.as_str()));
        let overriding = self.shape.columns.iter().any(|column| column.always_identity);
        let overriding = if overriding { " OVERRIDING SYSTEM VALUE" } else { "" };
        write!(out, "INSERT INTO {table} ({columns}){overriding} VALUES")?;
        out.write_all(&self.values)?;
        if !self.shape.deferrable_key {
            write!(out, "\nON CONFLICT ({key_list}) DO ")?;
            let mut glue = "UPDATE SET ";
            for column in self.shape.columns.iter().filter(|column| !column.key && !column.always_identity) {
                let name = quote_identifier(&column.name);
                write!(out, "{glue}{name} = excluded.{name}")?;
                glue = ", ";
            }
            if glue != ", " {
                out.write_all(b"NOTHING")?;
            }
        }
        out.write_all(b";\n")
    }

    fn key_columns(&self) -> impl Iterator<Item = &str> {
        self.shape.columns.iter().filter(|column| column.key).map(|column| column.name.as_str())
    }
}

fn check_key(shape: &Shape) -> io::Result<()> {
    if shape.columns.iter().any(|column| column.key) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("table {} has no key to write its changes by", shape.table)))
}

fn name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quote_identifier).collect::<Vec<_>>().join(", ")
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the script cannot hold {what}"))
}
