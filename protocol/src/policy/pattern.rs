//! Names and patterns of tables as a policy writes them, and which of them a table falls under.

use std::fmt;

use crate::names::{DEFAULT_SCHEMA, TableName};

/// The one table that `text` names; `public` is understood where no schema is written.
pub(super) fn table_name(text: &str) -> TableName {
    match text.split_once('.') {
        Some((schema, name)) => TableName::new(schema, name),
        None => TableName::public(text),
    }
}

/// A table name in which `*` stands for any characters, also none. It never reaches across the dot after a schema, and
/// without a schema it matches tables of `public` alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern(TableName);

impl Pattern {
    /// `None` when the text cannot be the name of a table.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name = table_name(text);
        let sound = |part: &str| !part.is_empty() && part.trim() == part && !part.contains(char::is_control);
        (sound(&name.schema) && sound(&name.name)).then_some(Self(name))
    }

    /// The table, when the pattern has no `*`.
    pub(super) fn exact(&self) -> Option<&TableName> {
        (!self.0.schema.contains('*') && !self.0.name.contains('*')).then_some(&self.0)
    }

    pub(super) fn matches(&self, table: &TableName) -> bool {
        glob(self.0.schema.as_bytes(), table.schema.as_bytes()) && glob(self.0.name.as_bytes(), table.name.as_bytes())
    }

    /// How much of a name the pattern spells out; what spells out most wins.
    fn weight(&self) -> usize {
        let letters = |part: &str| part.bytes().filter(|byte| *byte != b'*').count();
        letters(&self.0.schema) + letters(&self.0.name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A dot in the name of a public table would read as a schema.
        match self.0.name.contains('.') && self.0.schema == DEFAULT_SCHEMA {
            true => write!(f, "{}.{}", self.0.schema, self.0.name),
            false => self.0.fmt(f),
        }
    }
}

/// Whether `text` matches `pattern`, in time proportional to the product of their lengths at worst.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, star_read)) => {
                    star = Some((star_at, star_read + 1));
                    at = star_at + 1;
                    read = star_read + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// What the policy says under one name or pattern.
#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    pub(super) pattern: Pattern,
    /// Line of the file, from 1.
    pub(super) line: usize,
    pub(super) value: T,
}

/// Two patterns that match a table equally well and say different things.
pub(super) struct Tie<'a, T>(pub(super) &'a Entry<T>, pub(super) &'a Entry<T>);

/// What the policy says, by name and pattern. No pattern is in it twice.
#[derive(Debug, Clone)]
pub(super) struct Entries<T>(pub(super) Vec<Entry<T>>);

impl<T: PartialEq> Entries<T> {
    /// What is said of a table: under its own name, or under the longest pattern that matches.
    pub(super) fn find(&self, table: &TableName) -> Result<Option<&Entry<T>>, Tie<'_, T>> {
        if let Some(named) = self.0.iter().find(|entry| entry.pattern.exact() == Some(table)) {
            return Ok(Some(named));
        }
        let mut matching: Vec<&Entry<T>> =
            self.0.iter().filter(|entry| entry.pattern.exact().is_none() && entry.pattern.matches(table)).collect();
        matching.sort_by_key(|entry| (std::cmp::Reverse(entry.pattern.weight()), entry.line));
        match matching.as_slice() {
            [] => Ok(None),
            [first, second, ..] if ties(first, second) => Err(Tie(first, second)),
            [first, ..] => Ok(Some(first)),
        }
    }

    /// The names without `*`, each with its entry.
    pub(super) fn named(&self) -> impl Iterator<Item = (&TableName, &Entry<T>)> {
        self.0.iter().filter_map(|entry| entry.pattern.exact().map(|table| (table, entry)))
    }
}

fn ties<T: PartialEq>(first: &Entry<T>, second: &Entry<T>) -> bool {
    first.pattern.weight() == second.pattern.weight() && first.value != second.value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(texts: &[(&str, u8)]) -> Entries<u8> {
        let entry = |(line, (text, value)): (usize, &(&str, u8))| Entry {
            pattern: Pattern::parse(text).unwrap(),
            line,
            value: *value,
        };
        Entries(texts.iter().enumerate().map(entry).collect())
    }

    fn found(entries: &Entries<u8>, table: &str) -> Option<u8> {
        entries.find(&table_name(table)).unwrap_or_else(|_| panic!("{table} is ambiguous")).map(|entry| entry.value)
    }

    #[test]
    fn the_name_beats_patterns_and_the_longest_pattern_beats_the_rest() {
        let said = entries(&[("*", 1), ("sale_*", 2), ("sale_item*", 3), ("sale_item", 4), ("stock.*", 5)]);
        for (table, value) in [
            ("person", Some(1)),
            ("sale", Some(1)),
            ("sale_log", Some(2)),
            ("sale_item_note", Some(3)),
            ("sale_item", Some(4)),
            ("stock.level", Some(5)),
            ("other.level", None),
        ] {
            assert_eq!(found(&said, table), value, "{table}");
        }
    }

    #[test]
    fn two_patterns_alike_are_ambiguous_only_when_they_differ() {
        assert!(entries(&[("ab*", 1), ("*bc", 2)]).find(&table_name("abc")).is_err());
        assert_eq!(found(&entries(&[("ab*", 1), ("*bc", 1)]), "abc"), Some(1));
    }

    #[test]
    fn names_that_no_table_can_have_are_refused() {
        for text in ["", ".", "a.", ".b", " a", "a\n"] {
            assert_eq!(Pattern::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn public_is_the_same_schema_written_or_not() {
        assert_eq!(Pattern::parse("public.sale"), Pattern::parse("sale"));
        let dotted = Pattern::parse("public.a.b").unwrap();
        assert_eq!(Pattern::parse(&dotted.to_string()), Some(dotted));
    }

    proptest! {
        #[test]
        fn a_star_matches_what_a_plain_search_finds(parts in prop::collection::vec("[ab]{0,2}", 1..4), text in "[ab]{0,8}") {
            let pattern = parts.join("*");
            let mut reachable = vec![0usize];
            for (index, part) in parts.iter().enumerate() {
                let starts: Vec<usize> = match index {
                    0 => vec![0],
                    _ => (reachable.iter().copied().min().unwrap_or(text.len() + 1)..=text.len()).collect(),
                };
                reachable = starts.into_iter().filter(|at| text[*at..].starts_with(part.as_str())).map(|at| at + part.len()).collect();
            }
            prop_assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), reachable.contains(&text.len()));
        }
    }
}
