//! The places where a test can make the office die: before and after everything that lasts.

/// Every kill point of the driver, by name (`SYNC_KILL_AT`).
pub(super) const NAMES: &[&str] = &[
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

/// Dies here if the test asks for it.
pub(super) fn reach(name: &'static str) {
    debug_assert!(NAMES.contains(&name), "kill point `{name}` is not listed");
    replica::killpoint::reach(name);
}

#[cfg(test)]
mod tests {
    use super::NAMES;

    #[test]
    fn every_point_can_be_hit() {
        for name in NAMES {
            assert!(replica::killpoint::ALL.contains(name), "{name} is missing in replica::killpoint::ALL");
        }
    }
}
