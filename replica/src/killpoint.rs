//! Places where a test can make the process die, as a power cut would.
//!
//! Every durable action has a point before and after it. `SYNC_KILL_AT=name` ends the process the first time the
//! point is reached, `SYNC_KILL_AT=name:3` the third time: at once, without destructors, with exit code 137.
//! `SYNC_KILL_LOG=FILE` appends the name of every point that is reached to a file, so that a test knows which there are.
//! Where neither variable is set, a point costs two loads.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the environment variable.
pub const VARIABLE: &str = "SYNC_KILL_AT";

/// Name of the environment variable with the file that lists the points reached.
pub const LOG_VARIABLE: &str = "SYNC_KILL_LOG";

/// Every point of the product. A test walks through all of them; one that is missing here cannot be hit.
pub const ALL: &[&str] = &[
    // shop-agent: sessions
    "session.open.before",
    "session.open.after",
    "chunk.append.before",
    "chunk.append.written",
    "chunk.append.after",
    "finish.before",
    "finish.applied",
    "finish.ended",
    "session.end.before",
    "session.end.after",
    "session.chunks.dropped",
    // shop-agent: the other methods that change something
    "clean.before",
    "clean.after",
    "setidstart.before",
    "setidstart.after",
    "diff.before",
    "diff.frozen",
    // replica: the shop's database
    "shop.diff.selected",
    "shop.diff.issued",
    "shop.diff.frozen",
    "apply.quarantine.settled",
    "shop.apply.started",
    "shop.apply.before-commit",
    "shop.apply.after-commit",
    // replica: the office's database
    "office.freeze.before-record",
    "office.freeze.recorded",
    "office.pull.before-commit",
    "office.pull.after-commit",
    "office.record.before",
    "office.record.after",
    // shop-agent: answers
    "reply.before",
    "reply.blob.first",
    "reply.blob.last",
    // office-client: adoption
    "office.adopt.begun",
    "office.adopt.baseline",
    "office.adopt.compared",
    "office.adopt.ranged",
    "office.adopt.setidstart",
    "office.adopt.record.before",
    "office.adopt.recorded",
    // office-client: clone, pull and push
    "office.clone.frozen",
    "office.clone.marked",
    "office.clone.ranged",
    "office.clone.clean.before",
    "office.clone.cleaned",
    "office.clone.setidstart",
    "office.clone.record.before",
    "office.clone.recorded",
    "office.pull.opened",
    "office.pull.slice",
    "office.pull.received",
    "office.pull.apply.before",
    "office.pull.applied",
    "office.pull.advanced",
    "office.push.frozen",
    "office.push.prepared",
    "office.push.chunk",
    "office.push.finish.before",
    "office.push.finished",
    "office.push.record.before",
    "office.push.recorded",
    "office.push.dropped",
];

struct Target {
    name: String,
    left: AtomicU64,
}

fn target() -> Option<&'static Target> {
    static TARGET: OnceLock<Option<Target>> = OnceLock::new();
    TARGET.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|text| parse(&text))).as_ref()
}

fn parse(text: &str) -> Option<Target> {
    let (name, left) = match text.rsplit_once(':') {
        Some((name, count)) => (name, count.parse::<u64>().ok()?.max(1)),
        None => (text, 1),
    };
    (!name.is_empty()).then(|| Target { name: name.to_owned(), left: AtomicU64::new(left) })
}

/// Writes down that a point was reached, if the environment asks for it.
fn log(name: &str) {
    static LOG: OnceLock<Option<File>> = OnceLock::new();
    let open = || File::options().append(true).create(true).open(std::env::var_os(LOG_VARIABLE)?).ok();
    if let Some(mut file) = LOG.get_or_init(open).as_ref() {
        // a line is one write, so that two processes may share the file; a test misses what cannot be written
        let _ = file.write_all(format!("{name}\n").as_bytes());
    }
}

/// Ends the process here if the environment asks for it.
pub fn reach(name: &str) {
    debug_assert!(ALL.contains(&name), "kill point {name} is not listed");
    log(name);
    let Some(target) = target() else { return };
    if target.name == name && target.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        // SAFETY: _exit takes a plain number and never returns; that nothing is flushed or dropped is the point.
        unsafe { libc::_exit(137) }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, parse};

    #[test]
    fn a_name_may_carry_a_count() {
        let one = parse("chunk.append.before").map(|t| (t.name, t.left.into_inner()));
        assert_eq!(one, Some(("chunk.append.before".to_owned(), 1)));
        let third = parse("chunk.append.before:3").map(|t| (t.name, t.left.into_inner()));
        assert_eq!(third, Some(("chunk.append.before".to_owned(), 3)));
        assert!(parse("chunk:x").is_none());
    }

    #[test]
    fn names_are_listed_once() {
        let mut names = ALL.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
