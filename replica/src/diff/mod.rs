//! Diff: the rows that changed between two snapshots, as a frozen stream of SQL.
//!
//! One REPEATABLE READ transaction gives both the new snapshot and the rows, so the stream is a consistent cut. Its
//! cost grows with the changes, not with the tables: keys out of the change log, sorted, then index look-ups.
//! The database's COPY output is read asynchronously; a thread of its own turns it into SQL and compresses it.

mod extract;
mod lines;
mod plan;
mod script;

pub(crate) use extract::DELETES;
pub use extract::{CopyPlan, Extraction, TableChanges, any_notes, extract_changes, extract_copy, table_changes};
pub(crate) use lines::LineBuffer;
pub(crate) use plan::meant_for;
pub use plan::{Followed, TablePlan, WindowCount, count_local, count_window};
