//! Exactly once: what the record of what was applied says about something that arrives, maybe again.
//!
//! The effect and its record are committed together, so the record is the truth; it is read under a lock in the
//! transaction that would apply.

/// What is to be done with what has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is applied, together with its record.
    Apply,
    /// It was applied before: nothing is done, and the answer is the same.
    Repeated,
    /// It ended without being applied, and never will be.
    Over,
}

/// How a session stands in the shop's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It takes chunks, or its apply has not been committed.
    Open,
    /// It was applied.
    Applied,
    /// It was refused, dropped, or was idle too long.
    Ended,
}

/// `sql_finish` at a shop.
pub fn finish(recorded: Recorded) -> Verdict {
    match recorded {
        Recorded::Open => Verdict::Apply,
        Recorded::Applied => Verdict::Repeated,
        Recorded::Ended => Verdict::Over,
    }
}

/// A diff at the office: `stored` is the watermark of the branch, `arriving` that of the diff. An answer without one is
/// applied: it carries absolute values, and its own watermark is not known before it is read.
pub fn pull(stored: Option<&str>, arriving: Option<&str>) -> Verdict {
    if arriving.is_some() && stored == arriving { Verdict::Repeated } else { Verdict::Apply }
}

/// Whether a stream that an earlier run recorded is sent on: it is of the kind that is wanted now, and its file is whole.
/// The record was committed before the first byte was sent, so the shop may have applied it already; its key tells.
pub fn is_resumed(recorded_kind: &str, wanted_kind: &str, is_whole: bool) -> bool {
    recorded_kind == wanted_kind && is_whole
}

/// Whether the office's own watermark of a branch still counts: only in the incarnation in which it was taken.
pub fn counts(taken_in: i32, in_force: i32) -> bool {
    taken_in == in_force
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_applied_once() {
        assert_eq!(finish(Recorded::Open), Verdict::Apply);
        assert_eq!(finish(Recorded::Applied), Verdict::Repeated);
        assert_eq!(finish(Recorded::Ended), Verdict::Over);
    }

    /// I2: each change is applied exactly once.
    #[test]
    fn a_diff_whose_watermark_is_stored_was_applied() {
        assert_eq!(pull(Some("a"), Some("a")), Verdict::Repeated);
        assert_eq!(pull(Some("a"), Some("b")), Verdict::Apply);
        assert_eq!(pull(None, None), Verdict::Apply);
        assert_eq!(pull(Some("a"), None), Verdict::Apply);
    }

    #[test]
    fn only_what_is_whole_and_wanted_is_sent_on() {
        assert!(is_resumed("push", "push", true));
        assert!(!is_resumed("push", "clone", true));
        assert!(!is_resumed("push", "push", false));
    }
}
