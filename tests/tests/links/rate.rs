//! The rate limit of a branch, as the line itself counts it.

use std::time::{Duration, Instant};

use tests::process::Process;
use tests::proxy::Line;

use crate::fixture::{fill, fill_receipts, line_to, parcels};

/// Twenty times as fast as a real one, and so is the clock by which office-client keeps to the limit.
const CLOCK: f64 = 20.0;

/// What the branch's setting says: bytes per second of the line.
const LIMIT: u64 = 4 * 1024;

/// Bytes that may be on their way between the limit and the place where the line counts them: the largest chunk (five
/// seconds of the line) in the buffers of sockets, and heads of requests.
const BUFFERED: f64 = 5.0 * LIMIT as f64 + 10_000.0;

#[test]
fn no_more_bytes_a_second_cross_the_line_than_the_branch_is_allowed_in_either_direction() {
    let world = parcels(&["north"]);
    let proxy = line_to(&world, "north", Line::default());
    world.office(&["branch", "set", "north", "--rate-limit", "4KiB/s"]).succeeded();
    for (direction, bytes) in [("shop to office", 300_000), ("office to shop", 300_000), ("both", 150_000)] {
        if direction != "office to shop" {
            world.shop("north").database.execute(&fill_receipts(bytes));
        }
        if direction != "shop to office" {
            world.office.execute(&fill("parcel", bytes));
        }
        let before = proxy.counts();
        let mut command = world.office_command(&["--json", "--timeout", "20m", "update", "north"]);
        command.env("SYNC_LINE_CLOCK", CLOCK.to_string());
        let began = Instant::now();
        let mut client = Process::spawn(&mut command);
        let moved = || {
            let now = proxy.counts();
            now.to_agent + now.to_office - before.to_agent - before.to_office
        };
        let mut running = true;
        while running {
            running = client.is_running();
            let moved = moved();
            // the time is taken after the count: a machine that is slow makes the bound wider, never narrower
            let allowed = began.elapsed().as_secs_f64() * CLOCK * LIMIT as f64 + BUFFERED;
            assert!(moved as f64 <= allowed, "{direction}: {moved} bytes when {allowed:.0} were allowed");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(client.wait().success(), "{}", client.stderr());
        let (moved, line_s) = (moved(), began.elapsed().as_secs_f64() * CLOCK);
        println!("{direction}: {moved} bytes in {line_s:.1} s of the line at {LIMIT} bytes a second");
        assert!(moved > 250_000, "{moved} bytes tell nothing about a rate");
        // bodies keep to it exactly; what is not counted are heads, a few hundred bytes with each chunk
        assert!(moved as f64 <= 1.05 * LIMIT as f64 * line_s, "{direction}: {moved} bytes in {line_s:.1} s");
    }
    world.assert_agree(&["parcel", "receipt"]);
}
