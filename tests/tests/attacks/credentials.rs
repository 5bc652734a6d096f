//! Who is let in: every method with a missing, a wrong and a foreign credential, passwords guessed by the ten thousand,
//! numbers of sessions guessed and stolen, calls played again.

use std::collections::BTreeMap;
use std::process::Command;

use protocol::fault::FaultCode;
use protocol::xmlrpc::{Value, write_call};
use tests::process::{Process, binary, run};

use super::besieged::{Answer, As, Besieged, PASSWORD};

/// What another office can do with what belongs to this one.
enum Foreign {
    /// The method takes the number of a session: it gets the fault 'session of another credential'.
    Session,
    /// The method takes the id of a frozen diff: it gets the fault 'diff expired'.
    Diff,
    /// The method takes nothing that belongs to an office; why that is right.
    Nothing(&'static str),
}

/// One line for every method. A method that is missing here fails the test.
fn foreign() -> BTreeMap<&'static str, Foreign> {
    use Foreign::{Diff, Nothing, Session};
    let of_shop = "it works on the shop as a whole, which every office with a credential may";
    let of_caller = "what it opens or gives belongs to the office of the credential, whoever else has what";
    let of_nobody = "a pure function of its parameters";
    let of_server = "it tells the same to everybody who is let in";
    BTreeMap::from([
        ("sql_create", Session),
        ("sql_insert", Session),
        ("sql_finish", Session),
        ("sql_status", Session),
        ("sql_abort", Session),
        ("sync.diff_read", Diff),
        ("sql_prepare", Nothing(of_caller)),
        ("sync.diff_open", Nothing(of_caller)),
        ("diff", Nothing(of_caller)),
        ("changes", Nothing(of_caller)),
        ("clean", Nothing(of_shop)),
        ("setidstart", Nothing(of_shop)),
        ("bump_sequences", Nothing(of_shop)),
        ("sync.digest", Nothing(of_shop)),
        ("sync.digest_rows", Nothing(of_shop)),
        ("sync.rows", Nothing(of_shop)),
        ("sync.fresh", Nothing(of_shop)),
        ("sync.mark", Nothing(of_caller)),
        ("sync.baseline", Nothing(of_caller)),
        ("sync.hello", Nothing(of_caller)),
        ("sync.layout", Nothing(of_caller)),
        ("sync.echo", Nothing(of_server)),
        ("quit", Nothing("it is disabled")),
        ("get_station_name", Nothing(of_server)),
        ("set_station_by_name", Nothing(of_server)),
        ("system.listMethods", Nothing(of_server)),
        ("system.methodSignature", Nothing(of_server)),
        ("system.methodHelp", Nothing(of_server)),
        ("system.getCapabilities", Nothing(of_server)),
        ("system.multicall", Nothing("each call in it is held against the credential by itself")),
        ("validator1.arrayOfStructsTest", Nothing(of_nobody)),
        ("validator1.countTheEntities", Nothing(of_nobody)),
        ("validator1.easyStructTest", Nothing(of_nobody)),
        ("validator1.echoStructTest", Nothing(of_nobody)),
        ("validator1.manyTypesTest", Nothing(of_nobody)),
        ("validator1.moderateSizeArrayCheck", Nothing(of_nobody)),
        ("validator1.nestedStructTest", Nothing(of_nobody)),
        ("validator1.simpleStructReturnTest", Nothing(of_nobody)),
    ])
}

#[test]
fn every_method_on_every_path_is_closed_without_a_right_credential() {
    let besieged = Besieged::new();
    let foreign = foreign();
    let sid = besieged.call(As::Office, "sql_prepare", &[]).expect("a session");
    besieged.shop().execute("insert into sale (note) values ('mine')");
    let diff = besieged.call(As::Office, "sync.diff_open", &[Value::from("0")]).expect("a diff");
    let diff_id = diff.as_struct().and_then(|members| members.get("id")).cloned().expect("an id");
    besieged.shop().execute("delete from sale");
    let mut refused = 0;
    for method in protocol::methods::all().iter().map(|method| method.name).chain(["no.such"]) {
        let body = write_call(method, &[]).expect("a call");
        for path in ["/RPC2", "/XMLRPC", "/"] {
            for who in [As::Nobody, As::WrongPassword, As::Unknown] {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n",
                    who.header(),
                    body.len()
                );
                let answer = Answer::of(&besieged.raw(&[head.as_bytes(), &body].concat()));
                // guesses are put off after some; whoever shows nothing is told to
                let expected: &[u16] = if who == As::Nobody { &[401] } else { &[401, 429] };
                assert!(expected.contains(&answer.status), "{method} on {path} as {who:?}: {}", answer.text);
                assert!(!answer.text.contains("methodResponse"), "{method}: {}", answer.text);
                refused += 1;
            }
        }
        let params = match foreign.get(method) {
            Some(Foreign::Session) if method == "sql_create" || method == "sql_insert" => {
                vec![sid.clone(), Value::from(&b"BEGIN;"[..])]
            }
            Some(Foreign::Session) => vec![sid.clone()],
            Some(Foreign::Diff) => vec![diff_id.clone(), Value::Int(0), Value::Int(1)],
            Some(Foreign::Nothing(why)) => {
                assert!(!why.is_empty());
                continue;
            }
            None if method == "no.such" => continue,
            None => panic!("{method} has no line in the table of foreign credentials: say what another office gets"),
        };
        let fault = besieged.call(As::Other, method, &params).expect_err(method);
        let expected = match foreign.get(method) {
            Some(Foreign::Diff) => FaultCode::DiffExpired,
            _ => FaultCode::ForeignSession,
        };
        assert_eq!(fault.known(), Some(expected), "{method} by another office: {fault}");
        // inside a multicall it is no other
        let inner = Value::Struct(
            [("methodName".to_owned(), method.into()), ("params".to_owned(), Value::Array(params))]
                .into_iter()
                .collect(),
        );
        let answers = besieged.call(As::Other, "system.multicall", &[Value::Array(vec![inner])]).expect("answers");
        let code = answers.as_array().and_then(|all| all[0].as_struct()?.get("faultCode").cloned());
        assert_eq!(code, Some(Value::Int(expected.code())), "{method} in a multicall");
    }
    let known: Vec<&str> = protocol::methods::all().iter().map(|method| method.name).collect();
    let stale: Vec<&&str> = foreign.keys().filter(|name| !known.contains(*name)).collect();
    assert!(stale.is_empty(), "no such methods: {stale:?}");
    println!("{refused} refusals");
    besieged.call(As::Office, "sql_abort", &[sid]).expect("the session is untouched");
    besieged.stood();
}

#[test]
fn a_refusal_tells_nothing_about_users() {
    let besieged = Besieged::new();
    let body = write_call("get_station_name", &[]).expect("a call");
    let told = |who: As| {
        let answer = besieged.ask(who, &body);
        let lines = answer.text.lines().filter(|line| !line.to_lowercase().starts_with("date:"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (known, unknown, nobody) = (told(As::WrongPassword), told(As::Unknown), told(As::Nobody));
    assert_eq!(known, unknown);
    assert_eq!(known, nobody);
    assert!(known.starts_with("HTTP/1.1 401"), "{known}");
    besieged.stood();
}

#[test]
fn passwords_guessed_by_the_ten_thousand_neither_fit_nor_keep_the_office_out() {
    let besieged = Besieged::new();
    let body = write_call("get_station_name", &[]).expect("a call");
    let request = |user: &str, password: &str| {
        let header = super::besieged::base64(format!("{user}:{password}").as_bytes());
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {header}\r\nContent-Length: {}\r\n\r\n{}",
            body.len(),
            String::from_utf8_lossy(&body)
        )
    };
    // ten thousand, on connections that take a hundred each; names that exist and names that do not
    let mut statuses = BTreeMap::<u16, usize>::new();
    for round in 0..100 {
        let requests: String =
            (0..100).map(|n| request(if n % 2 == 0 { "ana" } else { "eve" }, &format!("guess{round}-{n}"))).collect();
        let last = request("ana", "last").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let text = String::from_utf8_lossy(&besieged.raw(format!("{requests}{last}").as_bytes())).into_owned();
        for answer in text.split("HTTP/1.1 ").skip(1) {
            let status = answer.get(..3).and_then(|code| code.parse().ok()).unwrap_or_default();
            *statuses.entry(status).or_default() += 1;
        }
        besieged.serves();
    }
    println!("{statuses:?}");
    assert!(statuses.values().sum::<usize>() >= 10_000, "{statuses:?}");
    assert!(statuses.keys().all(|status| [401, 429, 503].contains(status)), "{statuses:?}");
    // a new password counts at once, the old one no more; a user that is removed is out at once
    let shop = &besieged.world.shops[0];
    shop.add_user("eve", "elsewhere", "changed");
    assert_ne!(besieged.ask(As::Other, &body).status, 200);
    let state = shop.state_dir().to_str().expect("UTF-8").to_owned();
    run(Command::new(binary("shop-agent")).args(["user", "remove", "eve", "--state-dir", &state])).succeeded();
    let list = run(Command::new(binary("shop-agent")).args(["user", "list", "--state-dir", &state])).succeeded();
    assert_eq!(list, "ana\tcentre\n");
    besieged.stood();
}

#[test]
fn sessions_are_neither_guessed_nor_stolen_nor_played_again() {
    let besieged = Besieged::new();
    let sids: Vec<i64> = (0..4)
        .map(|_| besieged.call(As::Office, "sql_prepare", &[]).expect("a session").as_long().expect("a number"))
        .collect();
    // no counting up: the numbers are far from each other
    let near = sids.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 1000).count();
    assert!(near <= 1, "{sids:?}");
    let number = |sid: i64| Value::Int(i32::try_from(sid).expect("31 bits"));
    for guess in [0, 1, 2, i64::from(i32::MAX), sids[0] + 1, sids[0] - 1] {
        if !sids.contains(&guess) {
            let guess = Value::Int(i32::try_from(guess).unwrap_or(i32::MAX));
            besieged.call(As::Other, "sql_finish", std::slice::from_ref(&guess)).expect_err("a guess");
            besieged.call(As::Office, "sql_finish", &[guess]).expect_err("a guess");
        }
    }
    // known, it is of no use without the credential; and the session goes on for its owner
    let stolen = number(sids[0]);
    for method in ["sql_finish", "sql_abort", "sql_status"] {
        let fault = besieged.call(As::Other, method, std::slice::from_ref(&stolen)).expect_err("stolen");
        assert_eq!(fault.known(), Some(FaultCode::ForeignSession), "{method}");
        assert!(!fault.message.contains("centre"), "it does not tell whose it is: {fault}");
    }
    let sql = b"BEGIN; INSERT INTO product (id, name) VALUES (2, 'nut'); COMMIT;".to_vec();
    besieged.call(As::Office, "sql_create", &[stolen.clone(), Value::from(sql)]).expect("a chunk");
    besieged.call(As::Office, "sql_finish", std::slice::from_ref(&stolen)).expect("its owner");
    assert_eq!(besieged.shop().int("select count(*) from product"), 2);
    // the same words again, after somebody has taken the row away: nothing is applied a second time
    besieged.shop().execute("delete from product where id = 2");
    for _ in 0..3 {
        besieged.call(As::Office, "sql_finish", std::slice::from_ref(&stolen)).expect("the same answer");
    }
    assert_eq!(besieged.shop().int("select count(*) from product"), 1);
    besieged.stood();
}

/// The office's side: a password is in a file for its owner alone, and nowhere else.
#[test]
fn the_password_is_in_no_process_list_no_log_and_no_database() {
    use std::os::unix::fs::PermissionsExt;
    let besieged = Besieged::new();
    let world = &besieged.world;
    let file = besieged.password_file.to_str().expect("UTF-8").to_owned();
    let url = world.shops[0].url().to_owned();
    world.office(&["init"]).succeeded();
    let add = ["branch", "add", "north", "--url", &url, "--user", "ana", "--password-file", &file];
    let added = world.office(&add).succeeded();
    let mut run = Process::spawn(&mut world.office_command(&["-vv", "--json", "clone", "north", "--force"]));
    let proc = format!("/proc/{}", run.pid());
    let mut seen = String::new();
    while run.is_running() {
        for name in ["cmdline", "environ"] {
            if let Ok(bytes) = std::fs::read(format!("{proc}/{name}")) {
                seen.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(seen.contains("clone"), "the process was seen");
    assert!(run.wait().success(), "{}", run.stderr());
    let show = world.office(&["branch", "show", "north"]).succeeded();
    let database = world.office.rows("select t::text from sync.branch_synchronization t").concat();
    let database: String = database.into_iter().flatten().collect();
    let secrets = [PASSWORD, &super::besieged::base64(format!("ana:{PASSWORD}").as_bytes())];
    for secret in secrets {
        for (place, text) in [
            ("process list", &seen),
            ("stderr", &run.stderr()),
            ("stdout", &run.stdout()),
            ("add", &added),
            ("show", &show),
            ("database", &database),
        ] {
            assert!(!text.contains(secret), "{place} tells the password");
        }
    }
    // a file that others can read is refused, before anything is sent
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let refused = world.office(&["update", "north"]).ended_with(2);
    assert!(refused.stderr.contains("others can read it"), "{}", refused.stderr);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");

    // who, from where, when, which tables, how many rows, and the digest of what was sent
    let state = world.shops[0].state_dir().to_str().expect("UTF-8").to_owned();
    let audit = run_agent(&["audit", "--json", "--state-dir", &state]);
    let record: serde_json::Value =
        serde_json::from_str(audit.lines().next().expect("a record")).expect("one JSON object per line");
    assert_eq!(record["user"], "ana");
    assert_eq!(record["office"], "centre");
    assert_eq!(record["peer"], "127.0.0.1");
    assert_eq!(record["state"], "applied");
    assert_eq!(record["tables"]["product"], 1);
    assert_eq!(record["rows"], 1);
    assert_eq!(record["sha256"].as_str().map(str::len), Some(64));
    assert!(record["opened_at"].is_string() && record["ended_at"].is_string());
    assert!(!audit.contains("bolt"), "the record holds no values: {audit}");
    let people = run_agent(&["audit", "--state-dir", &state]);
    assert!(people.contains("clone by ana of centre from 127.0.0.1: 1 rows (product 1)"), "{people}");
}

fn run_agent(args: &[&str]) -> String {
    run(Command::new(binary("shop-agent")).args(args)).succeeded()
}
