//! Lines that have to be brought up: the commands that do it, their timeouts, and that every line comes down again.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::LinkError;
use crate::limits::LINE_DURATION_MAX;
use crate::stop::Stop;

/// The commands of a line. Branches whose commands are the same share the line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LineSettings {
    /// What the line is called where several branches share it although their commands differ: one modem, many numbers.
    pub(crate) name: Option<String>,
    /// The command that brings it up.
    pub(crate) up: Option<String>,
    /// The command that takes it down.
    pub(crate) down: Option<String>,
    /// How long either may take.
    pub(crate) timeout: Option<Duration>,
}

impl LineSettings {
    /// What tells the line from others; none when it is always there and needs no care.
    pub(crate) fn key(&self) -> Option<String> {
        match (&self.name, &self.up, &self.down) {
            (None, None, None) => None,
            (Some(name), ..) => Some(name.clone()),
            (None, up, down) => Some(format!("{up:?} {down:?}")),
        }
    }
}

/// A line that may have to be brought up. One that is dropped while it is up is taken down by [`hang_up_all`].
#[derive(Debug)]
pub(crate) struct Line {
    settings: LineSettings,
    /// Its number among the lines that are up, if it is up.
    up: tokio::sync::Mutex<Option<u64>>,
}

/// A line that is up, for whoever has to take it down when nobody else can.
struct LineUp {
    number: u64,
    down: String,
    timeout: Duration,
}

static LINES_UP: Mutex<Vec<LineUp>> = Mutex::new(Vec::new());
static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl Line {
    /// A line that is down.
    pub(crate) fn new(settings: LineSettings) -> Arc<Self> {
        Arc::new(Self { settings, up: tokio::sync::Mutex::new(None) })
    }

    /// Its commands.
    pub(crate) fn settings(&self) -> &LineSettings {
        &self.settings
    }

    /// Whether there is anything to dial.
    pub(crate) fn is_dialled(&self) -> bool {
        self.settings.up.is_some()
    }

    fn timeout(&self) -> Duration {
        self.settings.timeout.unwrap_or(LINE_DURATION_MAX)
    }

    /// Brings it up, unless it is up. After a failure it is taken down again: half a line is still a line that costs money.
    pub(crate) async fn up(&self, stop: &Stop) -> Result<(), LinkError> {
        let mut up = self.up.lock().await;
        if up.is_some() {
            return Ok(());
        }
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        // before the command runs: from now on it has to be taken down, whatever happens
        if let Some(down) = &self.settings.down {
            let line = LineUp { number, down: down.clone(), timeout: self.timeout() };
            LINES_UP.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        *up = Some(number);
        let Some(command) = &self.settings.up else { return Ok(()) };
        tracing::info!(command, "bringing the line up");
        let result = tokio::select! {
            result = shell(command, self.timeout()) => result.map_err(|reason| LinkError::Hook { command: command.clone(), reason }),
            () = stop.wait() => Err(LinkError::Stopped),
        };
        if result.is_err() {
            self.take_down(&mut up).await;
        }
        result
    }

    /// Takes it down and brings it up again, after it was lost.
    pub(crate) async fn redial(&self, stop: &Stop) -> Result<(), LinkError> {
        self.down().await;
        self.up(stop).await
    }

    /// Takes it down, if it is up. A failure is said and changes nothing.
    pub(crate) async fn down(&self) {
        let mut up = self.up.lock().await;
        self.take_down(&mut up).await;
    }

    async fn take_down(&self, up: &mut Option<u64>) {
        let Some(number) = *up else { return };
        if let Some(command) = &self.settings.down {
            hang_up(command, self.timeout()).await;
        }
        // only now: if this is dropped meanwhile, it is taken down once more
        LINES_UP.lock().unwrap_or_else(PoisonError::into_inner).retain(|line| line.number != number);
        *up = None;
    }
}

/// Takes down every line that is still up: for the moment before the program ends.
pub(crate) async fn hang_up_all() {
    loop {
        let line = LINES_UP.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(line) = line else { return };
        hang_up(&line.down, line.timeout).await;
    }
}

async fn hang_up(command: &str, timeout: Duration) {
    tracing::info!(command, "taking the line down");
    if let Err(reason) = shell(command, timeout).await {
        tracing::warn!(command, reason, "the line may still be up");
    }
}

/// Kills a process group when it is dropped, unless it was told not to.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // it may have ended by itself
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Runs a command with the shell, in a process group of its own: a Ctrl-C meant for us must not cut a dial-up in half,
/// and a timeout must end all that the command has started. What it says goes to stderr, for stdout is for data. What it
/// leaves in the background (as pppd does) is left alone.
async fn shell(command: &str, timeout: Duration) -> Result<(), String> {
    let mut process = tokio::process::Command::new("sh");
    process.arg("-c").arg(format!("{{ {command}\n}} >&2")).stdin(Stdio::null()).process_group(0);
    let mut child = process.spawn().map_err(|error| error.to_string())?;
    let mut group = Group(child.id());
    match tokio::time::timeout(timeout, child.wait()).await {
        Err(_) => Err(format!("it took longer than {} s and was ended", timeout.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(status)) => {
            group.0 = None;
            if status.success() { Ok(()) } else { Err(status.to_string()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(dir: &std::path::Path, up: &str) -> Arc<Line> {
        let log = dir.join("log").display().to_string();
        Line::new(LineSettings {
            name: None,
            up: Some(format!("echo up >> {log}; {up}")),
            down: Some(format!("echo down >> {log}")),
            timeout: Some(Duration::from_millis(1500)),
        })
    }

    fn log(dir: &std::path::Path) -> String {
        std::fs::read_to_string(dir.join("log")).unwrap_or_default().replace('\n', " ")
    }

    #[tokio::test]
    async fn a_line_that_is_up_is_not_dialled_again_and_is_taken_down_once() {
        let dir = tempfile::tempdir().unwrap();
        let line = line(dir.path(), "true");
        line.up(&Stop::default()).await.unwrap();
        line.up(&Stop::default()).await.unwrap();
        line.down().await;
        line.down().await;
        assert_eq!(log(dir.path()), "up down ");
    }

    #[tokio::test]
    async fn a_line_that_does_not_come_up_is_taken_down() {
        let dir = tempfile::tempdir().unwrap();
        let error = line(dir.path(), "exit 3").up(&Stop::default()).await.unwrap_err();
        assert!(matches!(&error, LinkError::Hook { reason, .. } if reason.contains('3')), "{error:?}");
        assert_eq!(log(dir.path()), "up down ");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_all_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let alive = dir.path().join("alive").display().to_string();
        let hangs = format!("(sleep 2; touch {alive}) & sleep 600");
        let error = line(dir.path(), &hangs).up(&Stop::default()).await.unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        assert_eq!(log(dir.path()), "up down ");
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert!(!dir.path().join("alive").exists());
    }

    #[tokio::test]
    async fn a_command_that_leaves_something_in_the_background_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        line(dir.path(), "sleep 5 &").up(&Stop::default()).await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_ends_the_dialling_and_takes_the_line_down() {
        let dir = tempfile::tempdir().unwrap();
        let stop = Stop::default();
        stop.request();
        let error = line(dir.path(), "sleep 600").up(&stop).await.unwrap_err();
        assert!(matches!(error, LinkError::Stopped));
        assert!(log(dir.path()).ends_with("down "));
    }

    #[test]
    fn branches_with_the_same_commands_share_a_line_and_so_do_those_that_name_one() {
        let of = |name: Option<&str>, up: &str| LineSettings {
            name: name.map(str::to_owned),
            up: Some(up.to_owned()),
            ..LineSettings::default()
        };
        assert_eq!(of(None, "pon").key(), of(None, "pon").key());
        assert_ne!(of(None, "pon a").key(), of(None, "pon b").key());
        assert_eq!(of(Some("modem"), "pon a").key(), of(Some("modem"), "pon b").key());
        assert_eq!(LineSettings::default().key(), None);
    }
}
