//! Deaths at random instants.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::named::{finished, start_client};
use crate::stage::{BRANCH, Case, Servers, Stage};

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Agent,
    Client,
    OfficeServer,
    ShopServer,
}

/// How often which victim was killed, and how often it was too late.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) killed: BTreeMap<(&'static str, Victim), u32>,
    pub(crate) too_late: u32,
}

/// One kill, decided by the seed alone but for the speed of the machine.
pub(crate) fn kill(stages: &[Stage], servers: &Servers, seed: u64, tally: &mut Tally) {
    let mut random = StdRng::seed_from_u64(seed);
    let stage = &stages[random.random_range(0..stages.len())];
    let victims = [Victim::Agent, Victim::Client, Victim::OfficeServer, Victim::ShopServer];
    let victim = victims[random.random_range(0..victims.len())];
    let fraction = random.random_range(0.0..1.0);
    let patient: bool = random.random();
    let what = format!(
        "seed {seed}: {victim:?} killed at {fraction:.3} of the run, the office {}",
        if patient { "trying on" } else { "giving up" }
    );

    let mut case = stage.set_up(servers);
    case.start_agent(&[]);
    let began = Instant::now();
    let mut client = start_client(&case.world, stage, if patient { "60s" } else { "0s" });
    let instant = stage.duration.mul_f64(fraction);
    while client.is_running() && began.elapsed() < instant {
        std::thread::sleep(Duration::from_micros(200));
    }
    if !client.is_running() {
        tally.too_late += 1;
        let first = finished(client);
        assert!(first.is_success(), "{}, {what}\n{}{}", stage.name, first.stdout, first.stderr);
        case.assert_complete(stage, &what);
        return;
    }
    match victim {
        Victim::Client => client.kill(),
        _ => strike(&mut case, servers, victim, stage, &what),
    }
    let first = finished(client);
    case.assert_whole(stage, &what);
    if !first.is_success() {
        case.run_again(stage, &what, &first);
    }
    case.assert_complete(stage, &what);
    *tally.killed.entry((stage.name, victim)).or_default() += 1;
}

/// Kills what is not the client, looks at both ends, and brings it back.
fn strike(case: &mut Case<'_>, servers: &Servers, victim: Victim, stage: &Stage, what: &str) {
    match victim {
        Victim::Agent => {
            case.world.shop_mut(BRANCH).kill_agent();
            case.assert_whole(stage, what);
            case.start_agent(&[]);
        }
        Victim::OfficeServer => {
            servers.office.kill();
            servers.office.restart();
        }
        Victim::ShopServer => {
            servers.shop.kill();
            servers.shop.restart();
        }
        Victim::Client => {}
    }
    case.assert_whole(stage, what);
}
