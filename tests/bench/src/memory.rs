//! Peak memory of both programs during a clone, by the size of what is cloned.

use std::time::Duration;

// this module has tests of its own
use ::tests::kit::{Plan, World};

use crate::measure::{Comparison, Settings, Target, compare_bytes};
use crate::processor::peak_memory;
use crate::world;

const SCHEMA: &str = "create table parcel (id bigint primary key, body text not null);";
const POLICY: &str = "name = \"parcels\"\n[tables]\nparcel = \"from-source\"\n";

/// All of them, or the size that was named alone.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let sizes = match settings.size {
        Some(bytes) => vec![(bytes, named(bytes))],
        None => vec![(100 << 20, "100 MB".to_owned()), (1 << 30, "1 GB".to_owned())],
    };
    let peaks_of = |bytes: u64| peaks(bytes / settings.share as u64);
    let small = peaks_of(10 << 20);
    let mut all = Vec::new();
    for (bytes, name) in sizes {
        let peaks = peaks_of(bytes);
        for (index, program) in ["office-client", "shop-agent"].iter().enumerate() {
            let what = format!("peak memory of {program}, clone of {name}");
            all.push(compare_bytes(&what, "a clone of 10 MB", Target::TimeAtMost(1.3), peaks[index], small[index]));
        }
    }
    all
}

/// A size as `--size` takes it: a number of MB or GB.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, shift) = match (text.strip_suffix("GB"), text.strip_suffix("MB")) {
        (Some(number), _) => (number, 30),
        (_, Some(number)) => (number, 20),
        _ => return Err("write it as 10GB or 500MB".to_owned()),
    };
    let number: u32 = number.trim().parse().map_err(|_| format!("{number:?} is no number"))?;
    Ok(u64::from(number) << shift)
}

fn named(bytes: u64) -> String {
    match bytes {
        bytes if bytes % (1 << 30) == 0 => format!("{} GB", bytes >> 30),
        bytes => format!("{} MB", bytes >> 20),
    }
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
        peaks[0] = peaks[0].max(peak_memory(client.pid()));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(client.wait().success(), "{}", client.stderr());
    peaks[1] = peak_memory(world.shop_mut("north").agent().pid());
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_as_people_write_it() {
        assert_eq!(parse_size("10GB").map(named), Ok("10 GB".to_owned()));
        assert_eq!(parse_size("500 MB").map(named), Ok("500 MB".to_owned()));
        assert!(parse_size("10").is_err() && parse_size("GB").is_err() && parse_size("-1GB").is_err());
    }
}
