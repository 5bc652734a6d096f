//! Which transactions a reader of a database sees, as PostgreSQL's `pg_snapshot` says it.

use std::fmt;
use std::str::FromStr;

/// A snapshot, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// The snapshot of these bounds; `in_progress` are the transactions between them that had not ended.
    pub fn new(xmin: u64, xmax: u64, in_progress: Vec<u64>) -> Self {
        Self { xmin, xmax, in_progress }
    }

    /// Transactions below it had ended when the snapshot was taken.
    pub fn xmin(&self) -> u64 {
        self.xmin
    }

    /// First transaction id not yet given out when the snapshot was taken.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// Transactions that were running when the snapshot was taken.
    pub fn in_progress(&self) -> &[u64] {
        &self.in_progress
    }

    /// Whether it sees what that transaction has committed: the rule by which a change belongs to a window or not.
    /// A change log never holds an entry of a transaction that was rolled back.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && !self.in_progress.contains(&xid)
    }
}

/// A text that is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no snapshot")]
pub struct NoSnapshot(String);

impl FromStr for Snapshot {
    type Err = NoSnapshot;

    /// Reads `xmin:xmax:xip,xip`.
    fn from_str(text: &str) -> Result<Self, NoSnapshot> {
        let bad = || NoSnapshot(text.to_owned());
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (xmin, xmax) = (number().ok_or_else(bad)?, number().ok_or_else(bad)?);
        let list = parts.next().ok_or_else(bad)?;
        let in_progress = list
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().map_err(|_| bad()))
            .collect::<Result<_, _>>()?;
        Ok(Self { xmin, xmax, in_progress })
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, xid) in self.in_progress.iter().enumerate() {
            write!(f, "{}{xid}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_postgresql_prints_and_prints_it_again() {
        for text in ["10:20:12,15", "10:10:"] {
            assert_eq!(text.parse::<Snapshot>().unwrap().to_string(), text);
        }
        for text in ["", "10", "10:20", "10:x:", "a:1:", "1:2:x"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn it_sees_what_had_ended_and_nothing_else() {
        let snapshot: Snapshot = "12:20:12,15".parse().unwrap();
        let seen: Vec<u64> = (9..23).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [9, 10, 11, 13, 14, 16, 17, 18, 19]);
    }
}
