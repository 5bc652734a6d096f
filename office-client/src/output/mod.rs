//! The only module that prints: data to stdout, talk to stderr.

mod carried;
mod conflicts;
mod human;
mod json;
mod progress;
mod quarantine;
pub(crate) mod totals;

pub(crate) use carried::{export_line, export_object, import_line, import_object};
pub(crate) use conflicts::{
    conflict_cells, conflict_lines, conflict_object, resolved_line, resolved_object, standing_object, value_lines,
};
pub(crate) use human::{
    adoption_line, branch_line, clashes_words, comparison_lines, moves_words, plan_lines, policy_lines, repaired_line,
    report_line, status_cells, sum_words,
};
pub(crate) use json::{
    adoption_object, branch_object, comparison_objects, error_object, history_object, plan_object, repaired_object,
    report_object, status_object,
};
pub(crate) use progress::{Board, Direction, Progress, Watch};
pub(crate) use quarantine::{quarantine_cells, quarantine_lines, quarantine_object, quarantine_reason, retried_object};

use std::io::Write as _;

use installation::said;

use crate::error::CommandError;

/// Prints. Cloning it is cheap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
    quiet: u8,
}

/// A line per branch, as `status` and `history` need it.
pub(crate) struct Table {
    inner: comfy_table::Table,
}

impl Table {
    /// A table with those headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        // at a terminal, cells are broken so that a line fits; elsewhere a line is a line
        inner.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        inner.set_header(headings.iter().map(|heading| heading.to_uppercase()));
        Self { inner }
    }

    /// Whether it has no line.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.row_count() == 0
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, cells: Vec<String>) {
        self.inner.add_row(cells.iter().map(|cell| clean(cell)));
    }
}

impl Printer {
    /// Prints JSON or text; `quiet` leaves out everything but errors.
    pub(crate) fn new(json: bool, quiet: u8) -> Self {
        Self { json, quiet }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only errors are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet > 0
    }

    /// Prints a line of text that was asked for; nothing with `--json` or `--quiet`.
    pub(crate) fn line(&self, text: &str) {
        if !self.json && !self.is_quiet() {
            self.write(&clean(text));
        }
    }

    /// Prints text as it is: sources, completions, manual pages.
    pub(crate) fn raw(&self, text: &str) {
        said::data(text);
    }

    /// Prints a table; nothing with `--json`.
    pub(crate) fn table(&self, table: &Table) {
        if !self.json {
            for line in table.inner.to_string().lines() {
                self.write(line.trim_end());
            }
        }
    }

    /// Prints one JSON object on a line of its own; nothing without `--json`.
    pub(crate) fn object(&self, object: &serde_json::Value) {
        if self.json {
            self.write(&object.to_string());
        }
    }

    /// Says something to the person at the terminal.
    pub(crate) fn talk(&self, text: &str) {
        if !self.is_quiet() {
            said::talk(clean(text));
        }
    }

    /// Says why the command failed, and what to do.
    pub(crate) fn error(&self, error: &CommandError) {
        self.error_text(&error.chain(), error.hint().as_deref());
    }

    /// Says that something failed, and what to do.
    pub(crate) fn error_text(&self, text: &str, hint: Option<&str>) {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{} {}", paint("error:"), clean(text));
        if let Some(hint) = hint {
            let _ = writeln!(stderr, "\nhint: {}", clean(hint));
        }
    }

    fn write(&self, line: &str) {
        said::line(line);
    }
}

/// Whether stderr is a terminal that shows colours, and nobody has asked for none.
pub(crate) fn is_colourful() -> bool {
    use std::io::IsTerminal as _;
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && std::io::stderr().is_terminal()
}

fn paint(text: &str) -> String {
    if is_colourful() { format!("\u{1b}[1;31m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Takes out what could steer a terminal: names and messages come from other machines.
fn clean(text: &str) -> String {
    let bad = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn what_comes_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\u{202e}c\td"), "a\u{fffd}[31mb\u{fffd}c\td");
    }
}
