//! Bytes on the wire, as the line counts them.

use tests::kit::{Plan, World};
use tests::proxy::{Line, Proxy};

use crate::measure::{Comparison, Settings, Target, compare_bytes};

const POLICY: &str = "name = \"parcels\"\n[tables]\nparcel = \"from-source\"\nreceipt = \"from-target\"\n";
const SCHEMA: &str = "
create table parcel (id bigint primary key, body text not null);
create table receipt (id bigserial primary key, body text not null);
";

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let world = World::new(&Plan::of(SCHEMA, POLICY, ""));
    world.enrol();
    world.clone_all();
    let rows = 20_000 / settings.share;
    let body = "(select string_agg(md5(format('%s %s', n, m)), '') from generate_series(1, 40) m)";
    world.office.execute(&format!("insert into parcel select n, {body} from generate_series(1, {rows}) n"));
    let shop = world.shop("north");
    shop.database.execute(&format!("insert into receipt (body) select {body} from generate_series(1, {rows}) n"));
    let plan = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    let plan: serde_json::Value = serde_json::from_str(plan.lines().next().unwrap_or_default()).expect("JSON");
    let proxy = Proxy::start(shop.url(), Line::default());
    world.office(&["branch", "set", "north", "--url", &proxy.url()]).succeeded();
    world.office(&["update", "north"]).succeeded();
    let counts = proxy.counts();
    let directions =
        [("shop to office", counts.to_office, "pull_bytes"), ("office to shop", counts.to_agent, "push_bytes")];
    directions
        .into_iter()
        .map(|(direction, wire, payload)| {
            let payload = plan[payload].as_u64().expect("a size");
            let what = format!("bytes on the wire, {direction}");
            compare_bytes(&what, "the gzip payload alone", Target::TimeAtMost(1.05), wire, payload)
        })
        .collect()
}
