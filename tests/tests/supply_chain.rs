//! What comes into the product from outside, held against deny.toml without network: licences, sources, doubles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crates that are there in more than one major version, each with the reason. More of them are a decision, not an accident.
const DOUBLES_MAX: usize = 24;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is inside the workspace")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The strings of an array in deny.toml.
fn allowed(key: &str) -> BTreeSet<String> {
    let text = read("deny.toml");
    let (_, rest) = text.split_once(&format!("\n{key} = [")).unwrap_or_else(|| panic!("deny.toml has no {key}"));
    let (list, _) = rest.split_once(']').expect("the end of the list");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Everything that is built for the machines the product runs on.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--offline", "--locked", "--format-version", "1"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu", "--manifest-path"]).arg(root().join("Cargo.toml"));
    let output = command.output().expect("cargo metadata");
    assert!(
        output.status.success(),
        "the lock file is not that of Cargo.toml, or a crate is not there: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let built: BTreeSet<String> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["id"].as_str().map(str::to_owned))
        .collect();
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().filter(|package| package["id"].as_str().is_some_and(|id| built.contains(id))).cloned().collect()
}

/// Whether an SPDX expression can be met: AND binds more tightly than OR, and old crates write / for OR.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    // parentheses occur around an OR only
    if let Some((before, rest)) = expression.split_once('(') {
        let (inside, after) = rest.rsplit_once(')').unwrap_or((rest, ""));
        let met = is_met(inside, allowed);
        let word = if met { "MET" } else { "UNMET" };
        return is_met(&format!("{before}{word}{after}"), allowed);
    }
    expression
        .split(" OR ")
        .any(|all| all.split(" AND ").map(str::trim).all(|licence| licence == "MET" || allowed.contains(licence)))
}

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let licences = allowed("allow");
    let wrong: Vec<String> = packages()
        .iter()
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or("none");
            (!is_met(licence, &licences)).then(|| format!("{} {}: {licence}", package["name"], package["version"]))
        })
        .collect();
    assert!(wrong.is_empty(), "not in deny.toml:\n{}", wrong.join("\n"));
}

#[test]
fn an_expression_of_licences_is_read_as_spdx_means_it() {
    let licences = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND ISC", true),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(GPL-2.0 OR GPL-3.0) AND ISC", false),
    ] {
        assert_eq!(is_met(expression, &licences), met, "{expression}");
    }
}

#[test]
fn everything_comes_from_crates_io_with_a_checksum() {
    let lock = read("Cargo.lock");
    let registries = allowed("allow-registry");
    let workspace = read("Cargo.toml");
    let members: Vec<&str> = workspace
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(list, _)| list.split('"').skip(1).step_by(2).collect())
        .expect("members of the workspace");
    assert!(members.contains(&"protocol"), "{members:?}");
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")))?;
            Some(line.trim_matches('"').to_owned())
        };
        let name = field("name").expect("a name");
        match field("source") {
            None => assert!(members.contains(&name.as_str()), "{name} comes from a path"),
            Some(source) => {
                let registry = source.strip_prefix("registry+").unwrap_or("elsewhere");
                assert!(registries.contains(registry), "{name} comes from {source}");
                assert_eq!(field("checksum").map(|sum| sum.len()), Some(64), "{name} has no checksum");
            }
        }
    }
}

#[test]
fn what_deny_toml_bans_is_not_there_and_doubles_are_few() {
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in packages() {
        let (name, version) =
            (package["name"].as_str().expect("a name"), package["version"].as_str().expect("a version"));
        versions.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    for banned in ["openssl-sys", "native-tls", "rustls-pemfile"] {
        assert!(read("deny.toml").contains(&format!("\"{banned}\"")), "deny.toml says nothing of {banned}");
        assert!(!versions.contains_key(banned), "{banned} is there");
    }
    let doubles: Vec<String> =
        versions.iter().filter(|(_, all)| all.len() > 1).map(|(name, all)| format!("{name} {all:?}")).collect();
    println!("{} doubles: {doubles:?}", doubles.len());
    assert!(doubles.len() <= DOUBLES_MAX, "{} doubles:\n{}", doubles.len(), doubles.join("\n"));
}
