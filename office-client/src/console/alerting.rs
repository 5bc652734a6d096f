//! Tells those who do not look: the office's own command, and a program at an address.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use super::Console;
use super::overview::Overview;
use crate::alerts::Alert;
use crate::limits::CONSOLE_ALERT_DURATION_MAX;
use crate::link::Webhook;

/// Tells what nobody was told yet, in the background: neither a slow command nor a silent address holds up the console.
pub(super) async fn tell(console: &Arc<Console>, overview: &Overview) {
    let noted: Vec<_> =
        overview.alerts.iter().map(|alert| (alert.branch_or_office(), alert.kind, alert.words.as_str())).collect();
    let new = match console.office.note_alerts(&noted).await {
        Ok(new) => new,
        Err(error) => return tracing::warn!(error = %crate::error::chain(&error), "alerts are not noted"),
    };
    let new: Vec<Alert> = new.into_iter().filter_map(|at| overview.alerts.get(at).cloned()).collect();
    if new.is_empty() {
        return;
    }
    let console = Arc::clone(console);
    tokio::spawn(async move {
        let _one_after_the_other = console.telling.lock().await;
        for alert in &new {
            tracing::warn!(
                branch = alert.branch_or_office(),
                kind = alert.kind,
                words = alert.words,
                "somebody should look"
            );
            if let Some(command) = &console.settings.alert_command {
                run(command, alert, CONSOLE_ALERT_DURATION_MAX).await;
            }
            if let Some(webhook) = &console.settings.alert_webhook {
                post(webhook, alert).await;
            }
        }
    });
}

async fn run(command: &str, alert: &Alert, patience: Duration) {
    let mut child = tokio::process::Command::new("sh");
    child.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    child.env("ALERT_BRANCH", alert.branch_or_office());
    child.env("ALERT_KIND", alert.kind).env("ALERT_TEXT", &alert.words);
    let ended = match child.spawn() {
        Ok(mut child) => tokio::time::timeout(patience, child.wait()).await,
        Err(error) => return tracing::warn!(%error, "the alert command did not start"),
    };
    match ended {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::warn!(%status, "the alert command failed"),
        Ok(Err(error)) => tracing::warn!(%error, "the alert command failed"),
        Err(_) => tracing::warn!("the alert command took too long and was ended"),
    }
}

async fn post(webhook: &Webhook, alert: &Alert) {
    let text = match &alert.branch {
        Some(branch) => format!("{branch}: {}", alert.words),
        None => alert.words.clone(),
    };
    // `text` is what chat programs show; the rest is for programs
    let body = serde_json::json!({ "text": text, "branch": alert.branch, "kind": alert.kind, "words": alert.words });
    match webhook.post(&body.to_string(), CONSOLE_ALERT_DURATION_MAX).await {
        Ok(status) if (200..300).contains(&status) => {}
        Ok(status) => tracing::warn!(status, "the alert was not taken by the webhook"),
        Err(error) => tracing::warn!(error = %crate::error::chain(&error), "the webhook was not reached"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn boundary_of_console_alert_duration_max() {
        let dir = tempfile::tempdir().unwrap();
        let alert = Alert { branch: Some("north".into()), kind: "stale", words: "old".into() };
        let (soon, late) = (dir.path().join("soon"), dir.path().join("late"));
        let command = format!("echo \"$ALERT_BRANCH $ALERT_KIND $ALERT_TEXT\" > {}", soon.display());
        run(&command, &alert, CONSOLE_ALERT_DURATION_MAX).await;
        assert_eq!(std::fs::read_to_string(&soon).unwrap(), "north stale old\n");
        // one that takes longer is ended, and what it would have done is not done
        let began = std::time::Instant::now();
        let command = format!("read nothing < {0}/pipe; touch {1}", dir.path().display(), late.display());
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        run(&command, &alert, Duration::from_millis(50)).await;
        assert!(!late.exists() && began.elapsed() < CONSOLE_ALERT_DURATION_MAX);
    }
}
