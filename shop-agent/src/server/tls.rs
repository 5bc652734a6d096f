//! The agent's certificate while it runs: taken up again when its files change, and at SIGHUP, without a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::rpc::chain;
use crate::settings::{Settings, TlsFiles};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// From how many days before its end on a certificate is complained about.
const WARN_DAYS: i64 = 21;

/// Makes the self-signed certificate where one is wanted and missing, and takes up whichever there is.
pub(crate) fn open(files: &TlsFiles, settings: &Settings) -> Result<tls::Server, tls::FileError> {
    if let Some(dir) = &files.made_in {
        tls::ensure_self_signed(dir, &names(settings))?;
    }
    let server = tls::Server::open(files.files.clone())?;
    say("certificate", &server.facts());
    Ok(server)
}

/// Names under which the shop may be called; a caller that pins the fingerprint does not care.
fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !settings.listen.ip().is_unspecified() {
        names.push(settings.listen.ip().to_string());
    }
    if let super::http::Hosts::Local(hosts) = &settings.hosts {
        names.extend(hosts.iter().cloned());
    }
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        names.push(host.trim().to_owned());
    }
    names.retain(|name| name.is_ascii() && !name.is_empty());
    names.sort();
    names.dedup();
    names
}

/// Looks at the files now and then, and at each `hangup`, until `stop`.
pub(crate) async fn keep_current(server: Option<Arc<tls::Server>>, mut hangup: Signal, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let force = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => true,
            _ = looks.tick() => false,
        };
        let Some(server) = server.clone() else { continue };
        let looked = tokio::task::spawn_blocking(move || server.reload(force)).await;
        match looked {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(facts))) => say("new certificate", &facts),
            Ok(Err(error)) => {
                tracing::error!(error = chain(&error), "the certificate stays as it was: the new one cannot be used");
            }
            Err(error) => tracing::error!(%error, "looking at the certificate failed"),
        }
    }
}

fn say(what: &str, facts: &tls::CertificateFacts) {
    tracing::info!(fingerprint = %facts.fingerprint, "{what}");
    let Some(validity) = facts.validity else { return };
    let now = jiff::Timestamp::now();
    match validity.at(now) {
        Err(reason) => tracing::error!("the certificate is {reason}; callers that do not pin it refuse it"),
        Ok(text) if validity.not_after.duration_since(now).as_secs() < WARN_DAYS * 86_400 => {
            tracing::warn!("the certificate is {text}; renew it");
        }
        Ok(_) => {}
    }
}

/// What `status` tells about the certificate.
pub(crate) fn status(server: &tls::Server) -> serde_json::Value {
    let facts = server.facts();
    serde_json::json!({
        "fingerprint": facts.fingerprint.to_string(),
        "not_before": facts.validity.map(|validity| validity.not_before.to_string()),
        "not_after": facts.validity.map(|validity| validity.not_after.to_string()),
    })
}

/// What `check` says about the certificate.
///
/// # Errors
/// If it cannot be used, or not now.
pub(crate) fn check(files: &TlsFiles) -> Result<String, String> {
    if files.made_in.is_some() && !files.files.certificate.exists() {
        return Ok("self-signed, made at the first start".to_owned());
    }
    let facts = files.files.check().map_err(|error| chain(&error))?;
    let validity = match facts.validity {
        Some(validity) => validity.at(jiff::Timestamp::now())?,
        None => "validity unknown".to_owned(),
    };
    Ok(format!("fingerprint {}, {validity}", facts.fingerprint))
}
