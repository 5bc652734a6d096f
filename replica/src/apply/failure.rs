//! What PostgreSQL refused, in words without row values.

use std::sync::Arc;

use protocol::names::TableName;
use tokio_postgres::error::DbError;

use super::target::Shape;
use crate::ReplicaError;
use crate::error::{Failure, classify};

/// Entries kept of a [`LineMap`]; an older line is named by the oldest entry.
const ENTRIES_MAX: usize = 65_536;

/// Which statement a line of a COPY came from.
pub(super) struct LineMap {
    shape: Arc<Shape>,
    rows: usize,
    starts: std::collections::VecDeque<(usize, u64)>,
}

impl LineMap {
    pub(super) fn new(shape: Arc<Shape>) -> Self {
        Self { shape, rows: 0, starts: std::collections::VecDeque::new() }
    }

    pub(super) fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    pub(super) fn extend(&mut self, statements: &[(usize, u64)], rows: usize) {
        for &(index, statement) in statements {
            self.starts.push_back((self.rows + index, statement));
        }
        while self.starts.len() > ENTRIES_MAX {
            self.starts.pop_front();
        }
        self.rows += rows;
    }

    /// `line` counts from 1.
    fn statement(&self, line: usize) -> Option<u64> {
        let after = self.starts.partition_point(|(start, _)| *start < line);
        self.starts.get(after.saturating_sub(1)).map(|(_, statement)| *statement)
    }
}

/// A COPY into a table or its staging table failed.
pub(super) fn of_copy(error: tokio_postgres::Error, shape: &Shape, lines: &LineMap) -> ReplicaError {
    let (line, column) = place(error.as_db_error().and_then(DbError::where_).unwrap_or_default());
    let statement = line.and_then(|line| lines.statement(line));
    let mut failed = of_shape(error, shape, statement);
    if let ReplicaError::Failed(failure) = &mut failed
        && failure.column.is_none()
    {
        failure.column = column;
    }
    failed
}

/// Rows of a shape could not be written.
pub(super) fn of_shape(error: tokio_postgres::Error, shape: &Shape, statement: Option<u64>) -> ReplicaError {
    let mut failed = of_statement(error, &shape.table.name, statement);
    if let ReplicaError::Failed(failure) = &mut failed {
        failure.redacted = Some(shape.redacted());
    }
    failed
}

/// A foreign key, of this name and these columns, does not hold.
pub(super) fn of_key(child: &TableName, name: &str, columns: &[String], parent: &TableName, why: &str) -> ReplicaError {
    ReplicaError::Failed(Box::new(Failure {
        statement: None,
        table: Some(child.clone()),
        column: Some(columns.join(", ")),
        constraint: Some(name.to_owned()),
        state: "23503".into(),
        reason: format!("{why} (table {parent})"),
        redacted: None,
    }))
}

/// The line and the column that the server says it was at: "COPY stage_1, line 3, column price: ...". What follows may hold
/// a value, and what precedes has lines of its own where the value is JSON.
fn place(context: &str) -> (Option<usize>, Option<String>) {
    let Some(copy) = context.lines().find_map(|line| line.strip_prefix("COPY ")) else { return (None, None) };
    let after = |label: &str| copy.split_once(label).map(|(_, rest)| rest);
    let line = after(", line ").and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let column = after(", column ").and_then(|rest| rest.split([':', ',']).next());
    (line, column.map(str::to_owned))
}

/// A statement of the engine on a table failed.
pub(crate) fn of_statement(error: tokio_postgres::Error, table: &TableName, statement: Option<u64>) -> ReplicaError {
    let Some(db) = error.as_db_error() else { return classify("apply rows", error) };
    let state = db.code().clone();
    let class = &state.code()[..2];
    // 22 data exception, 23 constraint violation, 42 missing column or type, 0A and P0 raised by triggers
    if !["22", "23", "42", "0A", "P0", "44"].contains(&class) {
        return classify("apply rows", error);
    }
    ReplicaError::Failed(Box::new(Failure {
        statement,
        table: Some(table.clone()),
        column: db.column().map(str::to_owned),
        constraint: db.constraint().map(str::to_owned),
        state: state.code().to_owned(),
        reason: reason(state.code()).to_owned(),
        redacted: None,
    }))
}

/// Whether a row is at fault, so that the others can do without it.
pub(super) fn is_of_a_row(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| {
        let state = state.code();
        ROW_CLASSES.iter().any(|class| state.starts_with(class)) && state != "22P04"
    })
}

/// Data exceptions, constraint violations, check options, and what triggers raise.
const ROW_CLASSES: &[&str] = &["22", "23", "44", "P0001"];

/// The same as conditions of an exception handler.
pub(super) const ROW_CONDITIONS: &str =
    "data_exception or integrity_constraint_violation or with_check_option_violation or raise_exception";

/// State of a row that the row filter of the policy does not give to the branch.
pub(super) const ROW_FILTER: &str = "row filter";

/// State of an update of a row that is not here.
pub(super) const ROW_MISSING: &str = "row missing";

/// State of a delete whose row is still referred to.
pub(super) const STILL_REFERRED_TO: &str = "23001";

/// Plain words for SQLSTATEs.
pub(super) const REASONS: &[(&str, &str)] = &[
    ("23505", "a row with this key is already there"),
    ("23503", "a row refers to one that is not there"),
    (STILL_REFERRED_TO, "a row to be deleted is still referred to"),
    ("23502", "a value is missing"),
    ("23514", "a value breaks a check"),
    ("23P01", "a row excludes another"),
    ("22001", "a text is too long for its column"),
    ("22003", "a number is out of range for its column"),
    ("22P02", "a value does not fit the type of its column"),
    ("22P03", "a value does not fit the type of its column"),
    ("22007", "a date or time cannot be read"),
    ("22008", "a date or time cannot be read"),
    ("22021", "a text is not valid UTF-8"),
    ("22P04", "a row has too many or too few values"),
    ("44000", "a row is outside the view's condition"),
    ("P0001", "a trigger of the application refused the row"),
    (ROW_MISSING, "columns of a row have changed, and the row is not here: the other end is asked to send it whole"),
    (ROW_FILTER, "by the policy's row filter the row belongs to another branch"),
];

/// Plain words for an SQLSTATE; PostgreSQL's own message may hold values.
pub(super) fn reason(state: &str) -> &'static str {
    match REASONS.iter().find(|(code, _)| *code == state) {
        Some((_, words)) => words,
        None if state.starts_with("22") => "a value does not fit its column",
        None => "the database refused the row",
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn the_line_is_that_of_the_copy_and_not_one_of_the_value() {
        assert_eq!(place("COPY stage_1, line 3, column price: \"x, line 9\""), (Some(3), Some("price".to_owned())));
        assert_eq!(place("COPY product, line 12: \"1\t2\""), (Some(12), None));
        let json = "JSON data, line 1: {\"a\": nul...\nCOPY reading, line 40, column note: \"{\"a\": nul\"";
        assert_eq!(place(json), (Some(40), Some("note".to_owned())));
        assert_eq!(place("PL/pgSQL function check() line 3 at RAISE"), (None, None));
    }
}
