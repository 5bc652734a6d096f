//! Changed rows that arrive as SQL text, half of them new, against COPY of as many new rows into the same indexed table.

use protocol::methods::SessionKind;
use tests::database::Database;
use tests::engine::Engine;
use tests::psql;

use crate::measure::{Comparison, Settings, Target, compare, time};
use crate::world;

/// Rows of the table before.
const TABLE: usize = 500_000;
/// Rows that arrive: half of them replace others, half are new.
const ROWS: usize = 200_000;

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    vec![
        of(settings, "from-source", "apply 200,000 changed rows, no capture", Target::TimeAtMost(2.5)),
        of(settings, "both", "apply 200,000 changed rows, with capture", Target::TimeAtMost(3.5)),
    ]
}

fn of(settings: &Settings, direction: &str, what: &str, target: Target) -> Comparison {
    let (table, rows) = (TABLE / settings.share, ROWS / settings.share);
    let policy = format!("name = \"bench\"\n[tables]\nproduct = \"{direction}\"\nsale = \"local\"\n");
    let engine = world::wait(Engine::in_cluster(world::shop(), world::SCHEMA, &policy, &["north"]));
    engine.database.execute(&world::products(1, table));
    world::wait(engine.clone_shop("north")).expect("a clone");

    let plain = world::shop().database("plain");
    plain.execute(world::SCHEMA);
    plain.execute(&world::products(1, table));
    let new = "from product where id > ";
    let back = |database: &Database| {
        database.execute(&format!("delete {new}{table}"));
        database.execute("vacuum product");
        database.execute("checkpoint");
    };
    plain.execute(&world::products(table + 1, table + rows));
    let rows_text = psql::run(&plain, format!("copy (select * {new}{table}) to stdout").as_bytes()).succeeded();
    let script = format!("copy product from stdin;\n{rows_text}\\.\n");
    back(&plain);

    let push = || {
        world::wait(async {
            let branch = engine.branch("north").await;
            let outgoing = engine.office.freeze_push(&branch).await.expect("a frozen push").expect("rows");
            let began = std::time::Instant::now();
            engine.send("north", &outgoing.key, SessionKind::Update, &outgoing.stream.id).await.expect("applied");
            let elapsed = began.elapsed();
            engine.office.record_push(&branch, &outgoing).await.expect("recorded");
            elapsed
        })
    };
    let ours = || {
        let replaced = rows / 2;
        engine
            .database
            .execute(&format!("update product set price = price + 1, changed_at = now() where id <= {replaced}"));
        engine.database.execute(&world::products(table + 1, table + rows - replaced));
        engine.shop("north").database.execute("checkpoint");
        let elapsed = push();
        engine.database.execute(&format!("delete {new}{table}"));
        push();
        engine.shop("north").database.execute("vacuum product");
        engine.shop("north").database.execute("checkpoint");
        elapsed
    };
    let baseline = || {
        let elapsed = time(|| plain.load(&script));
        back(&plain);
        elapsed
    };
    compare(settings, what, "COPY of as many new rows", target, ours, baseline)
}
