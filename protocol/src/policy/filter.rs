//! Row filters: the little that is known of their SQL without a database.

use super::RowFilter;
use super::pattern::{Pattern, table_name};
use crate::names::TableName;

/// The placeholder of the branch's id.
const BRANCH: &str = "branch";

impl RowFilter {
    /// Reads `via parent`, or an expression. The error says what cannot be.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.split_once(char::is_whitespace) {
            Some((via, parent)) if via.eq_ignore_ascii_case("via") => via_parent(parent.trim()),
            _ => {
                pieces(text)?;
                Ok(Self::Expression(text.to_owned()))
            }
        }
    }

    /// The table of `via`, when that is what was written.
    pub fn parent(&self) -> Option<TableName> {
        match self {
            Self::Via(parent) => Some(table_name(parent)),
            Self::Expression(_) => None,
        }
    }

    /// The expression with `branch` (a literal or a parameter such as `$1`) in place of every `:branch`, in
    /// parentheses; `None` for `via`. Nothing inside a string, a quoted name or a cast is touched.
    pub fn expression(&self, branch: &str) -> Option<String> {
        let Self::Expression(text) = self else { return None };
        let pieces = pieces(text).ok()?;
        let sql: String = pieces.iter().map(|piece| piece.as_sql(branch)).collect();
        Some(format!("({sql})"))
    }
}

fn via_parent(parent: &str) -> Result<RowFilter, String> {
    match Pattern::parse(parent).and_then(|pattern| pattern.exact().map(ToString::to_string)) {
        Some(parent) if !parent.contains(char::is_whitespace) => Ok(RowFilter::Via(parent)),
        _ => Err(format!("`{parent}` is no name of a table; write \"via table\"")),
    }
}

/// A stretch of an expression.
enum Piece<'a> {
    Sql(&'a str),
    Branch,
}

impl Piece<'_> {
    fn as_sql<'a>(&'a self, branch: &'a str) -> &'a str {
        match self {
            Self::Sql(sql) => sql,
            Self::Branch => branch,
        }
    }
}

/// Splits an expression at its `:branch`, and refuses what could reach out of the place it is put in.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut start, mut at, mut depth) = (0, 0, 0_usize);
    if text.is_empty() {
        return Err("the expression is empty; leave the option out to send every row".to_owned());
    }
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied();
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                let length = bytes[at + 1..].iter().position(|byte| *byte == quote);
                at += 2 + length.ok_or("a quote is not closed")?;
                continue;
            }
            b';' | b'$' | b'\\' | 0 => return Err(format!("`{}` cannot stand in a row filter", char::from(bytes[at]))),
            b'-' if next == Some(b'-') => return Err("a comment cannot stand in a row filter".to_owned()),
            b'/' if next == Some(b'*') => return Err("a comment cannot stand in a row filter".to_owned()),
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1).ok_or("a parenthesis is closed that was not opened")?,
            b':' if next == Some(b':') => at += 1,
            b':' => {
                let word = word_at(&text[at + 1..]);
                if word != BRANCH {
                    return Err(format!("`:{word}` is unknown; the branch's id is `:branch`"));
                }
                found.push(Piece::Sql(&text[start..at]));
                found.push(Piece::Branch);
                start = at + 1 + BRANCH.len();
                at = start;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if depth > 0 {
        return Err("a parenthesis is not closed".to_owned());
    }
    found.push(Piece::Sql(&text[start..]));
    Ok(found)
}

fn word_at(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_placeholder_is_replaced() {
        for (text, sql) in [
            ("branch_id = :branch", "(branch_id = $1)"),
            ("branch_id IS NULL OR branch_id = :branch", "(branch_id IS NULL OR branch_id = $1)"),
            ("note = ':branch' AND b = :branch::bigint", "(note = ':branch' AND b = $1::bigint)"),
            ("\":branch\" = 'it''s' AND x = :branch", "(\":branch\" = 'it''s' AND x = $1)"),
        ] {
            assert_eq!(RowFilter::parse(text).unwrap().expression("$1").as_deref(), Some(sql));
        }
    }

    #[test]
    fn what_reaches_out_of_its_place_is_refused() {
        for text in [
            "",
            "a; DROP TABLE sale",
            "a -- b",
            "a /* b",
            "a) OR (b",
            "(a",
            "'a",
            "a = $1",
            "b = :brnach",
            "E'\\'' = a\\",
        ] {
            assert!(RowFilter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn via_names_one_table() {
        assert_eq!(RowFilter::parse("via  promotion"), Ok(RowFilter::Via("promotion".to_owned())));
        assert!(RowFilter::parse("via promo*").is_err());
        assert!(RowFilter::parse("via a b").is_err());
    }
}
