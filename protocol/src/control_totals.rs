//! Control totals: what the two ends count in a table at the end of a session, held against each other.
//!
//! Tills go on meanwhile, so each end counts twice: all rows, and those that nobody has changed since the ends last agreed.
//! A disagreement is only called one when nothing else explains it; a false alarm would be worse than none.

use serde::{Deserialize, Serialize};

use crate::methods::{ColumnSum, TableDigest};

/// How the totals of a table compare. The history keeps the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Both ends have the same rows and the same money.
    Agrees,
    /// Rows were changed while it was counted, so nothing can be said.
    Changing,
    /// They differ, and rows wait in quarantine that may be why.
    Waiting,
    /// One end keeps rows that the other one has deleted, as the policy says.
    Kept,
    /// They differ, and nothing explains it.
    Differs,
}

/// What may explain a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Deletes of the shop do not reach the office.
    pub office_keeps: bool,
    /// Deletes of the office do not reach the shop.
    pub shop_keeps: bool,
    /// Rows that wait in quarantine, of the table or at the shop.
    pub waiting: i64,
}

/// Rows and sums of one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Rows.
    pub rows: i64,
    /// Sums of the columns that are money.
    pub sums: Vec<ColumnSum>,
}

/// How a table compares, and the figures that say so: the office's, the shop's.
pub fn compare(ours: &TableDigest, theirs: &TableDigest, by: Circumstances) -> (Verdict, Counted, Counted) {
    let (all, settled) = (counted(ours), settled(ours));
    let (their_all, their_settled) = (counted(theirs), self::settled(theirs));
    let pairs = [(&settled, &their_settled), (&all, &their_all), (&all, &their_settled), (&settled, &their_all)];
    if let Some((ours, theirs)) = pairs.into_iter().find(|(ours, theirs)| ours == theirs) {
        return (Verdict::Agrees, ours.clone(), theirs.clone());
    }
    // an end that does not say whether rows were changed may well have changed some
    let is_quiet = |digest: &TableDigest| digest.settled.as_ref().is_some_and(|settled| settled.changed == 0);
    let verdict = if !is_quiet(ours) || !is_quiet(theirs) {
        Verdict::Changing
    } else if by.waiting > 0 {
        Verdict::Waiting
    } else if (by.office_keeps && all.rows > their_all.rows) || (by.shop_keeps && all.rows < their_all.rows) {
        Verdict::Kept
    } else {
        Verdict::Differs
    };
    (verdict, all, their_all)
}

fn counted(digest: &TableDigest) -> Counted {
    Counted { rows: digest.rows, sums: digest.sums.clone() }
}

fn settled(digest: &TableDigest) -> Counted {
    match &digest.settled {
        Some(settled) => Counted { rows: settled.rows, sums: settled.sums.clone() },
        None => counted(digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::Settled;

    fn sum(cents: i64) -> Vec<ColumnSum> {
        vec![ColumnSum { column: "total".into(), sum: format!("{}.{:02}", cents / 100, cents % 100) }]
    }

    /// Rows and money of all, of the settled ones, and how many were changed.
    fn end(all: (i64, i64), settled: (i64, i64), changed: i64) -> TableDigest {
        let settled = Settled { changed, rows: settled.0, sums: sum(settled.1) };
        TableDigest { rows: all.0, sums: sum(all.1), settled: Some(settled), ..TableDigest::default() }
    }

    fn still(rows: i64, cents: i64) -> TableDigest {
        end((rows, cents), (rows, cents), 0)
    }

    fn verdict(ours: &TableDigest, theirs: &TableDigest, by: Circumstances) -> Verdict {
        compare(ours, theirs, by).0
    }

    #[test]
    fn equal_totals_agree_and_others_differ_by_rows_or_by_money() {
        let none = Circumstances::default();
        assert_eq!(verdict(&still(3, 1000), &still(3, 1000), none), Verdict::Agrees);
        assert_eq!(verdict(&still(3, 1000), &still(4, 1000), none), Verdict::Differs);
        assert_eq!(verdict(&still(3, 1000), &still(3, 1001), none), Verdict::Differs);
    }

    #[test]
    fn sales_made_while_it_is_counted_are_no_difference() {
        let none = Circumstances::default();
        let (verdict, ours, theirs) = compare(&still(3, 1000), &end((5, 1700), (3, 1000), 2), none);
        assert_eq!((verdict, ours.rows, theirs.rows), (Verdict::Agrees, 3, 3));
        // a sale that the office has was corrected: nothing can be said
        let corrected = end((3, 1200), (2, 600), 1);
        assert_eq!(super::compare(&still(3, 1000), &corrected, none).0, Verdict::Changing);
        // nor where an older program does not say what was changed
        let silent = TableDigest { settled: None, ..still(4, 1200) };
        assert_eq!(super::compare(&still(3, 1000), &silent, none).0, Verdict::Changing);
        assert_eq!(super::compare(&still(4, 1200), &silent, none).0, Verdict::Agrees);
    }

    #[test]
    fn what_is_explained_is_no_alarm() {
        let keeps = Circumstances { office_keeps: true, ..Circumstances::default() };
        assert_eq!(verdict(&still(5, 1700), &still(3, 1000), keeps), Verdict::Kept);
        assert_eq!(verdict(&still(3, 1000), &still(5, 1700), keeps), Verdict::Differs, "the office lacks two");
        assert_eq!(verdict(&still(3, 1000), &still(3, 1700), keeps), Verdict::Differs);
        let shop = Circumstances { shop_keeps: true, ..Circumstances::default() };
        assert_eq!(verdict(&still(3, 1000), &still(5, 1700), shop), Verdict::Kept);
        let waits = Circumstances { waiting: 1, ..Circumstances::default() };
        assert_eq!(verdict(&still(3, 1000), &still(4, 1200), waits), Verdict::Waiting);
    }
}
