//! Two tables of parcels, one for each direction, whose bodies cannot be compressed much.

use tests::kit::{Plan, World};
use tests::proxy::{Line, Proxy};

const SCHEMA: &str = "
    create table parcel (id bigint primary key, body text not null);
    create table receipt (id bigserial primary key, body text not null);
";

const POLICY: &str = r#"
name = "parcels"
[tables]
parcel  = "from-source"
receipt = "from-target"
"#;

/// An office and shops with empty tables, cloned.
pub(crate) fn parcels(branches: &[&str]) -> World {
    let mut plan = Plan::of(SCHEMA, POLICY, "");
    plan.branches = branches.iter().map(|name| (*name).to_owned()).collect();
    let world = World::new(&plan);
    world.enrol();
    world.clone_all();
    world
}

/// SQL that adds rows to a table, about so many bytes once they are compressed.
pub(crate) fn fill(table: &str, bytes: u64) -> String {
    // sixteen bytes of chance in each of 32 characters, which a good code makes about eighteen of
    let rows = (bytes / 720).max(1);
    format!(
        "insert into {table} (id, body) select s.start + n, (select string_agg(md5(format('%s %s %s', s.start, n, m)), '') from generate_series(1, 40) m)
         from generate_series(1, {rows}) n, (select coalesce(max(id), 0) as start from {table}) s"
    )
}

/// As [`fill`] for the shop, whose ids come from its range.
pub(crate) fn fill_receipts(bytes: u64) -> String {
    let rows = (bytes / 720).max(1);
    format!(
        "insert into receipt (body) select (select string_agg(md5(format('receipt %s %s', n, m)), '') from generate_series(1, 40) m)
         from generate_series(1, {rows}) n"
    )
}

/// Puts a line before a shop: from now on the office calls it there.
pub(crate) fn line_to(world: &World, shop: &str, line: Line) -> Proxy {
    let proxy = Proxy::start(world.shop(shop).url(), line);
    world.office(&["branch", "set", shop, "--url", &proxy.url()]).succeeded();
    proxy
}

/// A figure of a JSON object that stands on a line of its own; the first one that has it.
pub(crate) fn figure(text: &str, name: &str) -> Option<i64> {
    objects(text).iter().find_map(|object| object.get(name)?.as_i64())
}

/// All JSON objects that stand on lines of their own.
pub(crate) fn objects(text: &str) -> Vec<serde_json::Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(serde_json::Value::is_object).collect()
}
