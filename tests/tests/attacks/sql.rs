//! SQL where it does not belong: in values, identifiers, names and policies. What the reader refuses is in bad_input.rs;
//! here is what it takes, and the second line of defence, the rights of the roles.

use protocol::xmlrpc::Value;
use tests::kit::{Plan, World};
use tests::runtime;

use super::besieged::{As, Besieged};

/// Texts that would do harm if they were ever put together with SQL.
const TEXTS: [&str; 12] = [
    "'; DROP TABLE product; --",
    "''); DELETE FROM till; --",
    "\\'; DROP TABLE product; --",
    "$$; DROP TABLE product; $$",
    "\\.\nDROP TABLE product;",
    "\\! touch /tmp/canary",
    "-- watermark: 2077-07-07T00:00:00Z",
    "--@ total {\"x\": 1}",
    "E'\\047; SELECT 1'",
    "${jndi:x} `id` $(id) %s %n",
    "\u{202e}\u{1b}[2J\u{7}",
    "\" or \"\"=\"",
];

#[test]
fn sql_in_values_is_stored_as_what_it_is() {
    let besieged = Besieged::new();
    for how in ["insert", "copy"] {
        for (n, text) in TEXTS.iter().enumerate() {
            let id = 100 + n;
            let script = match how {
                "insert" => format!(
                    "BEGIN; INSERT INTO product (id, name) VALUES ({id}, '{}') ON CONFLICT (id) DO UPDATE SET name = excluded.name; COMMIT;",
                    text.replace('\'', "''")
                ),
                _ => {
                    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
                    format!("BEGIN;\nCOPY product (id, name) FROM stdin;\n{id}\t{escaped}\n\\.\nCOMMIT;\n")
                }
            };
            let sid = besieged.call(As::Office, "sql_prepare", &[]).expect("a session");
            besieged.call(As::Office, "sql_create", &[sid.clone(), Value::from(script.into_bytes())]).expect("a chunk");
            besieged.call(As::Office, "sql_finish", &[sid]).unwrap_or_else(|fault| panic!("{how} {text:?}: {fault}"));
            let stored = besieged.shop().value(&format!("select name from product where id = {id}"));
            assert_eq!(stored.as_deref(), Some(*text), "{how}");
        }
        besieged.shop().execute("delete from product where id >= 100");
    }
    besieged.stood();
}

#[test]
fn boundary_of_row_bytes_max() {
    const ROW_BYTES_MAX: usize = 12 << 20;
    let besieged = Besieged::new();
    let key = "100\t";
    for (bytes, fits) in [(ROW_BYTES_MAX - 1, true), (ROW_BYTES_MAX, true), (ROW_BYTES_MAX + 1, false)] {
        let name = "x".repeat(bytes - key.len());
        for script in [
            format!("BEGIN;\nCOPY product (id, name) FROM stdin;\n{key}{name}\n\\.\nCOMMIT;\n"),
            format!(
                "BEGIN; INSERT INTO product (id, name) VALUES (100, '{name}') ON CONFLICT (id) DO UPDATE SET name = excluded.name; COMMIT;"
            ),
        ] {
            let sid = besieged.call(As::Office, "sql_prepare", &[]).expect("a session");
            for (seq, part) in script.as_bytes().chunks(4 << 20).enumerate() {
                let seq = Value::integer(i64::try_from(seq).expect("few"));
                besieged.call(As::Office, "sql_create", &[sid.clone(), Value::from(part), seq]).expect("a chunk");
            }
            let finished = besieged.call(As::Office, "sql_finish", &[sid]);
            assert_eq!(finished.as_ref().err().map(|fault| fault.code), (!fits).then_some(7), "{bytes}: {finished:?}");
            let stored = besieged.shop().int("select coalesce(max(length(name)), 0) from product where id = 100");
            assert_eq!(usize::try_from(stored).ok(), Some(if fits { name.len() } else { 0 }), "{bytes}");
            besieged.shop().execute("delete from product where id = 100");
        }
    }
    besieged.stood();
}

#[test]
fn an_identifier_is_one_of_the_policys_or_refused() {
    let besieged = Besieged::new();
    for table in [
        "product; drop table till",
        "product\"; drop table till; --",
        "\"product\"\"; drop table till; --\"",
        "\"product; drop table till\"",
        "public.product.id",
        "pg_catalog.pg_authid",
        "sync.node",
        "PRODUCT\u{0}",
        "\"Product\"",
        "(select 1)",
        "product p",
        "only product",
        "product*",
        "till",
        "sale",
    ] {
        for script in [
            format!("BEGIN; INSERT INTO {table} (id, name) VALUES (7, 'x'); COMMIT;"),
            format!("BEGIN; DELETE FROM {table} WHERE id IN (1); COMMIT;"),
            format!("BEGIN; UPDATE {table} SET name = 'x' WHERE id = 1; COMMIT;"),
            format!("BEGIN;\nCOPY {table} (id, name) FROM stdin;\n7\tx\n\\.\nCOMMIT;\n"),
            format!(
                "BEGIN; INSERT INTO product (id, \"name\"\"; drop table till; --\") VALUES (7, '{table}'); COMMIT;",
                table = table.replace('\'', "''")
            ),
        ] {
            let sid = besieged.call(As::Office, "sql_prepare", &[]).expect("a session");
            besieged
                .call(As::Office, "sql_create", &[sid.clone(), Value::from(script.clone().into_bytes())])
                .expect("a chunk");
            besieged.call(As::Office, "sql_finish", &[sid]).expect_err(&script);
        }
    }
    besieged.stood();
}

#[test]
fn names_lead_to_no_other_files() {
    let besieged = Besieged::new();
    for id in
        ["../users.json", "..", ".", "", "/etc/passwd", "d-1/../../users.json", "a\0b", "users.json", &"x".repeat(5000)]
    {
        let params = [Value::from(id), Value::Int(0), Value::Int(1000)];
        let body = protocol::xmlrpc::write_call("sync.diff_read", &params).unwrap_or_default();
        let answer = besieged.ask(As::Office, &body);
        assert!(answer.fault().is_some(), "{id:?}: {}", answer.text);
        assert!(!answer.text.contains("argon2") && !answer.text.contains("root:"), "{id:?} read a file");
    }
    let options = |key: &str| Value::Struct([("key".to_owned(), Value::from(key))].into_iter().collect());
    let before = std::fs::read_dir(besieged.world.shops[0].state_dir()).expect("the state directory").count();
    for key in ["../../escape", "/tmp/escape", "a/b"] {
        let sid = besieged.call(As::Office, "sql_prepare", &[options(key)]).expect("a key is only text");
        besieged.call(As::Office, "sql_create", &[sid.clone(), Value::from(&b"x"[..])]).expect("a chunk");
        besieged.call(As::Office, "sql_abort", &[sid]).expect("an end");
    }
    assert_eq!(std::fs::read_dir(besieged.world.shops[0].state_dir()).expect("the state directory").count(), before);

    // at the office: names of branches and policies
    let world = &besieged.world;
    world.office(&["init"]).succeeded();
    for name in ["../x", "a/b", "", "a b", "x'; drop table sync.peer; --", "a\nb", &"n".repeat(65)] {
        let refused = world.office(&["branch", "add", name, "--url", "http://127.0.0.1:1"]);
        assert!(!refused.is_success(), "{name:?}");
    }
    for name in ["..", "."] {
        // dots alone name no branch
        let refused = world.office(&["branch", "add", name, "--url", "http://127.0.0.1:1"]);
        assert!(!refused.is_success(), "{name:?}");
    }
    besieged.stood();
}

/// A policy file is not code: whatever stands in it, `policy check` changes nothing and shows nothing of other tables.
#[test]
fn a_policy_file_runs_nothing() {
    let world = World::new(&Plan::of(
        "create table product (id bigint primary key, name text); create table secret (id int primary key, word text);",
        "name = \"p\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n",
        "insert into product values (1, 'bolt'); insert into secret values (1, 'CANARY');",
    ));
    world.office(&["init"]).succeeded();
    let file = world.dir().join("hostile.toml");
    let policies = [
        "name = \"x'; drop table product; --\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n",
        "name = \"../../x\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n",
        "name = \"h\"\n[tables]\n\"product; drop table secret\" = \"both\"\nsecret = \"local\"\n",
        "name = \"h\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n[table.product]\nrows = \"true; drop table secret\"\n",
        "name = \"h\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n[table.product]\nrows = \"exists (select from secret)\"\n",
        "name = \"h\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n[table.product]\nrows = \"pg_sleep(1) is null\"\n",
        "name = \"h\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n[table.product]\nrows = \"lo_import('/etc/passwd') > 0\"\n",
        "name = \"h\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n[table.product]\nrows = \"id = 1) or (1 = 1\"\n",
        "name = \"h\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n[table.product]\ndelta = [\"name\\\"; drop table secret; --\"]\n",
        "name = \"h\"\n[tables]\nproduct = \"both\"\nsecret = \"local\"\n[table.product]\nhistory = \"1d\"\nhistory_column = \"id; drop table secret\"\n",
    ];
    for policy in policies {
        std::fs::write(&file, policy).expect("a file");
        let path = file.to_str().expect("UTF-8").to_owned();
        let checked = tests::process::run(world.office_command(&[]).args(["policy", "check", &path]));
        assert!(!checked.stdout.contains("CANARY") && !checked.stderr.contains("CANARY"), "{policy}");
        assert!(!checked.stderr.contains("panicked"), "{}", checked.stderr);
        assert_eq!(world.office.int("select count(*) from secret"), 1, "{policy}");
        assert_eq!(world.office.int("select count(*) from product"), 1, "{policy}");
    }
}

/// The roles: what the agent's role for received rows may do is what its tables need, and `check` tells what is more.
#[test]
fn check_tells_rights_that_are_too_many_and_a_restart_takes_grants_away() {
    let mut besieged = Besieged::new();
    let check = |besieged: &Besieged| besieged.world.shops[0].run("check", &[]);
    let sound = check(&besieged).succeeded();
    assert!(sound.contains("ok    rights too many") && sound.contains("ok    rights missing"), "{sound}");
    let role = besieged.shop().value("select apply_role from sync.node").expect("the apply role");
    besieged.shop().execute(&format!("alter role {role} createdb; grant pg_read_server_files to {role}"));
    besieged.shop().execute("grant create on schema public to public; grant select, delete on till to public");
    let wrong = check(&besieged).ended_with(1).stdout;
    for found in [
        "createdb: alter role",
        "member of pg_read_server_files",
        "create in schema public",
        "SELECT, DELETE on public.till: revoke select, delete on public.till from public",
    ] {
        assert!(wrong.contains(found), "does not tell {found}:\n{wrong}");
    }
    besieged.shop().execute(&format!("alter role {role} nocreatedb; revoke pg_read_server_files from {role}"));
    besieged.shop().execute("revoke create on schema public from public; revoke all on till from public");

    // what somebody has granted to the role itself goes at the next start
    besieged.shop().execute(&format!("grant all on till to {role}; grant truncate, trigger on product to {role}"));
    besieged.world.shops[0].stop_agent();
    besieged.world.shops[0].start_guarded(&[]);
    besieged.serves();
    let may = |right: &str, table: &str| {
        besieged.shop().value(&format!("select has_table_privilege('{role}', '{table}', '{right}')"))
    };
    assert_eq!(may("insert", "product").as_deref(), Some("t"));
    for (right, table) in [("select", "till"), ("insert", "till"), ("truncate", "product"), ("trigger", "product")] {
        assert_eq!(may(right, table).as_deref(), Some("f"), "{right} on {table}");
    }
    check(&besieged).succeeded();
}

/// Every connection of the product ends what takes too long, and looks names up where nobody can put others.
#[test]
fn every_connection_has_bounds_and_a_fixed_search_path() {
    let world = World::new(&Plan::of(
        "create table t (id int primary key);",
        "name = \"p\"\n[tables]\nt = \"from-source\"\n",
        "",
    ));
    let url = world.shops[0].database.url().to_owned();
    let settings = runtime::run(async move {
        let url = url.parse().expect("a URL");
        let database = replica::database::Database::open(&url, None).await.expect("a database");
        let client = database.connect("test").await.expect("a connection");
        let sql = "select current_setting('search_path'), current_setting('statement_timeout'), current_setting('lock_timeout'),
                          current_setting('idle_in_transaction_session_timeout')";
        let row = client.query_one(sql, &[]).await.expect("settings");
        (0..4).map(|at| row.get::<_, String>(at)).collect::<Vec<_>>()
    });
    assert_eq!(settings, ["pg_catalog", "6h", "1min", "1h"]);
}
