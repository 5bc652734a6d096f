//! What settings mean together, what is said of those that cannot work, and what is never said.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use tests::process::{Finished, Process, binary, run};

/// A program without what the environment of the test says.
fn program(name: &str, home: &Path) -> Command {
    let mut command = Command::new(binary(name));
    for (variable, _) in std::env::vars_os() {
        if ["SHOP_AGENT_", "OFFICE_CLIENT_"].iter().any(|prefix| variable.to_string_lossy().starts_with(prefix)) {
            command.env_remove(variable);
        }
    }
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME").env_remove("STATE_DIRECTORY");
    command
}

/// A database that is not there.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("postgresql://shop@{}/shop", listener.local_addr().expect("an address"))
}

#[test]
fn a_configuration_that_is_no_toml_is_not_quoted() {
    let dir = tempfile::tempdir().expect("a directory");
    let archive = dir.path().join("support.tar.gz");
    let agent = |text: &str, args: &[&str]| -> Finished {
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).expect("written");
        let mut command = program("shop-agent", dir.path());
        run(command.args(args).arg("--state-dir").arg(dir.path().join("state")).arg("--config").arg(&file))
    };
    let office = |text: &str| -> Finished {
        let file = dir.path().join("office.toml");
        fs::write(&file, text).expect("written");
        run(program("office-client", dir.path()).arg("status").arg("--config").arg(&file))
    };
    let hidden = |ended: &Finished, code: i32, line: &str| {
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(code), "{all}");
        assert!(!all.contains("TOPSECRET") && all.contains(line), "{all}");
    };
    for (text, line) in [
        ("branch = \"b\"\ndatabase = \"postgresql://shop:TOPSECRET@h/db\n", "line 2"),
        ("branch = \"b\"\n\ndatabase = postgresql://shop:TOPSECRET@h/db\n", "line 3"),
        ("branch = \"b\"\nno_auth = \"TOPSECRET\"\n", "line 2"),
        ("branch = \"b\"\ndatabase = \"postgresql:/shop:TOPSECRET@h/db?sslmode=disable\"\n", "database"),
    ] {
        let args = ["check", "--bundle", archive.to_str().expect("a path")];
        hidden(&agent(text, &args), 1, line);
        let unpacked = Command::new("tar").arg("-xzOf").arg(&archive).output().expect("tar");
        let unpacked = String::from_utf8_lossy(&unpacked.stdout).into_owned();
        // of a key that holds no secret the archive has the value
        let is_hidden = !unpacked.contains("TOPSECRET") || text.contains("no_auth");
        assert!(unpacked.contains("WRONG configuration") && is_hidden, "{unpacked}");
        fs::remove_file(&archive).expect("removed");
        hidden(&agent(text, &["run"]), 2, line);
    }
    hidden(&office("database = \"postgresql://shop:TOPSECRET@h/db\n"), 2, "line 1");
    hidden(&office("jobs = \"TOPSECRET\"\n"), 2, "line 1");
    hidden(&office("database = \"postgresql:/shop:TOPSECRET@h/db?sslmode=disable\"\n"), 2, "database");
}

#[test]
fn the_command_line_goes_before_the_environment_and_the_environment_before_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("agent.toml");
    // `check` says how the agent would be reached
    let check = |text: &str, environment: &[(&str, &str)], args: &[&str]| -> Finished {
        fs::write(&file, format!("branch = \"b\"\ndatabase = \"{}\"\n{text}", nowhere())).expect("written");
        let mut command = program("shop-agent", dir.path());
        command.envs(environment.iter().copied()).arg("check").args(args);
        run(command.arg("--state-dir").arg(dir.path().join("state")).arg("--config").arg(&file))
    };
    let files = [("SHOP_AGENT_TLS_CERT", "/no/cert.pem"), ("SHOP_AGENT_TLS_KEY", "/no/key.pem")];
    let own = "self-signed, made at the first start";
    for (text, environment, args, wanted) in [
        ("", &files[..], &["--tls-self-signed"][..], own),
        ("", &files[..1], &["--tls-self-signed"], own),
        ("tls_cert = \"/no/cert.pem\"\ntls_key = \"/no/key.pem\"", &[("SHOP_AGENT_TLS_SELF_SIGNED", "1")], &[], own),
        (
            "",
            &[("SHOP_AGENT_TLS_SELF_SIGNED", "1")],
            &["--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"],
            "/no/",
        ),
        ("tls_self_signed = true", &files, &[], "/no/"),
        ("tls_self_signed = true", &[("SHOP_AGENT_TLS_SELF_SIGNED", "false")], &[], "none: plain HTTP on loopback"),
        ("tls_self_signed = true", &[], &["--insecure-http"], "none: plain HTTP on loopback"),
        ("insecure_http = true", &[], &["--tls-self-signed"], own),
        ("no_auth = true", &[], &[], "everybody on this machine is let in"),
        ("no_auth = true", &[("SHOP_AGENT_NO_AUTH", "false")], &[], "there are no users"),
        ("", &[("SHOP_AGENT_NO_AUTH", "true")], &["--no-auth=false"], "there are no users"),
        ("no_auth = false", &[("SHOP_AGENT_NO_AUTH", "false")], &["--no-auth"], "everybody on this machine is let in"),
    ] {
        let said = check(text, environment, args);
        assert!(said.stdout.contains(wanted), "{text} {environment:?} {args:?}: {}{}", said.stdout, said.stderr);
    }
    // what is typed together has to fit together
    for args in [&["--tls-self-signed", "--tls-cert", "/c", "--tls-key", "/k"][..], &["--tls-cert", "/c"]] {
        let said = check("", &[], args);
        assert!(said.stdout.contains("WRONG configuration"), "{args:?}: {}", said.stdout);
    }
    assert!(check("", &files[..1], &[]).stdout.contains("tls_key"), "half a certificate is none");
}

#[test]
fn jobs_of_the_environment_do_not_keep_a_file_from_being_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let update = |args: &[&str]| {
        let mut command = program("office-client", dir.path());
        command.env("OFFICE_CLIENT_JOBS", "4").args(["--database", &nowhere(), "update", "a", "--export", "f"]);
        run(command.arg("--state-dir").arg(dir.path().join("office")).args(args))
    };
    // it gets as far as the database
    let said = update(&[]).ended_with(1).stderr;
    assert!(said.contains("database"), "{said}");
    let said = update(&["--jobs", "2"]).ended_with(2).stderr;
    assert!(said.contains("--jobs") && said.contains("--export"), "{said}");
}

#[test]
fn changes_are_kept_at_most_for_longer_than_at_least() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("settings.toml");
    for (text, is_wrong) in [
        ("retention-min = \"90d\"\nretention-max = \"1d\"\n", true),
        ("retention-min = \"91d\"\n", true),
        ("retention-min = \"2d\"\nretention-max = \"2d\"\n", false),
    ] {
        fs::write(&file, text).expect("written");
        let mut office = program("office-client", dir.path());
        let state = dir.path().join("state");
        let office = run(office
            .args(["status", "--database", &nowhere(), "--state-dir"])
            .arg(&state)
            .arg("--config")
            .arg(&file));
        fs::write(&file, text.replace("retention-", "retention_")).expect("written");
        let mut agent = program("shop-agent", dir.path());
        agent.args(["export", "f", "--branch", "b", "--database", &nowhere(), "--state-dir"]);
        let agent = run(agent.arg(&state).arg("--config").arg(&file));
        for (ended, [min, max]) in
            [(office, ["retention-min", "retention-max"]), (agent, ["retention_min", "retention_max"])]
        {
            assert_eq!(ended.code, Some(if is_wrong { 2 } else { 1 }), "{text}: {}", ended.stderr);
            let names_both = ended.stderr.contains(min) && ended.stderr.contains(max);
            assert_eq!(names_both, is_wrong, "{text}: {}", ended.stderr);
        }
    }
}

#[test]
fn an_agent_that_waits_for_its_database_stops_cleanly() {
    let dir = tempfile::tempdir().expect("a directory");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut command = program("shop-agent", dir.path());
        command.args(["run", "--branch", "b", "--no-auth", "--listen", "127.0.0.1:0", "--database", &nowhere()]);
        let mut agent = Process::spawn(command.arg("--state-dir").arg(dir.path().join("state")));
        agent.wait_for_line("waiting for the database", |line| line.contains("waiting for the database"));
        agent.signal(signal);
        assert_eq!(agent.wait().code(), Some(0), "{signal}: {}", agent.stderr());
        assert!(!agent.stderr().contains("shop-agent: stopped"), "{}", agent.stderr());
    }
}

#[test]
fn an_agent_that_cannot_be_asked_is_named_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("state");
    for command in ["status", "audit"] {
        let said =
            run(program("shop-agent", dir.path()).arg(command).arg("--state-dir").arg(&state)).ended_with(1).stderr;
        for words in [state.to_str().expect("a path"), "shop-agent run", "--state-dir"] {
            assert!(said.contains(words), "{command} does not say {words}: {said}");
        }
    }
    // somebody else, whom the directory is closed to; root may do everything, so another user is needed
    let control = state.join("control");
    fs::create_dir_all(&control).expect("made");
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    open(dir.path(), 0o755);
    open(&state, 0o711);
    open(&control, 0o000);
    let mut command = program("shop-agent", dir.path());
    if fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0) {
        // the build directory may be closed to others
        let copy = dir.path().join("shop-agent");
        fs::copy(binary("shop-agent"), &copy).expect("copied");
        command = Command::new(copy);
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        command.env_clear().env("HOME", "/");
    }
    let said = run(command.arg("status").arg("--state-dir").arg(&state)).ended_with(1).stderr;
    open(&control, 0o700);
    for words in ["control/agent.sock", "ermission denied", "user", "sudo"] {
        assert!(said.contains(words), "does not say {words}: {said}");
    }
}
