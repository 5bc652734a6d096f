//! The socket through which commands on the same machine talk to the running agent: `STATE_DIR/control/agent.sock`,
//! one line with a command, one line of JSON back. Its directory is closed to other users.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use replica::shop::{AuditRecord, Backlog, Vitals};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::rpc::Agent;

/// What a command may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Question {
    /// Where everything stands.
    Status,
    /// Bring back what the last clean put aside.
    RestoreBeforeClean,
    /// Who wrote to the shop: the newest sessions, so many of them.
    Audit(i64),
}

fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("control/agent.sock")
}

/// Asks the running agent; none when there is none.
pub(crate) fn ask(state_dir: &Path, question: Question) -> io::Result<Option<serde_json::Value>> {
    let mut stream = match std::os::unix::net::UnixStream::connect(socket_path(state_dir)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(cannot_ask(&socket_path(state_dir), &error)),
    };
    let line = serde_json::to_string(&question)?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(Some(serde_json::from_str(&answer)?))
}

/// What is said where no agent runs.
pub(crate) fn nobody(state_dir: &Path) -> String {
    format!(
        "no agent runs on {}; start it (systemctl start shop-agent, or shop-agent run), or name the directory of the one \
         that runs with --state-dir",
        state_dir.display()
    )
}

fn cannot_ask(path: &Path, error: &io::Error) -> io::Error {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; only the user that the agent runs as may ask it, and root: put sudo, or sudo -u USER, before the command"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("the agent cannot be asked at {}: {error}{way_out}", path.display()))
}

/// Answers until `stop`. `offices` names those whose watermarks are shown.
pub(crate) async fn serve<B: Backend>(
    state_dir: &Path,
    agent: Arc<Agent<B>>,
    offices: impl Fn() -> Vec<String>,
    tls: Option<Arc<tls::Server>>,
    stop: CancellationToken,
) {
    let path = socket_path(state_dir);
    let _ = std::fs::remove_file(&path); // the lock of the state directory says that nobody else has it
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "no control socket: status will not work");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (agent, offices, tls) = (Arc::clone(&agent), offices(), tls.clone());
        tokio::spawn(async move {
            let (reader, mut writer) = stream.into_split();
            let mut line = String::new();
            let reading = tokio::io::BufReader::new(reader.take(1000)).read_line(&mut line).await;
            let answer = match (reading, serde_json::from_str(&line)) {
                (Ok(_), Ok(question)) => answer(&agent, question, offices, tls.as_deref()).await,
                _ => serde_json::json!({ "error": "unknown question" }),
            };
            let _ = writer.write_all(format!("{answer}\n").as_bytes()).await;
        });
    }
    let _ = std::fs::remove_file(&path);
}

async fn answer<B: Backend>(
    agent: &Agent<B>,
    question: Question,
    offices: Vec<String>,
    tls: Option<&tls::Server>,
) -> serde_json::Value {
    match question {
        Question::RestoreBeforeClean => {
            agent.sessions().let_go().await;
            match agent.backend().restore_before_clean().await {
                Ok(rows) => serde_json::json!({ "rows": rows }),
                Err(error) => serde_json::json!({ "error": error.to_string() }),
            }
        }
        Question::Status => status(agent, offices, tls).await,
        Question::Audit(records) => match agent.backend().audit(records).await {
            Ok(records) => serde_json::json!({ "audit": records.iter().map(record).collect::<Vec<_>>() }),
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        },
    }
}

fn record(record: &AuditRecord) -> serde_json::Value {
    let time = |at: SystemTime| jiff::Timestamp::try_from(at).ok().map(|at| at.to_string());
    serde_json::json!({
        "sid": record.sid,
        "office": record.office,
        "user": record.caller,
        "peer": record.peer,
        "kind": record.kind,
        "state": record.state,
        "opened_at": time(record.opened_at),
        "ended_at": record.ended_at.and_then(time),
        "rows": record.rows,
        "tables": record.tables,
        "sha256": record.digest,
        "dry_run": record.dry_run,
        "fault": record.fault_code,
    })
}

async fn status<B: Backend>(agent: &Agent<B>, offices: Vec<String>, tls: Option<&tls::Server>) -> serde_json::Value {
    let mut watermarks = serde_json::Map::new();
    let mut facts = None;
    for office in offices {
        match agent.backend().facts(&office).await {
            Ok(found) => {
                watermarks.insert(office, found.last_watermark.clone().into());
                facts = Some(found);
            }
            Err(error) => return serde_json::json!({ "branch": agent.branch(), "error": error.to_string() }),
        }
    }
    let (vitals, backlog) = match tokio::try_join!(agent.backend().vitals(), agent.backend().backlog()) {
        Ok(found) => found,
        Err(error) => return serde_json::json!({ "branch": agent.branch(), "error": error.to_string() }),
    };
    let retention = agent.backend().retention();
    let sessions = match agent.sessions().list().await {
        Ok(sessions) => sessions,
        Err(fault) => return serde_json::json!({ "branch": agent.branch(), "error": fault.message }),
    };
    serde_json::json!({
        "branch": agent.branch(),
        "policy": agent.policy(),
        "incarnation": facts.as_ref().map(|facts| facts.incarnation.clone()),
        "database_version": facts.as_ref().map(|facts| facts.database_version.clone()),
        "id_low": facts.as_ref().and_then(|facts| facts.id_range).map(|range| range.0),
        "id_high": facts.as_ref().and_then(|facts| facts.id_range).map(|range| range.1),
        "ids_used": facts.as_ref().and_then(|facts| facts.ids_used),
        "watermarks": watermarks,
        "tls": tls.map(crate::server::tls::status),
        "quarantine": facts.as_ref().map(|facts| facts.quarantined.clone()).unwrap_or_default(),
        "sessions": sessions,
        "change_log_bytes": vitals.change_log_bytes,
        "retention": { "min_s": retention.min.as_secs(), "max_s": retention.max.as_secs() },
        "offices": backlog.iter().map(|backlog| office(backlog, &vitals)).collect::<Vec<_>>(),
        "capture_gaps": vitals.capture_gaps,
    })
}

/// What waits for an office, and when it was last there.
fn office(backlog: &Backlog, vitals: &Vitals) -> serde_json::Value {
    let contact = vitals.offices.iter().find(|contact| contact.office == backlog.office);
    let time = |at: Option<SystemTime>| at.and_then(|at| jiff::Timestamp::try_from(at).ok()).map(|at| at.to_string());
    serde_json::json!({
        "office": backlog.office,
        "backlog_rows": backlog.changes,
        "last_contact": contact.and_then(|contact| time(contact.last_contact)),
        "acknowledged_up_to": contact.and_then(|contact| time(contact.acknowledged_up_to)),
    })
}
