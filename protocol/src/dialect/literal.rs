//! COPY text fields as SQL literals.

use std::io::{self, Error, ErrorKind};

use super::reader::is_plain_number;
use super::{LiteralKind, Shape, ShapeColumn};

/// Splits a COPY text line into its fields, of which there must be `count`.
pub(super) fn fields(count: usize, copy_line: &[u8]) -> io::Result<Vec<&[u8]>> {
    let fields: Vec<&[u8]> = copy_line.split(|byte| *byte == b'\t').collect();
    if fields.len() != count {
        return Err(damaged(format!("a row has {} fields where {count} are expected", fields.len())));
    }
    Ok(fields)
}

/// Appends a row's literals, separated by commas.
pub(super) fn row_literals(shape: &Shape, copy_line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    push_fields(shape.columns.iter(), shape.columns.len(), copy_line.split(|byte| *byte == b'\t'), out)
}

/// Appends the key's literals, in brackets when there are several. `line` holds the key only, or the whole row.
pub(super) fn key_literals(shape: &Shape, line: &[u8], key_only: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let keys = || shape.columns.iter().filter(|column| column.key);
    let count = keys().count();
    let values: Vec<&[u8]> = if key_only {
        fields(count, line)?
    } else {
        let row = fields(shape.columns.len(), line)?;
        shape.columns.iter().zip(row).filter(|(column, _)| column.key).map(|(_, field)| field).collect()
    };
    if values.contains(&b"\\N".as_slice()) {
        return Err(damaged(format!("a key of table {} is null", shape.table)));
    }
    if count == 1 {
        return push_fields(keys(), count, values.into_iter(), out);
    }
    out.push(b'(');
    push_fields(keys(), count, values.into_iter(), out)?;
    out.push(b')');
    Ok(())
}

fn push_fields<'a>(
    columns: impl Iterator<Item = &'a ShapeColumn>,
    count: usize,
    mut values: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    for (place, column) in columns.enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        let field = values.next().ok_or_else(|| damaged(format!("a row has fewer fields than {count}")))?;
        push_field(column.literal, field, out)?;
    }
    if values.next().is_some() {
        return Err(damaged(format!("a row has more fields than {count}")));
    }
    Ok(())
}

/// Appends one COPY text field as a literal.
pub(super) fn push_field(kind: LiteralKind, field: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    if field == b"\\N" {
        out.extend_from_slice(b"NULL");
        return Ok(());
    }
    match kind {
        LiteralKind::Number if is_plain_number(field) => out.extend_from_slice(field),
        LiteralKind::Bool if field == b"t" => out.extend_from_slice(b"true"),
        LiteralKind::Bool if field == b"f" => out.extend_from_slice(b"false"),
        LiteralKind::Bits if field.iter().all(|byte| matches!(byte, b'0' | b'1')) => {
            out.extend_from_slice(b"B'");
            out.extend_from_slice(field);
            out.push(b'\'');
        }
        _ => {
            out.push(b'\'');
            unescape(field, out)?;
            out.push(b'\'');
        }
    }
    Ok(())
}

/// One COPY text field as a literal that fits a column of any type: `NULL`, or a string in quotes.
///
/// # Errors
/// When the field holds an escape that COPY never writes, or is not UTF-8.
pub fn literal_of_field(field: &[u8]) -> io::Result<String> {
    let mut literal = Vec::with_capacity(field.len() + 2);
    push_field(LiteralKind::Text, field, &mut literal)?;
    String::from_utf8(literal).map_err(|_| damaged("a field is not UTF-8".to_owned()))
}

/// The byte that COPY TO writes as a backslash and this character; none for what it never writes (octal and hexadecimal
/// escapes exist on input alone, as PostgreSQL's reference of COPY has it).
pub fn escaped_byte(character: u8) -> Option<u8> {
    Some(match character {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' => b'\\',
        _ => return None,
    })
}

/// Appends the text of a COPY field, its escapes resolved and its quotes doubled.
fn unescape(mut field: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    while let Some(place) = memchr::memchr2(b'\\', b'\'', field) {
        out.extend_from_slice(&field[..place]);
        if field[place] == b'\'' {
            out.extend_from_slice(b"''");
            field = &field[place + 1..];
            continue;
        }
        let byte = field.get(place + 1).copied().and_then(escaped_byte);
        out.push(byte.ok_or_else(|| damaged("a row holds an escape that COPY TO never writes".to_owned()))?);
        field = &field[place + 2..];
    }
    out.extend_from_slice(field);
    Ok(())
}

/// Appends ` AND column IS NOT DISTINCT FROM old` for each column of `was` that is set and can be compared.
pub(super) fn push_guards(shape: &Shape, set: &[usize], was: &str, out: &mut Vec<u8>) -> io::Result<()> {
    use serde_json::Value;
    let old: serde_json::Map<String, Value> =
        serde_json::from_str(was).map_err(|error| damaged(format!("old values are not a JSON object: {error}")))?;
    for column in set.iter().filter_map(|index| shape.columns.get(*index)) {
        if column.literal == LiteralKind::Opaque {
            continue;
        }
        let mut literal = Vec::new();
        match old.get(&column.name) {
            Some(Value::Null) => literal.extend_from_slice(b"NULL"),
            Some(Value::Bool(value)) => push_text(column.literal, if *value { "t" } else { "f" }, &mut literal)?,
            Some(Value::Number(number)) => push_text(column.literal, &number.to_string(), &mut literal)?,
            Some(Value::String(text)) => push_text(column.literal, text, &mut literal)?,
            Some(Value::Array(_) | Value::Object(_)) | None => continue,
        }
        out.extend_from_slice(b" AND ");
        out.extend_from_slice(crate::names::quote_identifier(&column.name).as_bytes());
        out.extend_from_slice(b" IS NOT DISTINCT FROM ");
        out.extend_from_slice(&literal);
    }
    Ok(())
}

/// Appends a value given as its text form.
fn push_text(kind: LiteralKind, text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    if text.contains('\0') {
        return Err(damaged("an old value holds a zero byte".to_owned()));
    }
    match kind {
        LiteralKind::Text | LiteralKind::Opaque => {}
        _ if !text.contains('\\') => return push_field(kind, text.as_bytes(), out),
        _ => {}
    }
    out.push(b'\'');
    out.extend_from_slice(text.replace('\'', "''").as_bytes());
    out.push(b'\'');
    Ok(())
}

fn damaged(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
