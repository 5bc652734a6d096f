//! The first full copy of an office's database, indexes and foreign keys included.

use std::process::Command;

use fixtures::generate::Size;
use tests::kit::{Plan, World};
use tests::process::run as finish;

use crate::measure::{Comparison, Settings, Target, compare, time};
use crate::world;

/// About 1.2 GB with indexes.
const SALE_ITEMS: u64 = 4_000_000;

/// Everything goes: the same rows that pg_dump takes.
const POLICY: &str = "name = \"bench\"\n[tables]\n\"*\" = \"from-source\"\n\"warehouse.*\" = \"from-source\"\n";

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let world = retail(settings);
    let ours = || time(|| world.office(&["clone", "north", "--force"]).succeeded());
    // into a new database each time, as a clone begins with empty tables
    let into = |script: &str| {
        let target = world::shop().database("copy");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("set -euo pipefail; {script}")]);
        shell.env("FROM", world.office.url()).env("TO", target.url()).env("DIR", dir.path().join("dump"));
        let elapsed = time(|| finish(&mut shell).succeeded());
        world::shop().remove_database(&target);
        elapsed
    };
    let piped = || into(r#"pg_dump -N sync "$FROM" | gzip | gunzip | psql -qXv ON_ERROR_STOP=1 "$TO" >/dev/null"#);
    let parallel = || into(r#"pg_dump -N sync -Fd -j2 -f "$DIR" "$FROM"; pg_restore -j2 -d "$TO" "$DIR""#);
    let what = "clone of a retail database";
    vec![
        compare(settings, what, "pg_dump | gzip | gunzip | psql", Target::SpeedAtLeast(2.0), ours, piped),
        compare(settings, what, "pg_dump -Fd -j2, pg_restore -j2", Target::Reported, ours, parallel),
    ]
}

fn retail(settings: &Settings) -> World {
    let mut data = Vec::new();
    fixtures::generate::office_data(Size::items(SALE_ITEMS / settings.share as u64), 1, &mut data).expect("memory");
    let data = String::from_utf8(data).expect("the fixtures are UTF-8");
    let plan = Plan { branches: vec!["north".into()], policy: POLICY.into(), data, ..Plan::default() };
    let world = World::in_clusters(world::office(), world::shop(), &plan);
    world.enrol();
    world.clone_all();
    world
}
