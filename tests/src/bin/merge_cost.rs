//! What it costs to merge rows that both sides may change, beside the same rows of a table that flows one way.
//!
//!     merge_cost [ROWS] [ROUNDS]
//!
//! Each round changes every row of both tables at a shop, and one row in a hundred at the office too, and takes the time
//! in which the office applies the pull of each table. The rounds are interleaved; figures are medians.

use std::fs::File;
use std::time::Instant;

use protocol::watermark::Since;
use tests::engine::{Engine, OFFICE};

const SCHEMA: &str = "
create table one_way(id bigint primary key, name text not null, phone text, email text, n int not null default 0);
create table both_ways(like one_way including all);
";

const POLICY: &str = r#"
name = "cost"
[tables]
one_way = "from-target"
both_ways = "both"
"#;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let rows = arguments.next().unwrap_or(100_000);
    let rounds = arguments.next().unwrap_or(5);
    let engine = Engine::new(SCHEMA, POLICY, &["north"]).await;
    engine.clone_shop("north").await.expect("a clone");
    let north = engine.shop("north");
    for table in ["one_way", "both_ways"] {
        north.database.execute(&format!(
            "insert into {table}(id, name, phone, email) select 1000000000000 + g, 'person ' || g, '555-' || g, g || '@example.org'
             from generate_series(1, {rows}) g"
        ));
    }
    engine.settle(4).await;
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for table in [round % 2, (round + 1) % 2] {
            let name = ["one_way", "both_ways"][table];
            north.database.execute(&format!("update {name} set phone = '{round}-' || id, n = n + 1; analyze {name}"));
            if table == 1 {
                engine
                    .database
                    .execute(&format!("update {name} set phone = 'office {round}' where id % 100 = {round}"));
            }
            engine.database.execute(&format!("vacuum analyze {name}"));
            let branch = engine.branch("north").await;
            let since = Since::parse(branch.timestamp.as_deref().unwrap_or("0")).expect("a watermark");
            let diff = north.shop.open_diff(OFFICE, since).await.expect("a diff");
            let file = File::open(north.shop.spool().data_path(&diff.id)).expect("its file");
            let began = Instant::now();
            let applied =
                engine.office.apply_pull(&branch, diff.watermark.as_deref(), Box::new(file)).await.expect("a pull");
            seconds[table].push(began.elapsed().as_secs_f64());
            assert_eq!(applied.conflicts > 0, table == 1, "{applied:?}");
            engine.push("north").await.expect("a push");
        }
    }
    let [one, both] = seconds.map(|mut list| {
        list.sort_by(f64::total_cmp);
        list
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    println!("{rows} rows, {rounds} rounds: from-target {one:.2?} s, both with 1 % conflicts {both:.2?} s");
    println!("ratio of the medians {:.2}; {peak}", both[both.len() / 2] / one[one.len() / 2]);
}
