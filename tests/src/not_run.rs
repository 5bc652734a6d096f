//! Tests that need something this machine does not have.

use std::fs::OpenOptions;
use std::io::Write;

/// File to which `./test` wants a line for each reason.
const FILE: &str = "SYNC_TESTS_NOT_RUN";
/// Set where everything could have been installed: then nothing may be missing.
const COMPLETE: &str = "SYNC_TESTS_COMPLETE";

/// Says that the calling test does not run because `what` is missing; the caller then returns. `./test` repeats it in its
/// closing line.
///
/// # Panics
/// Where everything can be installed (root): there a missing peer is a failure.
pub fn because(what: &str) {
    assert!(std::env::var_os(COMPLETE).is_none(), "missing: {what}");
    eprintln!("not run: {what}");
    note(what);
}

fn note(what: &str) {
    let file = std::env::var_os(FILE).map(|path| OpenOptions::new().append(true).open(path));
    if let Some(Ok(mut file)) = file {
        // what cannot be noted has been said
        let _ = writeln!(file, "{what}");
    }
}

/// The same of what no installation brings: the machine itself forbids it, as a container does that may mount nothing, or
/// it is a file that is not part of this repository. So it is no failure even where everything is installed.
pub fn because_out_of_reach(what: &str) {
    eprintln!("not run: {what}");
    note(what);
}
