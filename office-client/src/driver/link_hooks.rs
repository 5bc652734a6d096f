//! Lines that have to be brought up, and may be used at certain hours only.

use replica::office::Branch;

use super::{DriveError, Job};

/// Refuses a run outside the branch's time window, unless the user insists.
pub(super) fn check_window(job: &Job<'_>) -> Result<(), DriveError> {
    let Some(window) = job.branch.settings.get("window") else { return Ok(()) };
    let range = parse_window(window).map_err(DriveError::Unusable)?;
    let now = jiff::Zoned::now();
    let minute = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
    if job.force || is_inside(range, minute) {
        return Ok(());
    }
    Err(DriveError::OutsideWindow { window: window.clone() })
}

/// Reads `22:00-06:00` as minutes of the day.
pub(crate) fn parse_window(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{text}` is no time window; write 22:00-06:00");
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    match (minute(from), minute(to)) {
        (Some(from), Some(to)) => Ok((from, to)),
        _ => Err(wrong()),
    }
}

/// Whether a minute lies in a window, which may go past midnight; one that ends where it begins is the whole day.
fn is_inside((from, to): (u16, u16), minute: u16) -> bool {
    if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to }
}

/// Brings the line up, if the branch has a command for it.
pub(super) async fn up(branch: &Branch) -> Result<(), DriveError> {
    let Some(command) = branch.settings.get("link_up") else { return Ok(()) };
    match shell(command).await {
        Ok(()) => Ok(()),
        Err(reason) => {
            // half a line is still a line that costs money
            down(branch).await;
            Err(DriveError::Hook { command: command.clone(), reason })
        }
    }
}

/// Takes the line down again, if the branch has a command for it; a failure is said and changes nothing.
pub(super) async fn down(branch: &Branch) {
    let Some(command) = branch.settings.get("link_down") else { return };
    if let Err(reason) = shell(command).await {
        tracing::warn!(branch = %branch.name, command, reason, "the line may still be up");
    }
}

async fn shell(command: &str) -> Result<(), String> {
    let mut process = tokio::process::Command::new("sh");
    // stdout is for data: what the command says goes to stderr
    process.arg("-c").arg(format!("{{ {command}\n}} >&2")).stdin(std::process::Stdio::null());
    match process.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_past_midnight() {
        let night = parse_window("22:00-06:00").unwrap();
        assert!(is_inside(night, 23 * 60) && is_inside(night, 0) && is_inside(night, 359));
        assert!(!is_inside(night, 360) && !is_inside(night, 12 * 60));
        let day = parse_window("08:30-18:00").unwrap();
        assert!(is_inside(day, 9 * 60) && !is_inside(day, 18 * 60));
        for wrong in ["22-6", "25:00-06:00", "22:00", "a:b-c:d"] {
            assert!(parse_window(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_is_an_error() {
        assert_eq!(shell("true").await, Ok(()));
        assert!(shell("exit 3").await.unwrap_err().contains('3'));
    }
}
