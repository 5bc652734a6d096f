//! What `--json` prints, held against docs/JSON.md: every field is described, and what is described is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use tests::kit::{Plan, World};
use tests::process::root;

const SCHEMA: &str = "create table product (id bigint primary key, name text);
    create table sale (id bigint primary key, product_id bigint not null references product);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"both\"\nsale = \"from-target\"";

/// Fields of every section, with whether they are said to be there only sometimes.
struct Document(BTreeMap<String, BTreeMap<String, Field>>);

#[derive(Debug, Clone)]
struct Field {
    kind: String,
    /// `clone only`, `show only`: not in every object.
    sometimes: bool,
}

impl Document {
    fn read() -> Self {
        let text = fs::read_to_string(root().join("docs/JSON.md")).expect("the document");
        let mut sections: BTreeMap<String, BTreeMap<String, Field>> = BTreeMap::new();
        let (mut section, mut part) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut section);
                part.clear();
            }
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [names, kind, meaning] = cells[..] else { continue };
            if names.starts_with("---") {
                continue;
            }
            if names.starts_with("field") {
                part = names.trim_start_matches("field").trim().to_owned();
                continue;
            }
            let key = if part.is_empty() { section.clone() } else { format!("{section}: {part}") };
            let kinds: Vec<&str> = kind.split(", ").collect();
            for (at, name) in names.split(", ").enumerate() {
                let kind = kinds.get(at).or(kinds.last()).copied().unwrap_or_default();
                let field = Field { kind: kind.to_owned(), sometimes: meaning.contains(" only: ") };
                sections.entry(key.clone()).or_default().insert(name.trim_matches('`').to_owned(), field);
            }
        }
        Self(sections)
    }

    /// Holds every object that was printed against a section.
    fn hold(&self, section: &str, printed: &str) {
        let described = self.0.get(section).unwrap_or_else(|| panic!("no section {section}: {:?}", self.0.keys()));
        assert!(!printed.trim().is_empty(), "{section}: nothing was printed");
        for line in printed.lines() {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let fields = object.as_object().unwrap_or_else(|| panic!("{section}: {line} is no object"));
            for (name, value) in fields {
                let field =
                    described.get(name).unwrap_or_else(|| panic!("{section}: `{name}` is not described: {line}"));
                assert!(fits(&field.kind, value), "{section}: `{name}` is described as {}, and is {value}", field.kind);
            }
            let missing: BTreeSet<&String> = described
                .iter()
                .filter(|(name, field)| !field.sometimes && !fields.contains_key(*name))
                .map(|(name, _)| name)
                .collect();
            assert!(missing.is_empty(), "{section}: {missing:?} are described and missing: {line}");
        }
    }
}

fn fits(described: &str, value: &Value) -> bool {
    described.split(" or ").any(|kind| match kind {
        "string" => value.is_string(),
        "int" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array of string" => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        "array of object" => value.as_array().is_some_and(|all| all.iter().all(Value::is_object)),
        // "as above"
        "" => true,
        other => panic!("`{other}` is no type"),
    })
}

#[test]
fn every_command_prints_the_json_that_is_documented() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea'), (2, 'coffee');"));
    let document = Document::read();
    world.office(&["init"]).succeeded();
    let json = |args: &[&str]| {
        let ran = world.office(&[&["--json"], args].concat());
        (ran.stdout, ran.stderr)
    };
    let hold = |section: &str, args: &[&str]| {
        let (printed, said) = json(args);
        assert!(!printed.is_empty(), "{args:?}: {said}");
        document.hold(section, &printed);
    };
    let url = world.shop("north").url();
    let branches = "branch add, list, show, set, pause, resume, retire, remove";
    hold(branches, &["branch", "add", "north", "--id", "1", "--url", url]);
    hold("status", &["status"]);
    hold("update --dry-run, clone --dry-run", &["clone", "north", "--dry-run"]);
    hold("update, clone", &["clone", "north"]);
    // something of everything
    world.office.execute("update product set name = 'of the office' where id = 1; alter table sale add constraint no_two check (id <> 2)");
    world
        .shop("north")
        .database
        .execute("update product set name = 'of the north' where id = 1; insert into sale values (1, 1), (2, 2)");
    hold("update --dry-run, clone --dry-run", &["update", "north", "--dry-run"]);
    hold("update, clone", &["update", "north"]);
    hold("status", &["status"]);
    hold("history", &["history"]);
    for args in [
        &["list"][..],
        &["show", "north"],
        &["set", "north", "--rate-limit", "1MB/s"],
        &["pause", "north"],
        &["resume", "north"],
    ] {
        hold(branches, &[&["branch"], args].concat());
    }
    hold("conflicts list, conflicts show", &["conflicts"]);
    let conflict = world.office.int("select min(conflict) from sync.conflict").to_string();
    hold("conflicts list, conflicts show", &["conflicts", "show", &conflict]);
    hold("conflicts resolve", &["conflicts", "resolve", &conflict, "--take", "shop"]);
    hold("quarantine list, quarantine show, quarantine drop", &["quarantine"]);
    let waiting = world.office.int("select min(entry) from sync.quarantine").to_string();
    hold("quarantine list, quarantine show, quarantine drop", &["quarantine", "show", &waiting]);
    hold("quarantine retry", &["quarantine", "retry", &waiting]);
    world.office.execute("delete from sync.quarantine");

    // verify prints objects of three shapes
    world.office(&["update", "north"]).succeeded();
    world
        .shop("north")
        .database
        .execute("set session_replication_role = replica; update product set name = 'secretly' where id = 2");
    let (printed, _) = json(&["verify", "north"]);
    let mut shapes = BTreeSet::new();
    for line in printed.lines() {
        let shape = match line {
            line if line.contains("\"side\":") => "verify: of a row",
            line if line.contains("\"table\":") => "verify",
            _ => "verify: of the summary",
        };
        document.hold(shape, line);
        shapes.insert(shape);
    }
    assert_eq!(shapes.len(), 3, "tables, a row that differs, and the branch: {printed}");
    hold("after-restore, after-upgrade", &["after-upgrade"]);
    hold("after-restore, after-upgrade", &["after-restore"]);
    let password = world.dir().join("password");
    std::fs::write(&password, "long enough to be one").expect("a file");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    world
        .office(&["console", "user", "add", "eva", "--role", "look", "--password-file", &password.to_string_lossy()])
        .succeeded();
    hold("console user list", &["console", "user", "list"]);
    hold(branches, &["branch", "retire", "north"]);
    hold(branches, &["branch", "remove", "north", "--yes"]);
}

/// The agent's own figures: what waits for the office, how long it is kept, when the office was last there.
#[test]
fn an_agent_says_what_waits_for_whom_how_long_it_is_kept_and_when_the_office_was_last_there() {
    let mut world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea'), (2, 'coffee');"));
    world.shops[0].stop_agent();
    world.shops[0].start_with(&["--tls-self-signed"]);
    let document = Document::read();
    let say = |world: &World, args: &[&str]| {
        let mut command = std::process::Command::new(tests::process::binary("shop-agent"));
        command.args(["status", "--state-dir"]).arg(world.shops[0].state_dir());
        tests::process::run(command.args(args)).succeeded()
    };
    let status = |world: &World| {
        let printed = say(world, &["--json"]);
        document.hold("shop-agent status", &printed);
        let status: Value = serde_json::from_str(&printed).expect("JSON");
        for office in status["offices"].as_array().expect("an array") {
            document.hold("shop-agent status: of an office", &office.to_string());
        }
        status
    };
    let first = status(&world);
    assert_eq!(first["retention"], serde_json::json!({ "min_s": 14 * 86_400, "max_s": 90 * 86_400 }));
    assert_eq!(first["offices"][0]["office"], "default");
    assert_eq!(first["offices"][0]["last_contact"], Value::Null);
    assert!(say(&world, &[]).contains("the office has not called yet"), "{}", say(&world, &[]));

    let fingerprint = first["tls"]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    world.office(&["init"]).succeeded();
    world
        .office(&["branch", "add", "north", "--id", "1", "--url", world.shops[0].url(), "--fingerprint", &fingerprint])
        .succeeded();
    world.office(&["clone", "north"]).succeeded();
    world.office(&["update", "north"]).succeeded();
    let at_rest = status(&world);
    let contact = at_rest["offices"][0]["last_contact"].as_str().expect("a time").to_owned();
    assert_eq!(at_rest["offices"][0]["backlog_rows"], 0);

    world.shops[0]
        .database
        .execute("insert into sale values (1, 1), (2, 2); update product set name = 'green tea' where id = 1");
    assert_eq!(status(&world)["offices"][0]["backlog_rows"], 3);
    let said = say(&world, &[]);
    for line in [
        "office       default: 3 changes wait, last contact ",
        "retention    14 days at least, 90 days at most, change logs of ",
    ] {
        assert!(said.contains(line), "{line} in\n{said}");
    }
    world.office(&["update", "north"]).succeeded();
    world.office(&["update", "north"]).succeeded();
    let after = status(&world);
    assert_eq!(after["offices"][0]["backlog_rows"], 0);
    let later: &str = after["offices"][0]["last_contact"].as_str().expect("a time");
    assert!(later > contact.as_str(), "{later} is after {contact}");

    world.shops[0].database.execute("alter table sale disable trigger all");
    world.office(&["update", "north"]).succeeded();
    let gaps = &status(&world)["capture_gaps"];
    assert_eq!(gaps[0]["table"], "sale", "{gaps}");
    assert!(say(&world, &[]).contains("capture gap  sale: "), "{}", say(&world, &[]));
}
