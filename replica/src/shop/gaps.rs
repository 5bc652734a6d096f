//! Gaps in the capture that were noticed and that no office has compared the table since: a file in the state directory.
//! The triggers are put in place again at once, so without it nobody but the log would know.

use std::path::{Path, PathBuf};

use protocol::names::TableName;
use serde::{Deserialize, Serialize};

use crate::ReplicaError;
use crate::state_file;

/// A table of which changes may have been missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureGap {
    /// The table.
    pub table: TableName,
    /// When it was noticed, as ISO 8601.
    pub noticed_at: String,
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Gaps {
    path: PathBuf,
}

impl Gaps {
    /// That of a state directory.
    pub(super) fn of(state_dir: &Path) -> Self {
        Self { path: state_dir.join("gaps.json") }
    }

    /// Those that no office has compared yet. A file that cannot be read holds none: it is a reminder, and nothing rests
    /// on it.
    pub(super) fn open(&self) -> Vec<CaptureGap> {
        let text = std::fs::read(&self.path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Notes gaps, before the triggers are in place again.
    pub(super) fn note(&self, tables: &[TableName]) -> Result<(), ReplicaError> {
        if tables.is_empty() {
            return Ok(());
        }
        let noticed_at = jiff::Timestamp::now().to_string();
        let mut open = self.open();
        open.retain(|gap| !tables.contains(&gap.table));
        open.extend(tables.iter().map(|table| CaptureGap { table: table.clone(), noticed_at: noticed_at.clone() }));
        state_file::replace(&self.path, &open)
    }

    /// An office has compared these since. One that was noticed anew meanwhile stays.
    pub(super) fn settle(&self, settled: &[CaptureGap]) -> Result<(), ReplicaError> {
        let before = self.open();
        let left: Vec<CaptureGap> = before.iter().filter(|gap| !settled.contains(gap)).cloned().collect();
        if left.len() == before.len() { Ok(()) } else { state_file::replace(&self.path, &left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_stays_until_its_table_was_compared_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let gaps = Gaps::of(dir.path());
        let (sale, person) = (TableName::new("public", "sale"), TableName::new("shop", "person"));
        assert!(gaps.open().is_empty());
        gaps.note(&[sale.clone(), person.clone()]).unwrap();
        let first = gaps.open();
        assert_eq!(first.iter().map(|gap| &gap.table).collect::<Vec<_>>(), [&sale, &person]);
        std::thread::sleep(std::time::Duration::from_millis(2));
        gaps.note(std::slice::from_ref(&sale)).unwrap();
        gaps.settle(&first).unwrap();
        let left = gaps.open();
        assert_eq!(
            left.iter().map(|gap| &gap.table).collect::<Vec<_>>(),
            [&sale],
            "noticed anew behind the comparison"
        );
        gaps.settle(&left).unwrap();
        assert!(gaps.open().is_empty());
        std::fs::write(dir.path().join("gaps.json"), "no JSON").unwrap();
        assert!(gaps.open().is_empty());
    }
}
