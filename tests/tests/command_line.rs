//! The command line as people meet it: help, tables, colours, completions, manual pages, how much is said.

#[path = "command_line/calls.rs"]
mod calls;
#[path = "command_line/settings.rs"]
mod settings;

use std::io::Read as _;
use std::process::{Command, Stdio};

use tests::kit::{Plan, World};
use tests::process::{binary, run};

const SCHEMA: &str = "create table product (id bigint primary key, name text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"";

/// Subcommands of a program, as its help lists them.
fn subcommands(program: &str) -> Vec<String> {
    let help = run(Command::new(binary(program)).arg("--help")).succeeded();
    let list = help.split("Commands:\n").nth(1).expect("a list of commands").split("\n\n").next().expect("its end");
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_help_begins_with_examples_that_the_program_understands() {
    let mut seen = 0;
    for name in subcommands("office-client") {
        let help = run(Command::new(binary("office-client")).args([&name, "--help"])).succeeded();
        let (examples, rest) = help.split_once("Usage:").expect("a usage");
        assert!(examples.contains("Examples:\n  office-client"), "{name}: {help}");
        assert!(!rest.contains("Examples:"), "{name}: examples come first");
        for line in examples.lines().filter_map(|line| line.strip_prefix("  office-client ")) {
            // words behind two blanks are explanations; a shell's own signs end the command
            let command = line.split("  ").next().unwrap_or(line).split([';', '|', '>']).next().unwrap_or(line);
            let words = shell_words(command);
            // with --help behind it a command is read and not run, once its name and subcommand are right
            let read = run(Command::new(binary("office-client")).args(&words).arg("--help"));
            // but for `call`, whose arguments may begin with a dash: it was read when it has tried to call
            assert!(read.is_success() || read.stderr.contains("cannot reach"), "{line}: {}", read.stderr);
            seen += 1;
        }
    }
    assert!(seen > 25, "only {seen} examples");
}

/// Words of a command line; quoted ones are one.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for program in ["office-client", "shop-agent"] {
        let names = subcommands(program);
        assert!(names.len() > 8, "{names:?}");
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = run(Command::new(binary(program)).args(["completions", shell])).succeeded();
            for name in &names {
                assert!(script.contains(name.as_str()), "{program} {shell}: {name}");
            }
            if shell == "bash" {
                run(Command::new("bash").args(["-n", "-c", &script])).succeeded();
            }
        }
        let page = run(Command::new(binary(program)).arg("man")).succeeded();
        assert!(page.contains(&format!(".TH {program}")), "{page}");
        for name in names.iter().filter(|name| *name != "help") {
            let heading = format!(".SH \"{}\"\n", name.to_uppercase());
            assert!(page.contains(&heading), "{program}: {name} is not in its manual page");
        }
        // every flag of every command is there, also of commands below commands
        let plain = page.replace("\\-", "-");
        let below: &[&[&str]] = match program {
            "shop-agent" => &[&["run"], &["user", "add"], &["check"], &["call"]],
            _ => &[&["update"], &["branch", "add"], &["console", "user", "add"], &["conflicts", "resolve"]],
        };
        for path in below {
            assert!(page.contains(&format!(".SH \"{}\"\n", path.join(" ").to_uppercase())), "{program}: {path:?}");
            let help = run(Command::new(binary(program)).args(*path).arg("--help")).succeeded();
            let flags = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
            let name =
                |flag: &str| flag.split(|c: char| !c.is_alphanumeric() && c != '-').next().unwrap_or("").to_owned();
            for flag in flags.map(name).filter(|flag| !flag.is_empty()) {
                assert!(plain.contains(&format!("--{flag}")), "{program} {path:?}: --{flag} is not in its manual page");
            }
        }
    }
}

#[test]
fn the_help_of_both_programs_names_every_exit_code() {
    for (program, codes) in [
        ("office-client", &["0", "1", "2", "3", "4", "5", "130"][..]),
        ("shop-agent", &["0", "1", "2", "4", "5", "130"]),
    ] {
        let help = run(Command::new(binary(program)).arg("--help")).succeeded();
        let (_, said) = help.split_once("Exit codes: ").unwrap_or_else(|| panic!("{program}: {help}"));
        for code in codes {
            assert!(said.split([' ', ',', '\n']).any(|word| word == *code), "{program}: {code} in {said}");
        }
    }
    let help = run(Command::new(binary("office-client")).args(["verify", "--help"])).succeeded();
    let force = help.split("--force ").nth(1).and_then(|rest| rest.lines().next()).expect("--force");
    assert!(force.contains("With --repair"), "{help}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    let status = ["status", "--json", "--state-dir", world.shop("north").state_dir().to_str().expect("a path")];
    let agent = |args: &[&str]| {
        let mut command = Command::new(binary("shop-agent"));
        command.args(args);
        command
    };
    let commands = [
        agent(&["completions", "bash"]),
        agent(&["man"]),
        agent(&["--help"]),
        agent(&status),
        agent(&["call", world.shop("north").url(), "system.listMethods"]),
        world.office_command(&["man"]),
        world.office_command(&["branch", "list"]),
        world.office_command(&["status", "--json"]),
    ];
    for mut command in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = command.stdout(writer).stdin(Stdio::null()).stderr(Stdio::piped()).output().expect("started");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), said.contains("panicked")), (Some(0), false), "{command:?}: {said}");
    }
    // what cannot be written is another matter
    for program in ["office-client", "shop-agent"] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = Command::new(binary(program));
        let ended = command.args(["completions", "bash"]).stdout(full).output().expect("started");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(1) && said.contains("No space left"), "{program}: {said}");
    }
}

#[test]
fn an_agent_goes_on_when_nobody_reads_its_log_and_a_check_lets_its_database_go() {
    let mut world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world.shop_mut("north").stop_agent();
    let dir = world.dir().join("alone");
    let mut command = Command::new(binary("shop-agent"));
    command.args(["run", "--branch", "alone", "--no-auth", "--listen", "127.0.0.1:0", "--log-level", "debug"]);
    command.arg("--state-dir").arg(&dir).arg("--policy").arg(world.policy_file());
    let mut child = Started(command.stderr(Stdio::piped()).spawn().expect("started"));
    let mut stderr = child.0.stderr.take().expect("its log");
    let mut seen = String::new();
    while !(seen.contains("listening on http://") && seen.ends_with('\n')) {
        let mut byte = [0];
        assert_eq!(stderr.read(&mut byte).expect("its log"), 1, "it ended: {seen}");
        seen.push(char::from(byte[0]));
    }
    drop(stderr);
    let url = seen.split("listening on ").nth(1).expect("an address").trim().to_owned();
    for _ in 0..3 {
        run(world_call(&url).arg("system.listMethods")).succeeded();
    }
    let pid = nix::unistd::Pid::from_raw(child.0.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
    assert_eq!(child.0.wait().expect("its end").code(), Some(0));

    // a check that nobody reads to its end still stops the private cluster that it has started
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(binary("shop-agent"));
    command.args(["check", "--branch", "alone", "--no-auth"]).arg("--state-dir").arg(&dir);
    let ended = command.arg("--policy").arg(world.policy_file()).stdout(writer).output().expect("started");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(matches!(ended.status.code(), Some(0 | 1)) && !said.contains("panicked"), "{said}");
    assert!(!dir.join("database/data/postmaster.pid").exists(), "its cluster runs on");
}

/// A program that does not outlive its test.
struct Started(std::process::Child);

impl Drop for Started {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `office-client call URL`, to be completed.
fn world_call(url: &str) -> Command {
    let mut command = Command::new(binary("office-client"));
    command.args(["call", url]);
    command
}

/// Runs a command at a terminal of so many columns, and returns what was seen there.
fn at_a_terminal(command: &Command, columns: u32, environment: &[(&str, &str)]) -> String {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', "'\\''"));
    let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("stty cols {columns}; {}", words.join(" ")), "/dev/null"]);
    script.env_remove("NO_COLOR").env("TERM", "xterm").envs(environment.iter().copied());
    run(&mut script).stdout
}

#[test]
fn tables_fit_the_terminal_and_colour_is_for_terminals_that_want_it() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, ""));
    world.office(&["init"]).succeeded();
    let name = "a-branch-with-a-name-that-is-rather-long-for-a-narrow-terminal";
    world.office(&["branch", "add", name, "--url", "http://a.host.with.a.long.name.example:9000"]).succeeded();
    for columns in [60, 100] {
        for args in [&["status"][..], &["branch", "list"]] {
            let seen = at_a_terminal(&world.office_command(args), columns, &[]);
            let widest = seen.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or_default();
            assert!(widest <= columns as usize && seen.contains("BRANCH"), "{columns} columns, {args:?}: {seen}");
        }
    }
    let piped = world.office(&["branch", "list"]).succeeded();
    assert!(piped.lines().any(|line| line.contains(name) && line.contains(":9000")), "a line is a line: {piped}");

    let wrong = world.office_command(&["update", "nobody"]);
    let painted = "\u{1b}[";
    assert!(at_a_terminal(&wrong, 100, &[]).contains(painted), "a terminal gets colour");
    assert!(!at_a_terminal(&wrong, 100, &[("NO_COLOR", "1")]).contains(painted), "unless it is not wanted");
    let plain = world.office(&["update", "nobody"]).ended_with(2);
    assert!(!plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    assert!(
        plain.stderr.contains("there is no branch") && plain.stderr.contains(name),
        "cause and way out: {}",
        plain.stderr
    );
    for program in ["office-client", "shop-agent"] {
        let help = Command::new(binary(program));
        let mut help_command = Command::new(help.get_program());
        help_command.arg("--help");
        assert!(!at_a_terminal(&help_command, 100, &[("NO_COLOR", "1")]).contains(painted), "{program}");
    }
}

#[test]
fn quiet_says_nothing_on_success_and_verbose_says_more() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world.clone_all();
    let quiet = world.office(&["-q", "update", "north"]);
    assert!(
        quiet.is_success() && quiet.stdout.is_empty() && quiet.stderr.is_empty(),
        "{}{}",
        quiet.stdout,
        quiet.stderr
    );
    let usual = world.office(&["update", "north"]);
    let verbose = world.office(&["-vv", "update", "north"]);
    assert!(usual.stdout.contains("north") && verbose.stderr.len() > usual.stderr.len() + 200, "{}", verbose.stderr);
    let failing = world.office(&["-q", "update", "nobody"]).ended_with(2);
    assert!(failing.stderr.contains("nobody"), "an error is always said: {}", failing.stderr);
    let both = world.office(&["-q", "-v", "status"]).ended_with(2);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
    let slip = world.office(&["updat", "north"]).ended_with(2);
    assert!(slip.stderr.contains("update"), "a slip gets a suggestion: {}", slip.stderr);
}
