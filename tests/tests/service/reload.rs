//! Policy and certificates are taken up while a program runs; what is open stays open.

use std::fs;

use nix::sys::signal::Signal;
use tests::kit::{Plan, World};

const SCHEMA: &str = "create table product (id bigint primary key, name text);
    create table note (id bigint primary key, words text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"\nnote = \"local\"\n";
const WIDER: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"\nnote = \"from-target\"\n";

#[test]
fn the_agent_takes_up_another_policy_while_a_session_is_open_and_keeps_the_old_one_where_it_does_not_fit() {
    let mut world = World::new(&Plan::of(SCHEMA, POLICY, ""));
    world.enrol();
    world.clone_all();
    let url = world.shop("north").url().to_owned();
    let call = |world: &World, args: &[&str]| world.office(&[&["call", &url], args].concat());
    let sid = call(&world, &["sql_prepare"]).succeeded().trim().to_owned();
    let script = world.dir().join("script.sql");
    fs::write(&script, "INSERT INTO product(id, name) VALUES (7, 'tea');\n").expect("written");
    let chunk = format!("b64:@{}", script.display());
    call(&world, &["sql_create", &format!("i:{sid}"), &chunk]).succeeded();

    // a policy that does not fit leaves everything as it was
    fs::write(world.policy_file(), format!("{WIDER}nothing = \"both\"\n")).expect("written");
    let hang_up = |world: &mut World, said: &str| {
        let agent = world.shop_mut("north").agent();
        agent.signal(Signal::SIGHUP);
        agent.wait_for_line(said, |line| line.contains(said));
    };
    hang_up(&mut world, "the policy stays as it was");
    world.office(&["update", "north"]).succeeded();

    fs::write(world.policy_file(), WIDER).expect("written");
    hang_up(&mut world, "another policy is in force");
    // the office still has the old one: nobody guesses what was meant
    world.office(&["update", "north"]).ended_with(4);
    call(&world, &["sql_finish", &format!("i:{sid}")]).succeeded();
    let north = world.shop("north");
    assert_eq!(
        north.database.int("select count(*) from product where id = 7 and name = 'tea'"),
        1,
        "the session went on"
    );

    let policy = world.policy_file().display().to_string();
    world.office(&["policy", "import", &policy]).succeeded();
    world.shop("north").database.execute("insert into note values (1, 'captured since the reload')");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(world.office.int("select count(*) from note"), 1);
    let pid = world.shop_mut("north").agent().pid();
    assert!(fs::metadata(format!("/proc/{pid}")).is_ok(), "and all of it in one process");
}

#[test]
fn the_console_takes_up_a_new_certificate_and_does_not_end_at_a_hangup() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, ""));
    world.office(&["init"]).succeeded();
    let made = |name: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let (cert, key) = (world.dir().join("console.pem"), world.dir().join("console.key"));
    let put = |(certificate, private): (String, String)| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(&cert, certificate).expect("written");
        fs::write(&key, private).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");
    };
    put(made("one.example"));
    let paths = [cert.display().to_string(), key.display().to_string()];
    let mut console =
        world.start_office(&["console", "--listen", "127.0.0.1:0", "--tls-cert", &paths[0], "--tls-key", &paths[1]]);
    console.url();
    let before = console.wait_for_line("its certificate", |line| line.starts_with("certificate "));
    put(made("two.example"));
    console.signal(Signal::SIGHUP);
    let after = console.wait_for_line("the new one", |line| line.contains("new certificate"));
    let pin = before.split_whitespace().last().unwrap_or_default();
    assert!(!pin.is_empty() && !after.contains(pin), "{before}\n{after}");
    // rubbish changes nothing
    fs::write(&cert, "no certificate").expect("written");
    console.signal(Signal::SIGHUP);
    console.wait_for_line("a complaint", |line| line.contains("the certificate stays as it was"));
    assert!(console.is_running());

    // without a certificate there is nothing to take up, and no reason to end
    let mut plain = world.start_office(&["console", "--listen", "127.0.0.1:0"]);
    plain.url();
    plain.signal(Signal::SIGHUP);
    assert!(plain.terminate().success());
}
