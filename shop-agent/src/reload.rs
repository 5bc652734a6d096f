//! The policy while the agent runs: read again at SIGHUP (`systemctl reload`), without a restart. Open sessions go on. The
//! certificate is `server::tls`'s.

use std::sync::Arc;

use replica::shop::Shop;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::cli::NodeArgs;
use crate::rpc::{Agent, chain};
use crate::settings::Settings;
use crate::systemd;

/// Reads the configuration again at each `hangup`, until `stop`.
pub(crate) async fn keep_current(args: NodeArgs, agent: Arc<Agent<Shop>>, mut hangup: Signal, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => {}
        }
        let line = match reload(args.clone(), &agent).await {
            Ok(Some(name)) => {
                tracing::info!(policy = name, "another policy is in force");
                format!("branch {}: policy {name} is in force since the reload", agent.branch())
            }
            Ok(None) => {
                tracing::info!(policy = agent.policy(), "the policy is the same");
                format!("branch {}, policy {}: nothing new in the policy", agent.branch(), agent.policy())
            }
            Err(reason) => {
                tracing::error!(reason, "the policy stays as it was");
                format!(
                    "branch {}: the policy {} stays in force, the new one cannot be used",
                    agent.branch(),
                    agent.policy()
                )
            }
        };
        systemd::status(&line);
    }
}

/// Takes up the policy where it is another one; its name then.
async fn reload(args: NodeArgs, agent: &Agent<Shop>) -> Result<Option<String>, String> {
    let read = tokio::task::spawn_blocking(move || Settings::resolve(args).map_err(|error| chain(error.as_ref())));
    let policy = read.await.map_err(|error| error.to_string())??.policy;
    if policy.digest() == agent.backend().policy().digest() && policy.name() == agent.policy() {
        return Ok(None);
    }
    let name = policy.name().to_owned();
    agent.backend().change_policy(policy).await.map_err(|error| chain(&error))?;
    Ok(Some(name))
}
