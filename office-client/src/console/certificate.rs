//! The console's certificate while it runs: taken up again when its files change, and at SIGHUP, without a restart.
//! Connections that are open stay as they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Looks at the files now and then, and at each `hangup`, until it is ended.
pub(super) async fn keep_current(server: Option<Arc<tls::Server>>, mut hangup: Signal) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let force = tokio::select! {
            _ = hangup.recv() => true,
            _ = looks.tick() => false,
        };
        // without a certificate SIGHUP means nothing, and must not end the program
        let Some(server) = server.clone() else { continue };
        let looked = tokio::task::spawn_blocking(move || server.reload(force)).await;
        match looked {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(facts))) => tracing::warn!(fingerprint = %facts.fingerprint, "new certificate"),
            Ok(Err(error)) => {
                let error = crate::error::chain(&error);
                tracing::error!(error, "the certificate stays as it was: the new one cannot be used");
            }
            Err(error) => tracing::error!(%error, "looking at the certificate failed"),
        }
    }
}
