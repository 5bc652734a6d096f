//! Changed rows that arrive as SQL text, against COPY of the same rows into the same indexed table.

use protocol::methods::SessionKind;
use tests::engine::Engine;
use tests::psql;

use crate::measure::{Comparison, Settings, Target, compare, time};
use crate::world;

const ROWS: usize = 200_000;

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    vec![
        of(settings, "from-source", "apply 200,000 changed rows, no capture", Target::TimeAtMost(2.5)),
        of(settings, "both", "apply 200,000 changed rows, with capture", Target::TimeAtMost(3.5)),
    ]
}

fn of(settings: &Settings, direction: &str, what: &str, target: Target) -> Comparison {
    let rows = ROWS / settings.share;
    let policy = format!("name = \"bench\"\n[tables]\nproduct = \"{direction}\"\nsale = \"local\"\n");
    let engine = world::wait(Engine::in_cluster(world::shop(), world::SCHEMA, &policy, &["north"]));
    engine.database.execute(&world::products(1, rows));
    world::wait(engine.clone_shop("north")).expect("a clone");

    let plain = world::shop().database("plain");
    plain.execute(world::SCHEMA);
    plain.execute(&world::products(1, rows));
    let rows_text = psql::run(&plain, b"copy product to stdout").succeeded();
    let script = format!("copy product from stdin;\n{rows_text}\\.\n");

    let ours = || {
        engine.database.execute("update product set price = price + 1, changed_at = now()");
        engine.shop("north").database.execute("checkpoint");
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
    let baseline = || {
        plain.execute("delete from product");
        plain.execute("vacuum product");
        plain.execute("checkpoint");
        time(|| plain.load(&script))
    };
    compare(settings, what, "COPY of the same rows", target, ours, baseline)
}
