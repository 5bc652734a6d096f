//! Support archives: what whoever helps has to see is in them, what nobody may see is not (I21).

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::kit::{Plan, World};
use tests::process::run;

const SCHEMA: &str = "create table product (id bigint primary key, name text);
    create table sale (id bigint primary key, words text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"both\"\nsale = \"from-target\"\n";

/// Everything in an archive as one text, and the names of its files.
fn unpacked(path: &Path) -> (String, String) {
    let tar = |how: &str| run(Command::new("tar").arg(how).arg(path)).succeeded();
    (tar("-xzOf"), tar("-tzf"))
}

#[track_caller]
fn assert_clean(text: &str) {
    let found: Vec<&str> = text.lines().filter(|line| line.to_lowercase().contains("canary")).collect();
    assert!(found.is_empty(), "what nobody may see: {found:#?}");
}

#[test]
fn support_archives_of_both_ends_hold_what_helps_and_no_secret_or_value_of_a_row() {
    let mut world = World::new(&Plan::of(SCHEMA, POLICY, ""));
    let dir = world.dir().to_owned();
    let north = world.shop_mut("north");
    north.stop_agent();
    let password_file = north.add_user("centre", "default", "canary-password-of-the-office");
    north.start_guarded(&[]);
    let url = north.url().to_owned();
    world.office(&["init"]).succeeded();
    let file = password_file.display().to_string();
    let hook = "true canary-hook";
    world
        .office(&[
            "branch",
            "add",
            "north",
            "--url",
            &url,
            "--user",
            "centre",
            "--password-file",
            &file,
            "--link-up",
            hook,
        ])
        .succeeded();
    world.clone_all();
    // rows that are taken, one that waits in quarantine, one that both ends have changed
    let north = world.shop("north");
    world.office.execute(
        "insert into product values (1, 'canary-product'); alter table sale add check (words <> 'canary-bad')",
    );
    world.office(&["update", "north"]).succeeded();
    north.database.execute(
        "insert into sale values (1, 'canary-sale'), (2, 'canary-bad'); update product set name = 'canary-of-the-shop'",
    );
    world.office.execute("update product set name = 'canary-of-the-office'");
    world.office(&["update", "north"]);
    assert_eq!(world.office.int("select count(*) from sync.quarantine"), 1);
    // and a run that fails
    world.office(&["branch", "set", "north", "--url", "http://127.0.0.1:1"]).succeeded();
    world.office(&["--retry-for", "1s", "update", "north"]);
    world.office(&["branch", "set", "north", "--url", &url]).succeeded();

    let with_password = |database: &str| database.replacen("postgres@", "postgres:canary-password-of-the-database@", 1);
    let token = dir.join("token");
    fs::write(&token, "canary-token-of-the-monitor").expect("written");
    let shop_toml = dir.join("shop.toml");
    let (office_url, shop_url) = (with_password(world.office.url()), with_password(north.database.url()));
    assert!(office_url.contains("canary") && shop_url.contains("canary"));
    let text = format!(
        "# canary-in-a-comment\nbranch = \"north\"\ndatabase = \"{shop_url}\"\nstate_dir = \"{}\"\npolicy = \"{}\"\nmonitor_token_file = \"{}\"\n",
        north.state_dir().display(),
        world.policy_file().display(),
        token.display()
    );
    fs::write(&shop_toml, text).expect("written");
    let office_toml = dir.join("office.toml");
    let text = format!(
        "# canary-in-a-comment\ndatabase = \"{office_url}\"\nstate-dir = \"{}\"\nalert-command = \"echo canary-command\"\nalert-webhook = \"https://chat.example/canary-webhook\"\n",
        world.office_state_dir().display()
    );
    fs::write(&office_toml, text).expect("written");

    let as_typed = |program: &str, config: &Path, archive: &Path| {
        let mut command = Command::new(tests::process::binary(program));
        command.env("HOME", &dir).args(["check", "--config"]).arg(config).arg("--bundle").arg(archive);
        run(&mut command)
    };
    let (of_shop, of_office) = (dir.join("shop.tar.gz"), dir.join("office.tar.gz"));
    let said = as_typed("shop-agent", &shop_toml, &of_shop);
    assert!(of_shop.exists(), "{}{}", said.stdout, said.stderr);
    let (text, names) = unpacked(&of_shop);
    assert_clean(&text);
    for name in ["about.txt", "configuration.toml", "check.txt", "status.json", "sessions.json", "journal.txt"] {
        assert!(names.contains(&format!("support/{name}\n")), "{name} in\n{names}");
    }
    for known in [
        "branch = \"north\"",
        "postgres:(hidden)@",
        "ok    database: PostgreSQL",
        "\"state\": \"applied\"",
        "\"incarnation\": ",
    ] {
        assert!(text.contains(known), "{known} in\n{text}");
    }

    let said = as_typed("office-client", &office_toml, &of_office);
    assert!(of_office.exists(), "{}{}", said.stdout, said.stderr);
    let (text, names) = unpacked(&of_office);
    assert_clean(&text);
    for name in ["about.txt", "configuration.toml", "check.txt", "branches.jsonl", "runs.jsonl", "journal.txt"] {
        assert!(names.contains(&format!("support/{name}\n")), "{name} in\n{names}");
    }
    for known in [
        "alert-command = \"(hidden)\"",
        "ok    branch north link: ",
        "\"result\":\"unreachable\"",
        "\"result\":\"done\"",
        "127.0.0.1:1",
    ] {
        assert!(text.contains(known), "{known} in\n{text}");
    }

    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(&of_office).expect("the archive").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "and it is for its owner alone");
    let again = as_typed("office-client", &office_toml, &of_office);
    assert!(again.stderr.contains("exists"), "nothing is overwritten: {}", again.stderr);
}
