//! Processor time and memory of programs, as the kernel counts them.

use std::collections::HashMap;
use std::time::Duration;

/// What the kernel counts in (USER_HZ, which is 100 wherever Linux runs).
const TICK: Duration = Duration::from_millis(10);

/// What a program and its children have used: fields of `/proc/PID/stat`.
struct Stat {
    parent: i32,
    own: u32,
    /// Of children that have ended and were waited for.
    ended: u32,
}

fn stat(text: &str) -> Option<Stat> {
    // the name of a program may hold anything
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, own: ticks(11)? + ticks(12)?, ended: ticks(13)? + ticks(14)? })
}

/// Processor time of a program, of those it has started, and of those that have ended.
pub(crate) fn of_tree(root: i32) -> Duration {
    let mut last = read_tree(root);
    // one that ends while it is looked at may be missing, until it is counted with its parent; a server that tidies up
    // behind its clients is not waited for
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        let now = read_tree(root);
        if now == last {
            break;
        }
        last = now;
    }
    last
}

fn read_tree(root: i32) -> Duration {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let text = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        all.extend(stat(&text).map(|stat| (pid, stat)));
    }
    let ticks = all.iter().filter(|(pid, _)| is_below(&all, **pid, root)).map(|(_, stat)| stat.own + stat.ended);
    TICK * ticks.sum::<u32>()
}

fn is_below(all: &HashMap<i32, Stat>, mut pid: i32, root: i32) -> bool {
    while pid != root {
        match all.get(&pid) {
            Some(stat) if stat.parent > 0 => pid = stat.parent,
            _ => return false,
        }
    }
    true
}

/// Processor time of programs that this one has started and seen end.
pub(crate) fn of_ended_children() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    TICK * stat(&text).map_or(0, |stat| stat.ended)
}

/// Most memory that a program has had, in bytes.
pub(crate) fn peak_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_understood_whatever_the_program_is_called() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        let stat = stat(line).unwrap();
        assert_eq!((stat.parent, stat.own, stat.ended), (7, 120, 7));
    }

    #[test]
    fn children_that_ended_are_counted_with_their_parent() {
        let before = of_ended_children();
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        assert!(std::process::Command::new("sh").args(["-c", spin]).status().unwrap().success());
        assert!(of_ended_children() > before);
        assert!(read_tree(std::process::id().cast_signed()) >= of_ended_children());
    }

    #[test]
    fn only_descendants_are_of_a_tree() {
        let stat = |parent| Stat { parent, own: 1, ended: 0 };
        let all = HashMap::from([(2, stat(1)), (3, stat(2)), (4, stat(1))]);
        assert!(is_below(&all, 3, 2) && is_below(&all, 2, 2));
        assert!(!is_below(&all, 4, 2));
    }
}
