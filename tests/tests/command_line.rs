//! The command line as people meet it: help, tables, colours, completions, manual pages, how much is said.

use std::process::Command;

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
        for name in &names {
            let heading = name.to_uppercase();
            let dashed = name.replace('-', "\\-");
            assert!(page.contains(&heading) || page.contains(&dashed), "{program}: {name} is not in its manual page");
        }
    }
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
