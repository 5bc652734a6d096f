//! Deaths at the named points.

use std::time::Duration;

use replica::killpoint;
use tests::kit::World;
use tests::process::{Finished, Process};

use crate::stage::{BRANCH, Servers, Stage};

/// A program that has the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Agent,
    Client,
}

impl Program {
    /// The program in which a point lies.
    fn of(point: &str) -> Self {
        if point.starts_with("office.") { Self::Client } else { Self::Agent }
    }
}

/// A death: the program that has the point dies when it reaches it for that time; whether it did. When the agent has died,
/// a `patient` office tries on until it is back, another one gives up at once and is run again.
pub(crate) fn kill(stage: &Stage, servers: &Servers, point: &str, time: u64, patient: bool) -> bool {
    match Program::of(point) {
        Program::Agent => kill_agent(stage, servers, point, time, patient),
        Program::Client => kill_client(stage, servers, point, time),
    }
}

fn kill_client(stage: &Stage, servers: &Servers, point: &str, time: u64) -> bool {
    let what = format!("office-client killed at {point}:{time}");
    let mut case = stage.set_up(servers);
    case.start_agent(&[]);
    let mut command = case.world.office_command(stage.command);
    let first = tests::process::run(command.env(killpoint::VARIABLE, format!("{point}:{time}")));
    let harmed = first.code == Some(137);
    if harmed {
        case.assert_whole(stage, &what);
        case.run_again(stage, &what, &first);
    } else {
        assert!(first.is_success(), "{}, {what}\n{}{}", stage.name, first.stdout, first.stderr);
    }
    case.assert_complete(stage, &what);
    harmed
}

fn kill_agent(stage: &Stage, servers: &Servers, point: &str, time: u64, patient: bool) -> bool {
    let what =
        format!("shop-agent killed at {point}:{time}, the office {}", if patient { "trying on" } else { "giving up" });
    let mut case = stage.set_up(servers);
    case.start_agent(&[(killpoint::VARIABLE, &format!("{point}:{time}"))]);
    let mut client = start_client(&case.world, stage, if patient { "60s" } else { "0s" });
    while client.is_running() && case.world.shop_mut(BRANCH).agent().is_running() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // a client that has ended may have been the first to notice the agent's death, or may have needed nothing of what the
    // agent dies of: it does that on its own when it has answered, and has to come to it before it is told to stop
    if case.world.shop_mut(BRANCH).agent().is_running() && ends_well(&mut client) {
        case.world.shop_mut(BRANCH).agent().terminate();
    }
    let status = case.world.shop_mut(BRANCH).agent().wait();
    let harmed = status.code() == Some(137);
    assert!(
        harmed || status.success(),
        "{}, {what}: it ended with {status}\n{}",
        stage.name,
        case.world.shop_mut(BRANCH).agent().stderr()
    );
    if harmed {
        case.assert_whole(stage, &what);
    }
    case.start_agent(&[]);
    if harmed {
        let first = finished(client);
        if !first.is_success() {
            assert!(
                !patient,
                "{}, {what}: it ended with {:?}\n{}{}",
                stage.name, first.code, first.stdout, first.stderr
            );
            case.run_again(stage, &what, &first);
        }
    }
    case.assert_complete(stage, &what);
    harmed
}

fn ends_well(client: &mut Process) -> bool {
    client.wait().success()
}

/// Starts the stage's command; it tries again for that time after the line was lost.
pub(crate) fn start_client(world: &World, stage: &Stage, retry_for: &str) -> Process {
    let mut args = vec!["--retry-for", retry_for];
    args.extend(stage.command);
    world.start_office(&args)
}

/// Waits for its end.
pub(crate) fn finished(mut client: Process) -> Finished {
    let status = client.wait();
    Finished { code: status.code(), stdout: client.stdout(), stderr: client.stderr() }
}
