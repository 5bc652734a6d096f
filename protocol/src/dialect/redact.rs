//! The text of a statement for an error message, without the values in it.

/// Characters of the text shown.
const SHOWN_CHARS: usize = 200;

/// The words that a statement may begin with to be shown at all: a line of data taken for a statement is not.
const VERBS: &[&str] = &[
    "abort",
    "alter",
    "analyze",
    "begin",
    "call",
    "checkpoint",
    "close",
    "cluster",
    "comment",
    "commit",
    "copy",
    "create",
    "deallocate",
    "declare",
    "delete",
    "discard",
    "do",
    "drop",
    "end",
    "execute",
    "explain",
    "fetch",
    "grant",
    "import",
    "insert",
    "listen",
    "load",
    "lock",
    "merge",
    "move",
    "notify",
    "prepare",
    "reassign",
    "refresh",
    "reindex",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "security",
    "select",
    "set",
    "show",
    "start",
    "table",
    "truncate",
    "unlisten",
    "update",
    "vacuum",
    "values",
    "with",
];

/// One line of at most 200 characters: every literal and number of the statement as `?`, comments left out.
///
/// `consumed` has been recognised, so that its quotes are what they seem; in `ahead` anything may follow, and the text
/// is cut at the first thing that could hold a value.
pub(super) fn redact(consumed: &[u8], ahead: &[u8]) -> String {
    let consumed = String::from_utf8_lossy(consumed);
    let ahead = String::from_utf8_lossy(ahead);
    let whole = format!("{consumed}{ahead}");
    let verb: String = whole.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    if !VERBS.contains(&verb.to_ascii_lowercase().as_str()) {
        return "?".to_owned();
    }
    let mut shown = String::new();
    let mut place = 0;
    while place < whole.len() && shown.chars().count() < SHOWN_CHARS {
        let rest = &whole[place..];
        let trusted = place < consumed.len();
        let Some(first) = rest.chars().next() else {
            break;
        };
        let taken = match first {
            ';' => {
                shown.push(';');
                return shown;
            }
            _ if rest.starts_with("--") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '\'' => {
                shown.push('?');
                match string_end(rest) {
                    Some(end) if trusted && place + end <= consumed.len() => end,
                    _ => return shown + "...",
                }
            }
            '"' => match rest[1..].find('"') {
                Some(end) => {
                    shown.push_str(&rest[..end + 2]);
                    end + 2
                }
                None => return shown + "...",
            },
            '$' | '\\' | '/' | '&' if !trusted => {
                shown.push('?');
                return shown + "...";
            }
            _ if first.is_whitespace() => {
                if !shown.ends_with(' ') {
                    shown.push(' ');
                }
                first.len_utf8()
            }
            '0'..='9' => {
                shown.push('?');
                let number = |c: char| c.is_ascii_alphanumeric() || c == '.';
                rest.find(|c| !number(c)).unwrap_or(rest.len())
            }
            _ if first.is_alphabetic() || first == '_' => {
                let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
                shown.push_str(&rest[..end]);
                end
            }
            other => {
                shown.push(other);
                other.len_utf8()
            }
        };
        place += taken;
    }
    let mut cut: String = shown.trim_end().chars().take(SHOWN_CHARS).collect();
    if place < whole.len() || shown.chars().count() > SHOWN_CHARS {
        cut.push_str("...");
    }
    cut
}

/// Where the string at the beginning of `text` ends; none when it does not.
fn string_end(text: &str) -> Option<usize> {
    let mut place = 1;
    loop {
        let quote = place + text[place..].find('\'')?;
        if !text[quote + 1..].starts_with('\'') {
            return Some(quote + 1);
        }
        place = quote + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::redact;

    /// I21: no row values in faults and logs.
    #[test]
    fn values_are_never_shown() {
        let shown = redact(b"INSERT INTO t (a) VALUES ('it''s', -12.5, ", b"E'my\\'secret' , 'other secret')");
        assert_eq!(shown, "INSERT INTO t (a) VALUES (?, -?, E?...");
    }

    #[test]
    fn a_line_of_data_taken_for_a_statement_is_not_shown() {
        assert_eq!(redact(b"", b"Maria da Silva\t12"), "?");
    }

    #[test]
    fn a_long_statement_is_cut() {
        let long = format!("INSERT INTO t ({}", "a, ".repeat(200));
        let shown = redact(long.as_bytes(), b"");
        assert!(shown.ends_with("...") && shown.chars().count() <= 203, "{shown}");
    }
}
