//! TLS between the real programs: who is trusted, who is not, and that a certificate can be renewed while the agent runs.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tests::kit::{Plan, World};
use tests::process::{self, Finished, Process, binary};

const SCHEMA: &str =
    "create table product (id bigint primary key, name text); create table sale (id bigserial primary key, note text);";
const POLICY: &str = "name = \"p\"\n[tables]\nproduct = \"from-source\"\nsale = \"from-target\"\n";
const DATA: &str = "insert into product values (1, 'bolt'), (2, 'nut');";

/// A shop whose agent is not running, and an office that knows nothing of it.
fn world() -> World {
    let mut world = World::new(&Plan::of(SCHEMA, POLICY, DATA));
    world.shops[0].stop_agent();
    world.office(&["init"]).succeeded();
    world
}

/// Certificate and key in PEM files.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn args(&self) -> [&str; 4] {
        ["--tls-cert", text(&self.certificate), "--tls-key", text(&self.key)]
    }
}

/// An authority, and what it signs.
struct Authority {
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("a certificate and its files");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a certificate and its files");
        let file = dir.join(format!("{name}.pem"));
        fs::write(&file, params.self_signed(&key).expect("a certificate and its files").pem())
            .expect("a certificate and its files");
        Self { file, issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate for that host, good until that year; files that are there are replaced.
    fn sign(&self, dir: &Path, name: &str, host: &str, until: i32) -> Pair {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a certificate and its files");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a certificate and its files");
        let pair = Pair { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        fs::write(&pair.key, key.serialize_pem()).expect("a certificate and its files");
        fs::set_permissions(&pair.key, Permissions::from_mode(0o600)).expect("a certificate and its files");
        fs::write(&pair.certificate, params.signed_by(&key, &self.issuer).expect("a certificate and its files").pem())
            .expect("a certificate and its files");
        pair
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// `office-client call URL system.listMethods` with these arguments.
fn call(url: &str, args: &[&str]) -> Finished {
    process::run(Command::new(binary("office-client")).args(["call", url, "system.listMethods"]).args(args))
}

fn fingerprint(world: &World) -> String {
    let status: serde_json::Value = serde_json::from_str(&status(world)).expect("status prints JSON");
    status["tls"]["fingerprint"].as_str().expect("a fingerprint").to_owned()
}

fn status(world: &World) -> String {
    let state = text(world.shops[0].state_dir()).to_owned();
    process::run(Command::new(binary("shop-agent")).args(["status", "--json", "--state-dir", &state])).succeeded()
}

#[test]
fn a_self_signed_certificate_is_pinned_and_another_one_is_refused_with_an_explanation() {
    let mut world = world();
    let before = world.shops[0].run("check", &["--tls-self-signed", "--no-auth"]).succeeded();
    assert!(before.contains("certificate: self-signed, made at the first start"), "{before}");
    world.shops[0].start_with(&["--tls-self-signed"]);
    let (url, pin) = (world.shops[0].url().to_owned(), fingerprint(&world));
    assert!(url.starts_with("https://"), "{url}");
    let check = world.shops[0].run("check", &["--tls-self-signed", "--no-auth"]).succeeded();
    assert!(check.contains(&format!("certificate: fingerprint {pin}, does not expire")), "{check}");

    // without the pin nobody has signed it, and what could be pinned is named
    let unpinned = call(&url, &[]).ended_with(4);
    assert!(unpinned.stderr.contains(&pin) && unpinned.stderr.contains("--fingerprint"), "{}", unpinned.stderr);

    // with it, in another spelling, the main job is done
    let spelled = pin.replace(':', "").to_lowercase();
    world.office(&["branch", "add", "north", "--url", &url, "--fingerprint", &spelled]).succeeded();
    world.office(&["clone", "north"]).succeeded();
    world.shops[0].database.execute("insert into sale (note) values ('over TLS')");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(world.office.value("select note from sale").as_deref(), Some("over TLS"));
    world.assert_agree(&["product"]);

    // after a restart it is the same, so that nobody gets used to warnings
    world.shops[0].stop_agent();
    world.shops[0].start_with(&["--tls-self-signed"]);
    assert_eq!(fingerprint(&world), pin);
    world.office(&["update", "north"]).succeeded();

    // somebody else in its place is refused, nothing is sent, and the words say what to do
    world.shops[0].stop_agent();
    fs::remove_dir_all(world.shops[0].state_dir().join("tls")).unwrap();
    world.shops[0].start_with(&["--tls-self-signed"]);
    let other = fingerprint(&world);
    assert_ne!(other, pin);
    let refused = world.office(&["update", "north"]).ended_with(4);
    for word in [pin.as_str(), &other, "shop-agent status", "branch set NAME --fingerprint"] {
        assert!(refused.stderr.contains(word), "does not say {word}: {}", refused.stderr);
    }
    world.office(&["branch", "set", "north", "--fingerprint", &other]).succeeded();
    world.office(&["update", "north"]).succeeded();

    // the product's other `call` knows pins too
    let agent = |pin: &str| {
        let args = ["call", &url, "system.listMethods", "--fingerprint", pin];
        process::run(Command::new(binary("shop-agent")).args(args))
    };
    assert!(agent(&other).succeeded().contains("sql_prepare"));
    assert!(agent(&pin).ended_with(4).stderr.contains("not the one that was pinned"));
}

#[test]
fn only_a_certificate_that_is_signed_for_the_name_and_good_today_is_taken() {
    let mut world = world();
    let dir = world.dir().to_owned();
    let (ours, others) = (Authority::new(&dir, "ours"), Authority::new(&dir, "others"));
    let ca = ["--ca", text(&ours.file)];
    for (case, authority, host, until, wanted) in [
        ("good", &ours, "127.0.0.1", 2099, None),
        ("name", &ours, "elsewhere.example", 2099, Some("another name")),
        ("expired", &ours, "127.0.0.1", 2021, Some("expired")),
        ("issuer", &others, "127.0.0.1", 2099, Some("no authority that is trusted here")),
    ] {
        let pair = authority.sign(&dir, case, host, until);
        world.shops[0].start_with(&pair.args());
        let url = world.shops[0].url().to_owned();
        match wanted {
            None => assert!(call(&url, &ca).succeeded().contains("sql_prepare"), "{case}"),
            Some(words) => {
                let refused = call(&url, &ca).ended_with(4);
                assert!(refused.stderr.contains(words), "{case}: {}", refused.stderr);
            }
        }
        // this machine's authorities have signed none of them
        call(&url, &[]).ended_with(4);
        world.shops[0].stop_agent();
    }
    // an expired certificate is complained about at the shop
    let expired = Pair { certificate: dir.join("expired.pem"), key: dir.join("expired.key") };
    let check = world.shops[0].run("check", &[&expired.args()[..], &["--no-auth"]].concat()).ended_with(1);
    assert!(check.stdout.contains("WRONG certificate: expired on 2021-01-01"), "{}", check.stdout);

    // pins and authorities that cannot be used are refused when they are typed
    for wrong in [["--fingerprint", "00:11"], ["--ca", "/does/not/exist"]] {
        let args = [&["branch", "add", "north", "--url", "https://127.0.0.1:1"][..], &wrong].concat();
        world.office(&args).ended_with(2);
    }
    let pin = "00".repeat(32);
    world.office(&["branch", "add", "north", "--url", "http://127.0.0.1:1", "--fingerprint", &pin]).ended_with(2);
}

#[test]
fn who_must_show_a_certificate_and_has_none_is_not_let_in() {
    let mut world = world();
    let dir = world.dir().to_owned();
    let (ours, others) = (Authority::new(&dir, "ours"), Authority::new(&dir, "others"));
    let server = ours.sign(&dir, "server", "127.0.0.1", 2099);
    world.shops[0].start_with(&[&server.args()[..], &["--tls-client-ca", text(&ours.file)]].concat());
    let url = world.shops[0].url().to_owned();
    let as_whom = |pair: &Pair| {
        let args =
            ["--ca", text(&ours.file), "--client-cert", text(&pair.certificate), "--client-key", text(&pair.key)];
        call(&url, &args)
    };
    assert!(as_whom(&ours.sign(&dir, "office", "office", 2099)).succeeded().contains("sql_prepare"));
    let nobody = call(&url, &["--ca", text(&ours.file)]).ended_with(4);
    assert!(nobody.stderr.contains("--client-cert"), "{}", nobody.stderr);
    as_whom(&others.sign(&dir, "stranger", "office", 2099)).ended_with(4);
    as_whom(&ours.sign(&dir, "late", "office", 2021)).ended_with(4);
}

#[test]
fn a_certificate_is_renewed_without_a_restart_and_a_broken_one_changes_nothing() {
    let mut world = world();
    let dir = world.dir().to_owned();
    let ours = Authority::new(&dir, "ours");
    let pair = ours.sign(&dir, "server", "127.0.0.1", 2098);
    world.shops[0].start_with(&pair.args());
    let (url, first) = (world.shops[0].url().to_owned(), fingerprint(&world));
    let pid = world.shops[0].agent().pid();

    // at SIGHUP
    ours.sign(&dir, "server", "127.0.0.1", 2099);
    world.shops[0].agent().signal(Signal::SIGHUP);
    tests::wait_for::condition("the new certificate", || fingerprint(&world) != first);
    let second = fingerprint(&world);
    call(&url, &["--fingerprint", &second]).succeeded();
    call(&url, &["--fingerprint", &first]).ended_with(4);

    // half of a change is complained about, and the certificate in use stays
    fs::write(&pair.certificate, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    world.shops[0].agent().signal(Signal::SIGHUP);
    world.shops[0].agent().wait_for_line("a complaint", |line| line.contains("the certificate stays as it was"));
    call(&url, &["--fingerprint", &second]).succeeded();

    // and without a signal, since whoever renews it may not know how to send one
    ours.sign(&dir, "server", "127.0.0.1", 2097);
    tests::wait_for::condition("the newest certificate", || fingerprint(&world) != second);
    call(&url, &["--fingerprint", &fingerprint(&world)]).succeeded();
    assert_eq!(world.shops[0].agent().pid(), pid);
    assert!(world.shops[0].agent().is_running());
}

#[test]
fn nothing_falls_back_to_plain_http_and_old_versions_of_tls_are_not_spoken() {
    let mut world = world();
    world.shops[0].start_with(&["--tls-self-signed"]);
    let address = world.shops[0].url().trim_start_matches("https://").to_owned();
    // plain HTTP on the port is told so, and not served
    let plain = call(&format!("http://{address}"), &[]).ended_with(1);
    assert!(plain.stderr.contains("400"), "{}", plain.stderr);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.ends_with("use https://"), "{answer}");

    // a greeting of TLS 1.1: version 3.2, one cipher of its time, no extensions
    let hello = [&[1, 0, 0, 41, 3, 2][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let record = [&[0x16, 3, 1, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(&record).unwrap();
    let mut alert = Vec::new();
    let _ = stream.read_to_end(&mut alert);
    assert_eq!(alert.first(), Some(&0x15), "an alert and nothing else: {alert:?}");
    assert_eq!(alert.get(5), Some(&2), "a fatal one: {alert:?}");
    world.shops[0].stop_agent();

    // https:// to a server of plain HTTP ends there, too
    world.shops[0].start();
    let refused = call(&world.shops[0].url().replace("http://", "https://"), &[]);
    assert!(!refused.is_success() && refused.stderr.contains("http:// "), "{}", refused.stderr);
}

#[test]
fn what_would_be_open_to_others_is_refused_at_the_start_or_said_at_each() {
    let world = world();
    let refused = |args: &[&str], words: &str| {
        let finished = process::run(world.shops[0].command("run").args(["--listen", "0.0.0.0:0"]).args(args));
        assert!(!finished.is_success() && finished.stderr.contains(words), "{args:?}: {}", finished.stderr);
    };
    refused(&[], "plain HTTP on 0.0.0.0:0 can be read by others");
    refused(&["--no-auth", "--insecure-http"], "--no-auth works on loopback only");
    refused(&["--no-auth", "--tls-self-signed"], "--no-auth works on loopback only");
    let dir = world.dir().to_owned();
    let pair = Authority::new(&dir, "ours").sign(&dir, "server", "127.0.0.1", 2099);
    fs::set_permissions(&pair.key, Permissions::from_mode(0o644)).unwrap();
    refused(&pair.args(), "chmod 600");
    for _ in 0..2 {
        let mut agent =
            Process::spawn(world.shops[0].command("run").args(["--listen", "0.0.0.0:0", "--insecure-http"]));
        agent.url();
        assert!(agent.stderr().contains("INSECURE: plain HTTP"), "{}", agent.stderr());
        agent.terminate();
    }
}
