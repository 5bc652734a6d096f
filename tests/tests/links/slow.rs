//! Lines that are slow and drop, and agents that are killed: what was received is never sent again.

use std::time::{Duration, Instant};

use tests::proxy::{Line, Proxy};

use crate::fixture::{figure, fill, fill_receipts, line_to, objects, parcels};

/// Twenty times as fast as a real one, and so is the clock by which office-client measures it.
const CLOCK: u32 = 20;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// 33.6 kbit/s with 300 ms there and back, hung up every minute for five seconds, standing still for two now and then.
fn modem() -> Line {
    Line {
        rate: Some(4200 * u64::from(CLOCK)),
        latency: Duration::from_millis(300) / CLOCK,
        up_for: Some(Duration::from_secs(60) / CLOCK),
        down_for: Duration::from_secs(5) / CLOCK,
        stall: Some((100_000, Duration::from_secs(2) / CLOCK)),
        ..Line::default()
    }
}

#[test]
fn a_modem_that_hangs_up_every_minute_gets_everything_through_and_sends_little_twice() {
    let bytes = number("SYNC_LINE_BYTES", 1_000_000);
    let world = parcels(&["north"]);
    world.office.execute(&fill("parcel", bytes / 2));
    world.shop("north").database.execute(&fill_receipts(bytes / 2));
    let plan = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    let payload = ["pull_bytes", "push_bytes"].map(|name| figure(&plan, name).expect("a figure"));
    let payload = u64::try_from(payload.iter().sum::<i64>()).expect("a size");
    assert!(payload * 10 > bytes * 9, "{payload} bytes are fewer than meant");

    let proxy = line_to(&world, "north", modem());
    let began = Instant::now();
    let mut client =
        world.office_command(&["--json", "-v", "--retry-for", "10m", "--timeout", "20m", "update", "north"]);
    client.env("SYNC_LINE_CLOCK", CLOCK.to_string());
    let mut client = tests::process::Process::spawn(&mut client);
    // as long as it moves something it may take its time
    let bound = Duration::from_secs(60 + payload / 20_000);
    while client.is_running() {
        assert!(began.elapsed() < bound, "it takes too long\n{}", client.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let (stdout, stderr) = (client.stdout(), client.stderr());
    assert!(client.wait().success(), "{stdout}\n{stderr}");
    let counts = proxy.counts();
    let line_s = began.elapsed().as_secs_f64() * f64::from(CLOCK);
    // each whole chunk has an envelope and a gzip head, which nobody sends twice
    let once = payload + payload / 300 + 350 * counts.large;
    let again = (counts.bodies as f64 - once as f64) / payload as f64 * 100.0;
    println!(
        "{payload} bytes over 33.6 kbit/s in {:.0} min of the line, {} drops: {:.1} % of the bytes again, {:.1} % more on the wire in all; {stdout}",
        line_s / 60.0,
        counts.cuts,
        again,
        ((counts.to_agent + counts.to_office) as f64 / payload as f64 - 1.0) * 100.0
    );
    assert!(counts.cuts >= 2, "the line has dropped {} times only", counts.cuts);
    assert!(again <= 10.0, "{again:.1} % of the bytes were sent again");
    assert!(figure(&stdout, "redials").is_some_and(|redials| redials >= 1), "{stdout}");
    let chunk = figure(&stdout, "chunk_bytes").expect("the size of chunks");
    assert!((2048..=42_000).contains(&chunk), "chunks of {chunk} bytes are not about five seconds of the line");
    // with -v it is told how their size follows the line
    for told in ["chunks have another size", "chunks are halved"] {
        assert!(stderr.contains(told), "not told: {told}\n{stderr}");
    }
    world.assert_agree(&["parcel", "receipt"]);
    let still = world.office(&["--json", "update", "north"]).succeeded();
    assert_eq!((figure(&still, "pulled_rows"), figure(&still, "pushed_rows")), (Some(0), Some(0)));
    // the next estimate knows the line
    world.office.execute(&fill("parcel", 5000));
    let told = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    assert!(objects(&told)[0]["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{told}");
}

/// Most memory a running process has had, in bytes.
fn peak_memory(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[test]
fn i6_i16_a_clone_goes_on_where_it_was_whenever_its_agent_is_killed() {
    /// The largest chunk: what a kill may cost.
    const CHUNK: u64 = 1 << 20;
    /// Memory that either program may use, whatever passes through it.
    const MEMORY_MAX: u64 = 96 << 20;
    let bytes = number("SYNC_SOAK_BYTES", 12 << 20);
    let kills = number("SYNC_SOAK_KILLS", 3);
    let mut world = parcels(&["north"]);
    let step = 8 << 20;
    for _ in 0..bytes.div_ceil(step) {
        world.office.execute(&fill("parcel", step.min(bytes)));
    }
    let plan = world.office(&["--json", "clone", "north", "--dry-run"]).succeeded();
    let payload = u64::try_from(figure(&plan, "push_bytes").expect("a figure")).expect("a size");
    let proxy = Proxy::start(world.shop("north").url(), Line::default());
    world.office(&["branch", "set", "north", "--url", &proxy.url()]).succeeded();
    let began = Instant::now();
    let mut client = world.start_office(&["--quiet", "--retry-for", "10m", "clone", "north"]);
    let (mut memory, mut killed) = ([0, 0], 0);
    while client.is_running() {
        let shop = world.shop_mut("north");
        memory[0] = memory[0].max(peak_memory(client.pid()).unwrap_or(0));
        memory[1] = memory[1].max(peak_memory(shop.agent().pid()).unwrap_or(0));
        if killed < kills && proxy.counts().to_agent > payload / (kills + 1) * (killed + 1) {
            shop.kill_agent();
            shop.start();
            killed += 1;
        }
        assert!(began.elapsed() < Duration::from_secs(240 + bytes / 200_000), "{}", client.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    let (stdout, stderr) = (client.stdout(), client.stderr());
    assert!(client.wait().success(), "{stdout}\n{stderr}");
    let carried = proxy.counts();
    let again = carried.bodies.saturating_sub(payload);
    println!(
        "a clone of {payload} bytes (compressed) in {:.0} s, {killed} kills: {again} bytes of bodies more ({:.2} %); peak memory office {} MiB, agent {} MiB",
        began.elapsed().as_secs_f64(),
        again as f64 / payload as f64 * 100.0,
        memory[0] >> 20,
        memory[1] >> 20
    );
    assert_eq!(killed, kills);
    // what a kill may cost is more than the twentieth of a small clone
    assert!(again <= (payload / 20).max(kills * CHUNK), "{again} bytes were sent again");
    assert!(memory.iter().all(|peak| *peak < MEMORY_MAX), "{memory:?}");
    world.assert_agree(&["parcel"]);
}
