//! The main job with the real programs: an office clones shops and keeps them in step.

use tests::kit::{Plan, World};

const SALES: usize = 20;

#[test]
fn an_office_clones_two_shops_and_keeps_them_in_step() {
    let world = World::retail(&["north", "south"]);
    world.clone_all();
    for round in 0..2 {
        for (name, seed) in [("north", 10 + round), ("south", 20 + round)] {
            let shop = world.shop(name);
            shop.database.load(&fixtures::trade::day_of_sales(seed, SALES, i64::from(shop.id)));
        }
        world.office.load(&fixtures::trade::office_edits(30 + round, 40));
        let told = world.office(&["update", "--all", "--jobs", "2"]).succeeded();
        assert!(told.contains("north") && told.contains("south"), "{told}");
    }
    // who started it and what exactly came in stay known
    let history = world.office(&["--json", "history", "north", "-n", "1"]).succeeded();
    let run: serde_json::Value = serde_json::from_str(history.trim()).expect("one JSON object per line");
    let digest = run["pulled_digest"].as_str().expect("sales came in");
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{history}");
    assert!(run["started_by"].as_str().is_some_and(|by| !by.is_empty()), "{history}");

    for name in ["north", "south"] {
        world.office(&["update", name]).succeeded();
        let again = world.office(&["--json", "update", name]).succeeded();
        assert!(again.contains("\"pulled_rows\":0") && again.contains("\"pushed_rows\":0"), "{again}");
        world.office(&["verify", name]).succeeded();
    }
    assert_eq!(world.office.int("select count(*) from sale where id > 1000000000000"), 4 * SALES as i64);

    // how far the ids have come, and what that means
    let status = |name: &str| -> serde_json::Value {
        let line = world.office(&["--json", "status", name]).succeeded();
        serde_json::from_str(line.trim()).expect("one JSON object per line")
    };
    let north = status("north");
    assert!(north["ids_used"].as_i64().is_some_and(|used| used > 0), "{north}");
    assert!(north["shop_disk_free"].as_i64().is_some_and(|free| free > 0), "{north}");
    assert!(north["ids_days_left"].is_null(), "nobody can say after a moment: {north}");
    // thirty days ago a tenth was used, now it is a fifth: eight more such months
    world.office.execute(
        "insert into sync.shop_vitals
         select branch_id, day - 30, seen_at - interval '30 days', id_low, id_high, (id_high - id_low) / 10, disk_free
         from sync.shop_vitals;
         update sync.shop_vitals set ids_used = (id_high - id_low) / 5 where day = (select max(day) from sync.shop_vitals)",
    );
    assert_eq!(status("north")["ids_days_left"], 240.0);
    assert_eq!(status("north")["alerts"], serde_json::json!([]));
    world.office.execute(
        "update sync.shop_vitals set ids_used = (id_high - id_low) / 20 * 19, disk_free = 1000
         where day = (select max(day) from sync.shop_vitals)",
    );
    let said = world.office(&["status", "north"]).stderr;
    assert!(said.contains("95.0 % of its ids are used, the rest lasts about 1 day"), "{said}");
    assert!(said.contains("the disk of the shop had 1000 B left"), "{said}");

    // nothing is waiting, so a shop may be cloned again without force; its next sales get ids of a fresh range
    world.office(&["clone", "north"]).succeeded();
    let north = world.shop("north");
    north.database.load(&fixtures::trade::day_of_sales(99, SALES, i64::from(north.id)));
    world.office(&["update", "north"]).succeeded();
    assert_eq!(world.office.int("select count(*) from sale where id > 1000000000000"), 5 * SALES as i64);
    // what nobody has acknowledged is never thrown away unasked
    north.database.load(&fixtures::trade::day_of_sales(100, 1, i64::from(north.id)));
    let refused = world.office(&["clone", "north"]).ended_with(4);
    assert!(refused.stderr.contains("no office has acknowledged"), "{}", refused.stderr);
    assert_eq!(north.database.int("select count(*) from sale where id > 3000000000000"), SALES as i64 + 1);
    // the shop is as it was, so it can be done what the refusal asks for
    world.office(&["update", "north"]).succeeded();
    world.office(&["clone", "north"]).succeeded();
}

/// The facet test of the original system, with three shops, one of which is away for days (I1, I3).
#[test]
fn a_person_of_a_shop_gets_facets_on_both_sides_in_one_update_while_another_shop_is_away_for_days() {
    let schema =
        "create table person(id bigserial primary key, name text not null, since date not null default current_date);
        create table salesperson(id bigserial primary key, person_id bigint not null unique references person);
        create table login_user(id bigserial primary key, person_id bigint not null unique references person);";
    let policy = "name = \"facets\"\n[tables]\nperson = \"both\"\nsalesperson = \"both\"\nlogin_user = \"both\"\n";
    let branches = ["north", "south", "west"].map(str::to_owned).to_vec();
    let mut world = World::new(&tests::kit::Plan { branches, ..tests::kit::Plan::of(schema, policy, "") });
    world.enrol();
    world.clone_all();
    world.shop("north").database.execute("insert into person(name) values ('Dora')");
    world.office(&["update", "north"]).succeeded();
    world.office.execute("insert into salesperson(person_id) select id from person");
    world.shop("north").database.execute("insert into login_user(person_id) select id from person");
    world.office(&["update", "north"]).succeeded();
    let facets = "select count(*) from person p join salesperson s on s.person_id = p.id join login_user u on u.person_id = p.id";
    assert_eq!(
        (world.office.int(facets), world.shop("north").database.int(facets)),
        (1, 1),
        "one update, both have both"
    );

    // west cannot be reached, and goes on working; the others are served as ever
    world.shop_mut("west").stop_agent();
    for day in 1..=3 {
        world.shop("west").database.execute(&format!(
            "insert into person(name, since) values ('of west {day}', current_date - {});
             insert into login_user(person_id) select max(id) from person",
            30 - day
        ));
        for (name, database) in [("north", &world.shop("north").database), ("south", &world.shop("south").database)] {
            database.execute(&format!("insert into person(name) values ('of {name} {day}')"));
        }
        let told = world.office(&["--json", "--retry-for", "0s", "update", "--all"]).ended_with(3).stdout;
        assert_eq!(told.matches("\"result\":\"done\"").count(), 2, "{told}");
        assert_eq!(world.office.int("select count(*) from person where name like 'of %'"), 2 * day);
    }
    world.shop_mut("west").start();
    for _ in 0..2 {
        world.office(&["update", "--all"]).succeeded();
    }
    let all = "select count(*), count(*) filter (where name like 'of west%' and since < current_date - 20) from person";
    for shop in ["north", "south", "west"] {
        let found = world.shop(shop).database.rows(all);
        assert_eq!(found, [[Some("10".to_owned()), Some("3".to_owned())]], "old-dated rows reach {shop} too");
        world.office(&["verify", shop]).succeeded();
    }
    assert_eq!(world.shop("south").database.int(facets), 1);
    world.assert_agree(&["person", "salesperson", "login_user"]);
}

#[test]
fn tables_of_which_nothing_changes_stay_fresh_at_the_shop_as_long_as_the_office_calls() {
    let schema = "create table product(id bigint primary key); create table sale(id bigserial primary key);";
    let policy = "name = \"p\"\n[tables]\nproduct = \"from-source\"\nsale = \"from-target\"\n[table.product]\nmax_age = \"1d\"\n";
    let world = World::new(&Plan::of(schema, policy, "insert into product values (1)"));
    world.enrol();
    world.clone_all();
    let north = &world.shop("north").database;
    let stale = || north.rows("select \"table\", stale from sync.freshness where stale is not false");
    assert_eq!(stale(), Vec::<Vec<Option<String>>>::new());
    north.execute("update sync.table_freshness set as_of = as_of - interval '2 days'");
    assert_eq!(stale(), [[Some("product".to_owned()), Some("t".to_owned())]]);
    // of a rehearsal the shop learns nothing
    world.office(&["update", "north", "--dry-run"]).succeeded();
    assert_eq!(stale().len(), 1);
    world.office(&["update", "north"]).succeeded();
    assert_eq!(stale(), Vec::<Vec<Option<String>>>::new());
}
