//! Every bound on what a peer controls has a test just below it, at it and just above it, and a line in docs/SECURITY.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where bounds are: one module at each side, and the codec that both have.
const MODULES: [&str; 3] = ["shop-agent/src/limits.rs", "office-client/src/limits.rs", "protocol/src/xmlrpc/limits.rs"];

/// What stands there and bounds nothing that a peer controls, each with the reason.
const NO_PEER: &[(&str, &str)] = &[
    ("stop_deadline", "how long the agent waits for itself"),
    ("inline_body_bytes", "from which size on a body is parsed while it arrives; not a bound"),
    ("inline_blob_bytes_max", "from which size on a blob is written to a file; not a bound"),
    ("non_finite_doubles", "a switch"),
    ("depth_hard_max", "the bound of the bound"),
    ("default", "a constructor"),
    ("chunk_bytes_start", "our own choice"),
    ("chunk_bytes_min", "our own choice"),
    ("chunk_bytes_max_of_office", "our own choice"),
    ("chunk_duration_wanted", "our own choice"),
    ("first_contact_duration_max", "our own patience"),
    ("busy_duration_max", "our own patience"),
    ("retry_duration_max", "our own patience"),
    ("pause_min", "our own patience"),
    ("pause_max", "our own patience"),
    ("reply_memory_bytes_max", "from which size on a reply is written to a file; not a bound"),
    ("password_bytes_max", "a file of the office's own"),
    ("recheck", "how often the office looks at its own tables"),
    ("estimate_rows_max", "our own effort before a run"),
    ("row_bytes_guessed", "a guess"),
    ("progress_pause", "a display"),
    ("line_duration_max", "how long a command of our own may take"),
    ("jobs_max", "a setting of the office"),
    ("jobs_default", "a setting of the office"),
    ("id_span_default", "a setting of the office"),
    ("history_lines_default", "a display"),
    ("conflict_lines_default", "a display"),
    ("value_chars_shown_max", "a display"),
    ("console_stop_duration_max", "how long the console waits for itself"),
    ("console_look_pause", "a display"),
    ("console_schedule_pause", "how often the console asks its own database"),
    ("console_idle_pause", "a display"),
    ("console_frame_pause", "a display"),
    ("console_cards_max", "a display"),
    ("console_runs_max", "a display"),
    ("console_value_chars_max", "a display"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is inside the workspace")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of the constants and fields of a module.
fn bounds(module: &str) -> BTreeSet<String> {
    let text = read(&root().join(module));
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let name = |line: &str| {
        let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        let (name, _) = line.strip_prefix("const ").unwrap_or(line).split_once(": ")?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (is_name && line.ends_with([',', ';']) && !line.contains("Self")).then(|| name.to_lowercase())
    };
    let declared = |line: &&str| {
        let line = line.trim();
        line.starts_with("pub") || line.starts_with("const ")
    };
    code.lines().filter(declared).filter_map(name).collect()
}

#[test]
fn every_limit_is_tested_at_its_boundary_and_documented() {
    let mut files = Vec::new();
    for name in ["protocol", "replica", "tls", "credentials", "shop-agent", "office-client", "tests"] {
        sources(&root().join(name), &mut files);
    }
    let tests: BTreeSet<String> = files
        .iter()
        .flat_map(|file| {
            let text = read(file);
            let found =
                text.split("fn boundary_of_").skip(1).filter_map(|rest| rest.split('(').next().map(str::to_owned));
            found.collect::<Vec<_>>()
        })
        .collect();
    let security = read(&root().join("docs/SECURITY.md"));
    let mut wrong = Vec::new();
    let mut count = 0;
    for module in MODULES {
        for bound in bounds(module) {
            let key = if module.starts_with("office-client") && bound == "chunk_bytes_max" {
                "chunk_bytes_max_of_office".to_owned()
            } else {
                bound.clone()
            };
            if NO_PEER.iter().any(|(name, reason)| *name == key && !reason.is_empty()) {
                continue;
            }
            count += 1;
            if !tests.contains(&bound) {
                wrong.push(format!("{module}: {bound} has no test boundary_of_{bound}"));
            }
            if !security.contains(&format!("`{bound}`")) {
                wrong.push(format!("{module}: {bound} has no line in docs/SECURITY.md"));
            }
        }
    }
    println!("{count} limits, {} boundary tests", tests.len());
    assert!(count > 30, "only {count} limits were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
