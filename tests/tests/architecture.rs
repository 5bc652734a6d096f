//! The shape of the product, held against `cargo metadata` and the source: who may depend on whom, and who knows what.
//!
//! docs/ARCHITECTURE.md says the same in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// No source file is longer.
const LINES_MAX: usize = 600;

/// Crates of the workspace, and those of them that each may use outside its tests.
const ARROWS: [(&str, &[&str]); 9] = [
    ("protocol", &[]),
    ("replica", &["protocol"]),
    ("tls", &[]),
    ("credentials", &[]),
    ("installation", &[]),
    ("shop-agent", &["credentials", "installation", "protocol", "replica", "tls"]),
    ("office-client", &["credentials", "installation", "protocol", "replica", "tls"]),
    ("fixtures", &[]),
    ("tests", &["fixtures", "protocol", "replica"]),
];

#[test]
fn dependencies_point_one_way() {
    let metadata = Metadata::read();
    let members: BTreeSet<&str> = metadata.normal.keys().map(String::as_str).collect();
    assert_eq!(members, ARROWS.iter().map(|(name, _)| *name).collect(), "crates of the workspace");
    for (name, allowed) in ARROWS {
        let used: BTreeSet<&str> =
            metadata.normal[name].iter().map(String::as_str).filter(|used| members.contains(used)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(used.is_subset(&allowed), "{name} may use {allowed:?}, and uses {used:?}");
    }
}

#[test]
fn tests_use_no_crate_above_their_own() {
    let metadata = Metadata::read();
    // test code may also use the fixtures, and the fixtures are tested with the protocol's reader
    for (name, allowed) in ARROWS {
        for used in metadata.development[name].iter().filter(|used| metadata.normal.contains_key(*used)) {
            let fine =
                allowed.contains(&used.as_str()) || used == "fixtures" || (name == "fixtures" && used == "protocol");
            assert!(fine, "the tests of {name} use {used}");
        }
    }
}

#[test]
fn protocol_depends_on_nothing_that_does_input_or_output() {
    let metadata = Metadata::read();
    for barred in ["tokio", "tokio-util", "tokio-postgres", "hyper", "hyper-util", "rand", "nix", "libc", "tracing"] {
        assert!(!metadata.normal["protocol"].contains(barred), "protocol depends on {barred}");
    }
}

#[test]
fn protocol_has_no_files_sockets_clock_or_randomness() {
    let barred = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "tokio",
        "SystemTime::now",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "rand::",
    ];
    assert_only(&[], &["protocol/src"], &barred);
}

#[test]
fn only_replica_reaches_a_database() {
    let metadata = Metadata::read();
    for barred in ["tokio-postgres", "postgres-types"] {
        for name in ["protocol", "shop-agent", "office-client", "fixtures"] {
            assert!(!metadata.normal[name].contains(barred), "{name} depends on {barred}");
        }
    }
    assert_only(&["replica/src"], PRODUCT, &["tokio_postgres", "postgres_types"]);
}

#[test]
fn only_replica_writes_sql_that_is_run() {
    // what a query begins with, as a literal
    let barred =
        ["\"select ", "\"insert into ", "\"update sync.", "\"delete from ", "\"create table ", "\"alter table "];
    assert_only(&["replica/src"], PRODUCT, &barred);
}

#[test]
fn only_the_xml_module_knows_angle_brackets() {
    assert_only(&["protocol/src/xmlrpc"], PRODUCT, &["quick_xml", "\"<methodCall", "\"<value", "</value>"]);
    let metadata = Metadata::read();
    for name in ["replica", "shop-agent", "office-client"] {
        assert!(!metadata.normal[name].contains("quick-xml"), "{name} depends on quick-xml");
    }
}

#[test]
fn only_the_server_and_the_link_know_http() {
    let at = [
        "shop-agent/src/server",
        "shop-agent/src/commands/call.rs",
        "office-client/src/link",
        "office-client/src/console",
    ];
    assert_only(&at, PRODUCT, &["hyper::", "hyper_util::", "http_body::", "http_body_util::"]);
}

#[test]
fn only_the_output_module_prints_at_the_office() {
    let at = ["office-client/src/output"];
    assert_only(&at, &["office-client/src"], &["said::line", "said::data", "said::talk", "stdout()"]);
}

/// `println!` panics where nobody reads any more.
#[test]
fn nothing_is_printed_that_ends_the_program_when_its_reader_leaves() {
    let places = [PRODUCT, &["installation/src", "credentials/src", "tls/src"]].concat();
    assert_only(&[], &places, &["println!", "print!("]);
}

#[test]
fn no_source_file_is_too_long() {
    let all: Vec<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let long: Vec<String> = all
        .iter()
        .flat_map(|name| sources(&root().join(name)))
        .filter_map(|path| {
            let lines = read(&path).lines().count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines", relative(&path)))
        })
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn no_module_is_called_after_nothing() {
    for (name, _) in ARROWS {
        for path in sources(&root().join(name)) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let vague = ["util", "utils", "common", "helper", "helpers", "misc", "types"].contains(&stem.as_str());
            assert!(!vague, "{}: name it after what it does", relative(&path));
        }
    }
}

#[test]
fn the_two_commands_of_the_readme_exist() {
    use std::os::unix::fs::PermissionsExt;
    let readme = read(&root().join("README.md"));
    for command in ["demo", "test"] {
        assert!(readme.contains(&format!("./{command}")), "README.md does not name ./{command}");
        let meta = fs::metadata(root().join(command)).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(meta.is_file() && meta.permissions().mode() & 0o111 != 0, "{command} is not executable");
    }
}

#[test]
fn every_document_that_is_linked_is_there() {
    let mut documents = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    documents
        .extend(files(&root().join("docs")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")));
    for document in documents {
        let text = read(&document);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains(':')) {
            let path = document.parent().unwrap_or(&document).join(target);
            assert!(path.exists(), "{} links to {target}", relative(&document));
        }
    }
}

#[test]
fn architecture_has_a_line_for_every_crate_and_dependency() {
    let text = read(&root().join("docs/ARCHITECTURE.md"));
    let metadata = Metadata::read();
    for (name, used) in &metadata.normal {
        for wanted in used.iter().chain([name]) {
            assert!(text.contains(&format!("`{wanted}`")), "docs/ARCHITECTURE.md says nothing about `{wanted}`");
        }
    }
}

/// docs/TESTING.md says which test shows what: they are there.
#[test]
fn the_tests_that_the_document_names_exist() {
    let document = read(&root().join("docs/TESTING.md"));
    let list = document.split("## What proves what").nth(1).and_then(|rest| rest.split("\n## ").next());
    let names: Vec<&str> = list
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 40, "only {} tests are named", names.len());
    let places = PRODUCT.iter().chain(&["tests/tests"]);
    let texts: Vec<String> = places.flat_map(|place| sources(&root().join(place))).map(|path| read(&path)).collect();
    for name in names {
        let head = format!("fn {name}(");
        assert!(texts.iter().any(|text| text.contains(&head)), "docs/TESTING.md names {name}, which is no test");
    }
}

/// DESIGN.md, section 11: each invariant is named by a test, and ./test --mutations proves that a test guards it.
#[test]
fn every_invariant_is_named_by_a_test_and_has_a_mutation() {
    let places = PRODUCT.iter().chain(&["tests/tests", "fixtures/src"]);
    let texts: Vec<String> = places.flat_map(|place| sources(&root().join(place))).map(|path| read(&path)).collect();
    for number in 1..=22 {
        let name = format!("I{number}");
        let named = texts.iter().flat_map(|text| text.lines()).any(|line| {
            let line = line.trim_start();
            (line.starts_with("///") || line.starts_with("//!"))
                && line.split(|c: char| !c.is_alphanumeric()).any(|word| word == name)
        });
        assert!(named, "no doc comment of a test names {name}");
        let patch = read(&root().join(format!("tests/mutations/{name}.patch")));
        let test = patch.lines().find_map(|line| line.strip_prefix("# test: ")).unwrap_or_default();
        let function = test.rsplit([' ', ':']).next().unwrap_or_default();
        let head = format!("fn {function}(");
        assert!(
            !function.is_empty() && texts.iter().any(|text| text.contains(&head)),
            "tests/mutations/{name}.patch names the test {function:?}, which is nowhere"
        );
    }
}

/// The source of the product itself.
const PRODUCT: &[&str] = &["protocol/src", "replica/src", "shop-agent/src", "office-client/src"];

/// Asserts that these texts occur nowhere in `places` but in `at`. Comments and tests do not count.
#[track_caller]
fn assert_only(at: &[&str], places: &[&str], barred: &[&str]) {
    let mut found = Vec::new();
    for path in places.iter().flat_map(|place| sources(&root().join(place))) {
        let name = relative(&path);
        if at.iter().any(|at| Path::new(&name).starts_with(at)) || is_test(&name) {
            continue;
        }
        for (line, number) in code(&read(&path)).lines().zip(1..) {
            if let Some(text) = barred.iter().find(|text| line.contains(*text) && !line.trim_start().starts_with("//"))
            {
                found.push(format!("{name}:{number}: {text}"));
            }
        }
    }
    assert!(found.is_empty(), "allowed only in {at:?}:\n{}", found.join("\n"));
}

/// Whether a file holds tests or what only they use.
fn is_test(name: &str) -> bool {
    let parts = ["/tests/", "/tests.rs", "_tests.rs", "/fake.rs", "/scripted.rs"];
    parts.iter().any(|part| name.contains(part))
}

/// A file without the tests at its end.
fn code(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// Dependencies of every crate of the workspace, as the Cargo.toml files have them.
struct Metadata {
    normal: BTreeMap<String, BTreeSet<String>>,
    development: BTreeMap<String, BTreeSet<String>>,
}

impl Metadata {
    fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
            .arg(root().join("Cargo.toml"))
            .output()
            .expect("cargo metadata");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        let mut metadata = Self { normal: BTreeMap::new(), development: BTreeMap::new() };
        for package in json["packages"].as_array().expect("packages") {
            let name = package["name"].as_str().expect("a name").to_owned();
            let of_kind = |development: bool| -> BTreeSet<String> {
                let all = package["dependencies"].as_array().expect("dependencies");
                let chosen = all.iter().filter(|entry| (entry["kind"] == "dev") == development);
                chosen.filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect()
            };
            metadata.normal.insert(name.clone(), of_kind(false));
            metadata.development.insert(name, of_kind(true));
        }
        metadata
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is inside the workspace")
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let found: Vec<PathBuf> =
        files(dir).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();
    assert!(!found.is_empty(), "no source in {}", dir.display());
    found
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("an entry of a directory").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn alerts_speak_of_metrics_that_there_are_and_operations_say_what_they_mean() {
    let alerts = read(&root().join("packaging/prometheus/alerts.yml"));
    let metrics = read(&root().join("shop-agent/src/metrics.rs"));
    let operations = read(&root().join("docs/OPERATIONS.md"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = alerts.split(|c| !is_name(c)).filter(|word| word.starts_with("shop_agent_"));
    let missing: Vec<&str> = named.filter(|name| !metrics.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "there are no metrics {missing:?}");
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let silent: Vec<&&str> = names.iter().filter(|name| !operations.contains(&format!("`{name}`"))).collect();
    assert!(silent.is_empty(), "docs/OPERATIONS.md does not say what to do about {silent:?}");
}
