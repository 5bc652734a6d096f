//! The units that are shipped, judged by systemd's own programs, without a running systemd.

use std::path::PathBuf;
use std::process::Command;

use tests::{not_run, process};

fn units() -> Vec<PathBuf> {
    let dir = process::root().join("packaging/systemd");
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.expect("a file").path()).collect()
}

fn has_systemd_analyze() -> bool {
    let found = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !found {
        not_run::because("systemd-analyze (package systemd) for the units");
    }
    found
}

#[test]
fn services_are_exposed_by_at_most_2_0() {
    let services: Vec<_> =
        units().into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "service")).collect();
    assert!(!services.is_empty());
    if !has_systemd_analyze() {
        return;
    }
    for unit in services {
        let mut analyze = Command::new("systemd-analyze");
        let judged =
            process::run(analyze.args(["security", "--no-pager", "--offline=true", "--threshold=20"]).arg(&unit));
        assert!(judged.is_success(), "{}\n{}{}", unit.display(), judged.stdout, judged.stderr);
        assert!(judged.stdout.contains("Overall exposure level"), "{}", judged.stdout);
    }
}

#[test]
fn units_have_no_word_that_systemd_does_not_know() {
    if !has_systemd_analyze() {
        return;
    }
    for unit in units() {
        let judged = process::run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
        let said: Vec<&str> = judged
            .stderr
            .lines()
            // about programs that are not installed where the tests run, and units of others
            .filter(|line| line.contains(&*unit.to_string_lossy()) && !line.contains("is not executable"))
            .collect();
        assert!(said.is_empty(), "{said:#?}");
    }
}
