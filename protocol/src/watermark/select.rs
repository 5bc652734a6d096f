//! What a `since` stands for, what a watermark becomes after its window was read, and what a witness proves: the rules
//! of DESIGN.md section 4 as pure functions. Whoever calls them has looked up what is stored.

use std::time::Duration;

use super::{Since, Watermark};
use crate::snapshot::Snapshot;

/// The incarnation in force, as far as watermarks depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Its number in this database.
    pub number: i32,
    /// The tag that its watermarks carry.
    pub tag: u16,
}

/// What a `since` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Everything since capture began.
    Everything,
    /// The snapshot stored under exactly this time. Where it was named as it was issued, with its tag, it acknowledges.
    Stored {
        /// The watermark that is acknowledged, if any.
        acknowledges: Option<Watermark>,
    },
    /// It was never issued: the newest snapshot stored up to that moment (microseconds since 1970), or everything.
    UpTo {
        /// That moment: the time asked for, less the skew.
        micros: i64,
    },
    /// It was issued by another incarnation: a fault, never an inexact look-up.
    OtherIncarnation,
    /// It carries our tag and is not stored: a fault, never an inexact look-up.
    Unknown,
}

/// What `since` stands for, when `stored` is the incarnation noted with the watermark of exactly that time that was
/// issued to the office which asks.
pub fn meaning(since: Since, stored: Option<i32>, in_force: InForce, skew: Duration) -> Meaning {
    let Some(watermark) = since.watermark() else { return Meaning::Everything };
    let is_own = stored == Some(in_force.number);
    match watermark.tag {
        Some(tag) if tag != in_force.tag => Meaning::OtherIncarnation,
        Some(tag) if is_own => Meaning::Stored { acknowledges: Some(Watermark::new(watermark.micros, Some(tag))) },
        Some(_) => Meaning::Unknown,
        None if is_own => Meaning::Stored { acknowledges: None },
        None => {
            let skew = i64::try_from(skew.as_micros()).unwrap_or(i64::MAX);
            Meaning::UpTo { micros: watermark.micros.saturating_sub(skew) }
        }
    }
}

/// Whether the change log still holds all that a snapshot does not see, when the entries of transactions below
/// `pruned_below` may be gone.
pub fn is_kept(snapshot: &Snapshot, pruned_below: u64) -> bool {
    snapshot.xmin() >= pruned_below
}

/// What becomes of the watermark after the window behind it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The window was empty: the watermark stands for the newer snapshot, the two are equivalent.
    Repoint(Watermark),
    /// A new one is issued, durably, before anybody is told.
    Issue,
}

/// Decides it: only a watermark that was named exactly can be re-pointed.
pub fn renewal(acknowledged: Option<Watermark>, is_empty: bool) -> Renewal {
    match acknowledged {
        Some(watermark) if is_empty => Renewal::Repoint(watermark),
        _ => Renewal::Issue,
    }
}

/// How much a database knows of its own history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// First transaction id not given out.
    pub xmax: u64,
    /// Its newest watermark, microseconds since 1970; 0 if there is none.
    pub issued_micros: i64,
    /// How many contacts with peers, and streams taken from them, it remembers.
    pub contacts: i64,
    /// Ids up to this have been given to branches.
    pub ids_end: i64,
}

impl Knowledge {
    /// Whether a database that knows this much was restored, by what its witness had seen it know.
    pub fn was_restored(&self, witnessed: &Self) -> bool {
        self.issued_micros < witnessed.issued_micros
            || self.xmax < witnessed.xmax
            || self.contacts < witnessed.contacts
            || self.ids_end < witnessed.ids_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: InForce = InForce { number: 3, tag: 123 };
    const SKEW: Duration = Duration::from_secs(300);

    fn since(tag: Option<u16>) -> Since {
        Since::At(Watermark::new(1_000_000_000, tag))
    }

    #[test]
    fn a_watermark_selects_exactly_its_snapshot_or_is_a_fault() {
        let exact = Watermark::new(1_000_000_000, Some(123));
        assert_eq!(meaning(since(Some(123)), Some(3), OWN, SKEW), Meaning::Stored { acknowledges: Some(exact) });
        assert_eq!(meaning(since(Some(123)), None, OWN, SKEW), Meaning::Unknown);
        // restored: the same time stored by an earlier incarnation that happens to share the tag
        assert_eq!(meaning(since(Some(123)), Some(2), OWN, SKEW), Meaning::Unknown);
        assert_eq!(meaning(since(Some(7)), Some(3), OWN, SKEW), Meaning::OtherIncarnation);
        assert_eq!(meaning(since(Some(7)), None, OWN, SKEW), Meaning::OtherIncarnation);
    }

    /// I17: clocks that differ skip nothing.
    #[test]
    fn what_was_never_issued_acknowledges_nothing_and_selects_something_safely_before() {
        assert_eq!(meaning(since(None), Some(3), OWN, SKEW), Meaning::Stored { acknowledges: None });
        assert_eq!(meaning(since(None), Some(2), OWN, SKEW), Meaning::UpTo { micros: 700_000_000 });
        assert_eq!(meaning(since(None), None, OWN, SKEW), Meaning::UpTo { micros: 700_000_000 });
        assert_eq!(meaning(Since::Zero, None, OWN, SKEW), Meaning::Everything);
    }

    #[test]
    fn an_empty_window_moves_the_watermark_and_no_other_one_does() {
        let exact = Watermark::new(5, Some(123));
        assert_eq!(renewal(Some(exact), true), Renewal::Repoint(exact));
        assert_eq!(renewal(Some(exact), false), Renewal::Issue);
        assert_eq!(renewal(None, true), Renewal::Issue);
    }

    #[test]
    fn a_database_that_knows_less_than_its_witness_was_restored() {
        let witnessed = Knowledge { xmax: 10, issued_micros: 10, contacts: 10, ids_end: 10 };
        assert!(!witnessed.was_restored(&witnessed));
        assert!(!Knowledge { xmax: 11, issued_micros: 12, ..witnessed }.was_restored(&witnessed));
        assert!(Knowledge { xmax: 9, issued_micros: 12, ..witnessed }.was_restored(&witnessed));
        assert!(Knowledge { xmax: 11, issued_micros: 9, ..witnessed }.was_restored(&witnessed));
        assert!(Knowledge { contacts: 9, ..witnessed }.was_restored(&witnessed));
        assert!(Knowledge { ids_end: 9, ..witnessed }.was_restored(&witnessed));
    }

    #[test]
    fn what_was_pruned_is_not_kept() {
        let snapshot = Snapshot::new(5, 9, vec![5, 7]);
        assert!(is_kept(&snapshot, 5));
        assert!(!is_kept(&snapshot, 6));
    }
}
