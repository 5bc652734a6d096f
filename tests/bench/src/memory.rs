//! Peak memory of both programs during a clone, by the size of what is cloned.

use std::time::Duration;

use tests::kit::{Plan, World};

use crate::measure::{Comparison, Settings, Target, compare_bytes};
use crate::world;

const SCHEMA: &str = "create table parcel (id bigint primary key, body text not null);";
const POLICY: &str = "name = \"parcels\"\n[tables]\nparcel = \"from-source\"\n";

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let sizes = [(10 << 20, "10 MB"), (100 << 20, "100 MB"), (1 << 30, "1 GB")];
    let [small, rest @ ..] = sizes.map(|(bytes, name)| (peaks(bytes / settings.share as u64), name));
    let mut all = Vec::new();
    for (peaks, name) in rest {
        for (index, program) in ["office-client", "shop-agent"].iter().enumerate() {
            let what = format!("peak memory of {program}, clone of {name}");
            all.push(compare_bytes(&what, "a clone of 10 MB", Target::TimeAtMost(1.3), peaks[index], small.0[index]));
        }
    }
    all
}

/// Most memory that office-client and shop-agent have had, in bytes.
fn peaks(bytes: u64) -> [u64; 2] {
    let plan = Plan::of(SCHEMA, POLICY, "");
    let mut world = World::in_clusters(world::office(), world::shop(), &plan);
    world.enrol();
    // each row is about 1,300 bytes that hardly compress
    world.office.execute(&format!(
        "insert into parcel select n, (select string_agg(md5(format('%s %s', n, m)), '') from generate_series(1, 40) m)
         from generate_series(1, {}) n",
        bytes / 1300
    ));
    let mut client = world.start_office(&["--quiet", "clone", "north"]);
    let mut peaks = [0, 0];
    while client.is_running() {
        peaks[0] = peaks[0].max(peak(client.pid()));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(client.wait().success(), "{}", client.stderr());
    peaks[1] = peak(world.shop_mut("north").agent().pid());
    peaks
}

fn peak(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) << 10
}
