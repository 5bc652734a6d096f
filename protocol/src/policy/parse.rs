//! From the text of a policy file to a `Policy`; every error has its line.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::PolicyError;
use super::options::{self, OptionValues, WrittenOptions};
use super::pattern::{Entries, Entry, Pattern};
use super::suggest::nearest;
use super::{
    ConflictRule, Deletes, Direction, GROUP_FIRST, GROUP_LAST, Missing, Policy, RowFilter, Triggers, duration,
};

/// A policy longer than this was not written by people.
const POLICY_BYTES_MAX: usize = 1 << 20;
const NAME_CHARS_MAX: usize = 63;

const TOP_KEYS: [&str; 4] = ["name", "missing", "tables", "table"];
const MISSING: [&str; 2] = ["refuse", "ignore"];

type Item<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// Reads a policy. Of several errors the one nearest the top is returned, as people read.
pub(super) fn parse(text: &str) -> Result<Policy, PolicyError> {
    if text.len() > POLICY_BYTES_MAX {
        let reason = format!("a policy of {} bytes is too long; at most {POLICY_BYTES_MAX} are read", text.len());
        return Err(PolicyError::Syntax { line: 1, reason });
    }
    let lines = Lines::new(text);
    let document = DeTable::parse(text).map_err(|error| syntax_error(&error, &lines))?;
    let mut reader = Reader { lines, errors: Vec::new() };
    let policy = reader.policy(document.get_ref());
    reader.errors.sort_by_key(|error| error.line().unwrap_or(usize::MAX));
    match (reader.errors.into_iter().next(), policy) {
        (Some(error), _) => Err(error),
        (None, Some(policy)) => Ok(policy),
        // Whatever yields no policy has left an error.
        (None, None) => Err(PolicyError::Syntax { line: 1, reason: "the policy could not be read".to_owned() }),
    }
}

/// Turns byte offsets into lines.
struct Lines<'a> {
    text: &'a str,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// Line of a byte offset, from 1.
    fn of(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn text_of(&self, line: usize) -> &'a str {
        self.text.lines().nth(line - 1).unwrap_or_default().trim()
    }

    /// The line above `line` that begins with the same key, or is the same head.
    fn first_of_doubled(&self, line: usize) -> Option<usize> {
        let key = |text: &'a str| match text.starts_with('[') {
            true => text,
            false => text.split('=').next().unwrap_or_default().trim_end(),
        };
        let doubled = key(self.text_of(line));
        (1..line).rev().find(|above| key(self.text_of(*above)) == doubled)
    }
}

fn syntax_error(error: &toml::de::Error, lines: &Lines<'_>) -> PolicyError {
    let span = error.span().unwrap_or(0..0);
    let line = lines.of(&span);
    match (error.message().starts_with("duplicate key"), lines.first_of_doubled(line)) {
        (true, Some(first_line)) => {
            let name = lines.text.get(span).unwrap_or_default().trim_matches(['"', '\'']).to_owned();
            PolicyError::Doubled { line, first_line, name }
        }
        _ => PolicyError::Syntax { line, reason: error.message().trim().replace('\n', ", ") },
    }
}

/// Walks the document and collects what is wrong.
struct Reader<'t> {
    lines: Lines<'t>,
    errors: Vec<PolicyError>,
}

impl Reader<'_> {
    fn policy(&mut self, document: &DeTable<'_>) -> Option<Policy> {
        for (key, _) in document {
            if !TOP_KEYS.contains(&key.get_ref().as_ref()) {
                self.unknown_key(key, "a policy", &TOP_KEYS);
            }
        }
        let name = self.name(document);
        let missing = self.missing(document);
        let directions = self.directions(document);
        let options = self.options(document, directions.as_ref());
        Some(Policy { name: name?, source: self.lines.text.to_owned(), missing, directions: directions?, options })
    }

    fn name(&mut self, document: &DeTable<'_>) -> Option<String> {
        let Some(value) = document.get("name") else {
            self.errors.push(PolicyError::MissingKey { key: "name", example: "name = \"shop\"" });
            return None;
        };
        let expected = "a name of letters, digits, `_`, `-` and `.`, such as \"shop\"";
        let name = self.text("name", value, expected)?;
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(sound) {
            self.wrong_value("name", value, expected, None);
            return None;
        }
        Some(name.to_owned())
    }

    fn missing(&mut self, document: &DeTable<'_>) -> Missing {
        let word = document.get("missing").and_then(|value| self.word("missing", value, &MISSING));
        match word {
            Some("ignore") => Missing::Ignore,
            _ => Missing::Refuse,
        }
    }

    fn directions(&mut self, document: &DeTable<'_>) -> Option<Entries<Direction>> {
        let Some(value) = document.get("tables") else {
            let example = "a section [tables] with a line such as product = \"from-source\" for every table";
            self.errors.push(PolicyError::MissingKey { key: "tables", example });
            return None;
        };
        let words = Direction::ALL.map(Direction::as_str);
        let mut entries = Vec::new();
        for item in self.section("tables", value)? {
            let Some((pattern, line)) = self.pattern(item.0, &entries) else { continue };
            let shown = item.0.get_ref().as_ref();
            if item.1.get_ref().is_table() {
                let expected = "a direction; a table of another schema is written \"schema.table\", with the quotes";
                self.wrong_value(shown, item.1, expected, None);
                continue;
            }
            let word = self.word(shown, item.1, &words);
            if let Some(value) = Direction::ALL.into_iter().find(|direction| Some(direction.as_str()) == word) {
                entries.push(Entry { pattern, line, value });
            }
        }
        Some(Entries(entries))
    }

    fn options(&mut self, document: &DeTable<'_>, directions: Option<&Entries<Direction>>) -> Entries<WrittenOptions> {
        let mut entries = Vec::new();
        let section = document.get("table").and_then(|value| self.section("table", value));
        for (key, value) in section.unwrap_or_default() {
            let Some((pattern, line)) = self.pattern(key, &entries) else { continue };
            let Some(options) = self.table_options(key.get_ref(), line, value) else { continue };
            if let Some(directions) = directions {
                self.check_options(&pattern, &options, directions);
            }
            entries.push(Entry { pattern, line, value: options });
        }
        Entries(entries)
    }

    /// Options of one named table can be judged here; those of a pattern when the tables are known.
    fn check_options(&mut self, pattern: &Pattern, options: &WrittenOptions, directions: &Entries<Direction>) {
        let Some(table) = pattern.exact() else { return };
        match directions.find(table) {
            Ok(Some(direction)) => {
                self.errors.extend(options.apply(&table.to_string(), direction.value).err().unwrap_or_default());
            }
            Ok(None) => {
                let named: Vec<String> = directions.named().map(|(table, _)| table.to_string()).collect();
                let suggestion = nearest(&table.to_string(), named.iter().map(String::as_str));
                let name = table.to_string();
                self.errors.push(PolicyError::OptionsWithoutDirection { line: options.line, name, suggestion });
            }
            Err(tie) => self.errors.push(PolicyError::Ambiguous {
                table: table.clone(),
                first: tie.0.pattern.to_string(),
                first_line: tie.0.line,
                second: tie.1.pattern.to_string(),
                second_line: tie.1.line,
            }),
        }
    }

    fn table_options(&mut self, table: &str, line: usize, value: &Spanned<DeValue<'_>>) -> Option<WrittenOptions> {
        let mut values = OptionValues::default();
        let mut lines = BTreeMap::new();
        for (key, value) in self.section(&format!("table.{table}"), value)? {
            let Some(option) = options::NAMES.into_iter().find(|name| *name == key.get_ref().as_ref()) else {
                self.unknown_key(key, &format!("[table.{table}]"), &options::NAMES);
                continue;
            };
            lines.insert(option, self.lines.of(&key.span()));
            self.option(option, value, &mut values);
        }
        Some(WrittenOptions { values, lines, line })
    }

    fn option(&mut self, option: &'static str, value: &Spanned<DeValue<'_>>, into: &mut OptionValues) {
        match option {
            "conflict" => into.conflict = self.one_of(option, value, ConflictRule::ALL, ConflictRule::as_str),
            "deletes" => into.deletes = self.one_of(option, value, Deletes::ALL, Deletes::as_str),
            "triggers" => into.triggers = self.one_of(option, value, Triggers::ALL, Triggers::as_str),
            "delta" => into.delta = self.columns(option, value),
            "money" => into.money = self.columns(option, value),
            "rows" => into.rows = self.row_filter(option, value),
            "history_column" => into.history_column = self.column(option, value),
            "max_age" => into.max_age = self.duration(option, value),
            "history" => into.history = self.duration(option, value),
            "group" => into.group = self.group(option, value),
            _ => unreachable!("the name was found among the options"),
        }
    }

    fn group(&mut self, option: &str, value: &Spanned<DeValue<'_>>) -> Option<u8> {
        let written = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
        let group = written.filter(|group| (GROUP_FIRST..=GROUP_LAST).contains(group));
        if group.is_none() {
            self.wrong_value(option, value, &format!("a whole number from {GROUP_FIRST} to {GROUP_LAST}"), None);
        }
        group
    }

    fn duration(&mut self, option: &str, value: &Spanned<DeValue<'_>>) -> Option<std::time::Duration> {
        let text = self.text(option, value, duration::EXPECTED)?;
        let read = duration::parse(text);
        if read.is_none() {
            self.wrong_value(option, value, duration::EXPECTED, None);
        }
        read
    }

    fn row_filter(&mut self, option: &str, value: &Spanned<DeValue<'_>>) -> Option<RowFilter> {
        let text = self.text(option, value, "an expression such as \"branch_id = :branch\", or \"via parent\"")?;
        RowFilter::parse(text)
            .map_err(|reason| self.wrong_value(option, value, &format!("a row filter: {reason}"), None))
            .ok()
    }

    fn column(&mut self, option: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let expected = "the name of a column";
        let text = self.text(option, value, expected)?;
        if text.is_empty() {
            self.wrong_value(option, value, expected, None);
            return None;
        }
        Some(text.to_owned())
    }

    fn columns(&mut self, option: &str, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_value(option, value, "a list of columns such as [\"credit_used\"]", None);
            return Vec::new();
        };
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for item in items.iter() {
            let line = self.lines.of(&item.span());
            let Some(name) = self.column(option, item) else { continue };
            if let Some(first_line) = lines.insert(name.clone(), line) {
                self.errors.push(PolicyError::Doubled { line, first_line, name });
            }
        }
        lines.into_keys().collect()
    }

    /// The name or pattern of a key; doubled ones are found here when two spellings mean one table.
    fn pattern<T>(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, seen: &[Entry<T>]) -> Option<(Pattern, usize)> {
        let line = self.lines.of(&key.span());
        let name = key.get_ref().to_string();
        let Some(pattern) = Pattern::parse(&name) else {
            self.errors.push(PolicyError::WrongName { line, name });
            return None;
        };
        if let Some(other) = seen.iter().find(|entry| entry.pattern == pattern) {
            let (first_line, line) = (other.line.min(line), other.line.max(line));
            self.errors.push(PolicyError::Doubled { line, first_line, name });
            return None;
        }
        Some((pattern, line))
    }

    fn section<'a, 'i>(&mut self, key: &str, value: &'a Spanned<DeValue<'i>>) -> Option<Vec<Item<'a, 'i>>> {
        match value.get_ref().as_table() {
            Some(table) => Some(table.iter().collect()),
            None => {
                self.wrong_value(key, value, &format!("a section [{key}]"), None);
                None
            }
        }
    }

    fn one_of<T: Copy, const N: usize>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        all: [T; N],
        as_str: fn(T) -> &'static str,
    ) -> Option<T> {
        let word = self.word(key, value, &all.map(as_str))?;
        all.into_iter().find(|one| as_str(*one) == word)
    }

    fn word<'w>(&mut self, key: &str, value: &Spanned<DeValue<'_>>, words: &[&'w str]) -> Option<&'w str> {
        let expected = format!("one of {}", words.join(", "));
        let written = self.text(key, value, &expected)?;
        let known = words.iter().find(|word| **word == written).copied();
        if known.is_none() {
            self.wrong_value(key, value, &expected, nearest(written, words.iter().copied()));
        }
        known
    }

    fn text<'a>(&mut self, key: &str, value: &'a Spanned<DeValue<'_>>, expected: &str) -> Option<&'a str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_value(key, value, expected, None);
        }
        text
    }

    fn wrong_value(&mut self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str, suggestion: Option<String>) {
        let written = match value.get_ref().as_str() {
            Some(text) => text.to_owned(),
            None => format!("({})", value.get_ref().type_str()),
        };
        let line = self.lines.of(&value.span());
        let expected = expected.to_owned();
        self.errors.push(PolicyError::WrongValue { line, key: key.to_owned(), written, expected, suggestion });
    }

    fn unknown_key(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, place: &str, known: &[&str]) {
        let suggestion = nearest(key.get_ref(), known.iter().copied());
        let line = self.lines.of(&key.span());
        let key = key.get_ref().to_string();
        self.errors.push(PolicyError::UnknownKey { line, key, place: place.to_owned(), suggestion });
    }
}
