//! Both ends set up by flags alone, then a branch added with the line that the shop's set-up prints, cloned and updated.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::cluster;
use tests::compare;
use tests::process::{Finished, Process, binary, run};

/// A machine of one's own: a home, files of the application, the programs in the path.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sync-setup-").tempdir().expect("a temporary directory");
        fs::write(dir.path().join("retail.sql"), fixtures::SCHEMA).expect("written");
        fs::write(dir.path().join("retail.toml"), fixtures::POLICY).expect("written");
        Self { dir }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command line as somebody types it, in the home directory.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let programs = binary("shop-agent");
        binary("office-client");
        let dir = programs.parent().expect("a directory").display().to_string();
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["SHOP_AGENT_", "OFFICE_CLIENT_", "PG", "XDG_"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        let path = format!("{dir}:{}", std::env::var("PATH").unwrap_or_default());
        command.args(["-c", line]).env("PATH", path).env("HOME", self.dir.path()).current_dir(self.dir.path());
        command
    }

    pub(crate) fn type_in(&self, line: &str) -> Finished {
        run(&mut self.shell(line))
    }
}

/// The line of an output that begins so, without what stands before it.
pub(crate) fn line_with<'a>(text: &'a str, start: &str) -> &'a str {
    let found = text.lines().map(str::trim).find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line {start:?} in\n{text}"))
}

fn wrong_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("WRONG")).collect()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[test]
fn both_ends_are_set_up_by_flags_alone_and_work() {
    let machine = Machine::new();
    let (office, shop) = (cluster::shared().database("office"), cluster::shared().database("shop"));

    let office_set_up = machine.type_in(&format!(
        "office-client --config office.toml --database {} --state-dir office-state --policy ./retail.toml setup --schema retail.sql",
        office.url()
    ));
    let said = office_set_up.succeeded();
    assert_eq!(wrong_lines(&said), Vec::<&str>::new(), "{said}");
    assert!(said.contains("ok    policy retail: "), "{said}");
    line_with(&said, "shop-agent setup --branch NAME");
    assert_eq!(office.int("select count(*) from sync.policy where name = 'retail'"), 1);
    // it belongs to the one who set it up; and it may hold a password
    assert_eq!(mode(&machine.at("office.toml")), 0o600);

    let shop_set_up = machine.type_in(&format!(
        "shop-agent setup --config shop.toml --branch lisbon --database {} --state-dir shop-state --policy retail.toml \
         --schema retail.sql --listen 127.0.0.1:0 --tls-self-signed --url https://127.0.0.1:1 --generate-password",
        shop.url()
    ));
    let said = shop_set_up.succeeded();
    assert_eq!(wrong_lines(&said), Vec::<&str>::new(), "{said}");
    let password =
        said.lines().skip_while(|line| !line.starts_with("Password of office")).nth(2).expect("a password").trim();
    assert_eq!(password.len(), 24, "{said}");
    let users = fs::read_to_string(machine.at("shop-state/users.json")).expect("the credential is there");
    assert!(users.contains("$argon2id$") && !users.contains(password), "{users}");
    let configuration = fs::read_to_string(machine.at("shop.toml")).expect("a configuration");
    assert!(!configuration.contains(password));
    for kept in ["# Name of this branch", "branch = \"lisbon\"", "tls_self_signed = true", "#retention_max = \"90d\""] {
        assert!(configuration.contains(kept), "{kept} in\n{configuration}");
    }
    assert_eq!(mode(&machine.at("shop.toml")), 0o640);

    // as printed: the agent is started, the password typed into its file, the branch added
    let start = line_with(&said, "shop-agent run").to_owned();
    let mut agent = Process::spawn(&mut machine.shell(&format!("exec {start}")));
    let url = agent.url();
    assert!(url.starts_with("https://"), "{url}");
    let password_line = line_with(&said, "(umask 077;").to_owned();
    let typed =
        tests::process::run_with_input(&mut machine.shell(&password_line), format!("{password}\n").into_bytes());
    assert!(typed.is_success(), "{}", typed.stderr);
    let add = line_with(&said, "office-client branch add lisbon").replace("https://127.0.0.1:1", &url);
    let as_office = |line: &str| machine.type_in(&format!("export OFFICE_CLIENT_CONFIG=office.toml; {line}"));
    as_office(&add).succeeded();
    let wrong_pin = add.split("--fingerprint ").nth(1).map(|pin| if pin.starts_with('0') { "1" } else { "0" });
    assert!(wrong_pin.is_some(), "the line pins the certificate: {add}");
    as_office("office-client clone lisbon").succeeded();

    shop.execute("insert into branch(id, name) select 1, 'Lisbon' where not exists (select from branch where id = 1)");
    office.execute(
        "insert into branch(id, name) select 77, 'From the office' where not exists (select from branch where id = 77)",
    );
    as_office("office-client update lisbon").succeeded();
    compare::assert_equal(("office", &office), ("shop", &shop), &["branch"]);
    assert_eq!(shop.int("select count(*) from branch where id = 77"), 1, "what the office wrote has arrived");

    // and the doctor finds nothing
    let checked = as_office("office-client check");
    assert!(checked.is_success(), "{}", checked.stdout);
    for line in
        ["ok    branch lisbon link: ", "the pinned certificate, logged in as office", "ok    branch lisbon clock: "]
    {
        assert!(checked.stdout.contains(line), "{line} in\n{}", checked.stdout);
    }
    assert!(agent.terminate().success());
}

#[test]
fn what_flags_do_not_say_is_listed_and_nothing_is_written() {
    let machine = Machine::new();
    let shop = machine.type_in("shop-agent setup --config shop.toml --state-dir s --listen 0.0.0.0:9000").ended_with(2);
    for flag in ["--branch NAME", "--schema FILE", "--tls-self-signed", "--generate-password"] {
        assert!(shop.stderr.contains(flag), "{flag} in\n{}", shop.stderr);
    }
    let office =
        machine.type_in("office-client --config o.toml --state-dir o setup --listen 0.0.0.0:8900 --yes").ended_with(2);
    for flag in ["--console-user NAME", "--tls-self-signed"] {
        assert!(office.stderr.contains(flag), "{flag} in\n{}", office.stderr);
    }
    for path in ["shop.toml", "s", "o.toml", "o"] {
        assert!(!machine.at(path).exists(), "{path}");
    }
}

#[test]
fn a_configuration_that_says_something_is_replaced_by_force_alone_and_kept() {
    let machine = Machine::new();
    let shop = cluster::shared().database("shop");
    shop.load(fixtures::SCHEMA);
    fs::write(machine.at("shop.toml"), "branch = \"porto\"\n").expect("written");
    let line = format!(
        "shop-agent setup --config shop.toml --branch lisbon --database {} --state-dir s --policy retail.toml --no-auth",
        shop.url()
    );
    let refused = machine.type_in(&line).ended_with(2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(machine.at("shop.toml")).ok().as_deref(), Some("branch = \"porto\"\n"));
    machine.type_in(&format!("{line} --force")).succeeded();
    assert_eq!(fs::read_to_string(machine.at("shop.toml.old")).ok().as_deref(), Some("branch = \"porto\"\n"));

    // the file that a package brings sets nothing: it is filled in, and what somebody noted in it stays
    let shipped =
        fs::read_to_string(tests::process::root().join("packaging/shop-agent/shop-agent.toml")).expect("shipped");
    fs::write(machine.at("packaged.toml"), format!("# ask Ana before changing\n{shipped}")).expect("written");
    machine.type_in(&line.replace("shop.toml", "packaged.toml")).succeeded();
    let filled = fs::read_to_string(machine.at("packaged.toml")).expect("it is there");
    assert!(filled.starts_with("# ask Ana") && filled.contains("\nbranch = \"lisbon\"\n"), "{filled}");
}
