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

/// `clean` at a shop. `named` is where the changes of the shop began when the caller asked (`sync.hello` tells it), if it
/// says so; `begins` is where they begin now: every clean begins them anew. So a call that arrives twice, or late and
/// behind others, does not empty a shop that has been filled again since.
///
/// [`Verdict::Over`] is for a call that was made before the shop was last cleaned and cloned.
pub fn clean(named: Option<&str>, begins: Option<&str>, awaits_clone: bool) -> Verdict {
    match named {
        Some(named) if named != begins.unwrap_or_default() => {
            if awaits_clone {
                Verdict::Repeated
            } else {
                Verdict::Over
            }
        }
        _ => Verdict::Apply,
    }
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
    fn a_late_clean_does_not_empty_a_shop_that_has_been_filled_since() {
        assert_eq!(clean(None, Some("8:8:"), false), Verdict::Apply, "a caller of the base methods says nothing");
        assert_eq!(clean(Some("8:8:"), Some("8:8:"), false), Verdict::Apply);
        assert_eq!(clean(Some(""), None, false), Verdict::Apply, "an empty database");
        assert_eq!(clean(Some("8:8:"), Some("9:9:"), true), Verdict::Repeated);
        assert_eq!(clean(Some("8:8:"), Some("9:9:"), false), Verdict::Over);
    }

    #[test]
    fn only_what_is_whole_and_wanted_is_sent_on() {
        assert!(is_resumed("push", "push", true));
        assert!(!is_resumed("push", "clone", true));
        assert!(!is_resumed("push", "push", false));
    }
}
