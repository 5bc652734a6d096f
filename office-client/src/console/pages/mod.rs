//! The pages, one file each: what they show, and what their forms do.

pub(super) mod add;
pub(super) mod branch;
pub(super) mod branches;
mod charts;
pub(super) mod clone;
pub(super) mod conflicts;
pub(super) mod history;
pub(super) mod login;
pub(super) mod plan;
pub(super) mod quarantine;
pub(super) mod run;
pub(super) mod settings;
pub(super) mod verify;

use std::fmt::Write as _;
use std::sync::Arc;

use replica::ReplicaError;

use super::Console;
use super::assets;
use super::door::Visitor;
use super::users::Role;
use crate::limits::CONSOLE_VALUE_CHARS_MAX;
use crate::units;

/// What every page has around it.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) title: String,
    /// The entry of the menu that is shown as the current one.
    pub(super) here: &'static str,
    /// Whether there is a menu: not before the login.
    pub(super) menu: bool,
    /// Who is logged in.
    pub(super) user: Option<String>,
    /// What every form carries.
    pub(super) token: Arc<str>,
    /// Numbers beside entries of the menu.
    pub(super) conflicts: i64,
    pub(super) quarantined: i64,
    /// What was just done.
    pub(super) said: Option<Said>,
    pub(super) version: &'static str,
}

/// What was just done, and the form that takes it back.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) undo: Option<Undo>,
}

/// A form that takes back what was just done.
#[derive(Debug, Clone)]
pub(super) struct Undo {
    pub(super) action: String,
    pub(super) take: String,
}

impl Frame {
    /// For a page of somebody who has come in.
    pub(super) async fn of(
        console: &Console,
        visitor: &Visitor,
        title: impl Into<String>,
        here: &'static str,
    ) -> Result<Self, ReplicaError> {
        let conflicts = console.office.open_conflicts().await?.values().sum();
        let quarantined = console.office.quarantine_counts().await?.values().sum();
        Ok(Self {
            here,
            menu: true,
            user: visitor.name.clone(),
            token: Arc::clone(&visitor.token),
            conflicts,
            quarantined,
            ..Self::bare(title)
        })
    }

    /// For a page without a menu.
    pub(super) fn bare(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            here: "",
            menu: false,
            user: None,
            token: "".into(),
            conflicts: 0,
            quarantined: 0,
            said: None,
            version: &assets::VERSION,
        }
    }

    /// With words about what was just done.
    pub(super) fn saying(mut self, said: Option<Said>) -> Self {
        self.said = said;
        self
    }
}

/// What a form of a fragment needs to know of who looks.
#[derive(Debug, Clone)]
pub(super) struct Hands {
    may_sync: bool,
    may_decide: bool,
    token: Arc<str>,
}

impl From<&Visitor> for Hands {
    fn from(visitor: &Visitor) -> Self {
        Self {
            may_sync: visitor.role >= Role::Sync,
            may_decide: visitor.role >= Role::Decide,
            token: Arc::clone(&visitor.token),
        }
    }
}

/// A number with its thousands set apart, as in `12 345`.
pub(super) fn number(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if count < 0 {
        text.push('\u{2212}');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // narrow, and never the end of a line
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `12 345 rows`.
pub(super) fn rows(count: i64) -> String {
    format!("{} {}", number(count), if count == 1 { "row" } else { "rows" })
}

/// A span of time as people say it: `2 s`, `3 min`, `1 h 20 min`.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..=9 if seconds < 9.95 => format!("{seconds:.1} s"),
        0..=99 => format!("{whole} s"),
        100..=5999 => format!("{} min", whole.div_ceil(60)),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes as people read them.
pub(super) fn bytes(count: u64) -> String {
    units::bytes(count)
}

/// A value of a row; a long one is cut.
pub(super) fn value(text: &str) -> String {
    if text.chars().count() <= CONSOLE_VALUE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CONSOLE_VALUE_CHARS_MAX).chain("…".chars()).collect()
}

/// A part of an address.
pub(super) fn segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_written_for_people() {
        assert_eq!(number(0), "0");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(rows(1), "1 row");
        assert_eq!(span(2.04), "2.0 s");
        assert_eq!(span(42.0), "42 s");
        assert_eq!(span(150.0), "3 min");
        assert_eq!(span(7260.0), "2 h 1 min");
    }

    #[test]
    fn a_name_cannot_leave_its_part_of_an_address() {
        assert_eq!(segment("Loja-1.ä/b?c#d"), "Loja-1.%C3%A4%2Fb%3Fc%23d");
    }
}
