//! The way to the shop: a frozen stream goes into a session there, and is applied whole or not at all.

use protocol::fault::{Fault, FaultCode};
use protocol::methods::{Fresh, PrepareOptions, SessionKind, SqlAbort, SqlFinish, SqlPrepare, SqlStatus};
use protocol::policy::GROUP_FIRST;
use protocol::session::office::{Event, RemoteState, Task};

use super::outbound::Outbound;
use super::{Drive, DriveError, Report};
use crate::limits::BUSY_DURATION_MAX;
use crate::link::{LinkError, Patience};
use replica::killpoint::reach;

/// Pause between two questions to a shop that is applying or busy.
const WAIT: std::time::Duration = std::time::Duration::from_secs(1);

impl Drive<'_> {
    pub(super) async fn freeze_push(&mut self) -> Result<Event, DriveError> {
        self.job.progress.phase("looking for changes");
        // a pull may have changed what the branch is known to have
        let branch = self.job.office.branch(&self.job.branch.name).await?;
        self.job.branch = branch;
        let Some(outgoing) = self.job.office.freeze_push_from(&self.job.branch, self.group).await? else {
            // a session has said so of the tables of its group
            let is_said = self.group > GROUP_FIRST && !self.job.office.has_later_groups(&self.job.branch).await?;
            if !is_said {
                self.tell_fresh().await;
            }
            return Ok(Event::NothingToSend);
        };
        reach("office.push.frozen");
        // what an earlier run has begun to send was looked at then
        if !self.job.force
            && !outgoing.resumed
            && let Err(error) = self.job.office.check_push(&self.job.branch, &outgoing.stream).await
        {
            self.job.office.drop_outgoing(&self.job.branch, &outgoing).await?;
            return Err(error.into());
        }
        let event = Event::Frozen { resumed: outgoing.resumed, bytes: Some(outgoing.stream.bytes) };
        self.outbound = Some(Outbound::Frozen(outgoing));
        Ok(event)
    }

    /// Tells the shop that there is nothing for it: what it has is as good as new. Once: that it does not learn it is no harm to
    /// anything but its own idea of how old its tables are.
    async fn tell_fresh(&mut self) {
        if self.rehearses || !self.peer.abilities().freshness {
            return;
        }
        if let Err(error) = self.peer.once(&Fresh, Patience::Quick).await {
            tracing::debug!(error = %error, branch = self.job.branch.name, "the shop does not know that it is up to date");
        }
    }

    pub(super) async fn discard(&mut self) -> Result<Event, DriveError> {
        match self.outbound.take() {
            Some(Outbound::Frozen(outgoing)) => self.job.office.drop_outgoing(&self.job.branch, &outgoing).await?,
            Some(Outbound::Copying(copying)) => self.job.office.drop_copying(&self.job.branch, copying).await?,
            None => {}
        }
        reach("office.push.dropped");
        self.sid = None;
        Ok(Event::Done)
    }

    pub(super) async fn prepare(&mut self, task: Task) -> Result<Event, DriveError> {
        let options = if self.peer.abilities().keyed_sessions {
            let kind = match task {
                Task::Clone => SessionKind::Clone,
                Task::Update => SessionKind::Update,
            };
            let base = match task {
                Task::Clone => None,
                // what the stream rests on, which may be an earlier run's
                Task::Update => self.outgoing()?.base.clone(),
            };
            Some(PrepareOptions {
                key: Some(self.outbound_key()?.to_owned()),
                kind: Some(kind),
                base,
                // of a clone a failing row is a fault: the shop would begin without it
                quarantine: Some(task == Task::Update),
                dry_run: self.rehearses.then_some(true),
            })
        } else {
            None
        };
        let sid = self.peer.ask(&SqlPrepare { options }, Patience::Quick).await?;
        self.sid = Some(sid);
        reach("office.push.prepared");
        Ok(Event::Prepared)
    }

    pub(super) async fn ask_status(&mut self) -> Result<Event, DriveError> {
        let sid = self.sid()?;
        let status = self.peer.ask(&SqlStatus { sid }, Patience::Quick).await?;
        let Some(state) = RemoteState::from_wire(&status.state) else {
            return Err(DriveError::Confused(format!("session state `{}`", status.state)));
        };
        if state == RemoteState::Refused {
            let why = status.error.unwrap_or_else(|| "the session was refused".to_owned());
            self.fault = Some(Fault::new(FaultCode::StatementFailed, why));
        }
        Ok(Event::Status {
            state,
            next_seq: u64::try_from(status.next_seq).unwrap_or(0),
            bytes: u64::try_from(status.bytes).unwrap_or(0),
        })
    }

    pub(super) async fn abort(&mut self) -> Result<Event, DriveError> {
        let sid = self.sid()?;
        self.peer.ask(&SqlAbort { sid }, Patience::Quick).await?;
        Ok(Event::Done)
    }

    pub(super) async fn finish(&mut self) -> Result<Event, DriveError> {
        self.job.progress.phase("the shop applies");
        let sid = self.sid()?;
        reach("office.push.finish.before");
        // a peer that tells the state of a session is asked for it; another one keeps the line until it is done
        let patience = if self.peer.abilities().keyed_sessions { Patience::Quick } else { Patience::Work };
        match self.peer.once(&SqlFinish { sid }, patience).await {
            Ok(_) => {
                reach("office.push.finished");
                Ok(Event::Done)
            }
            Err(error @ (LinkError::Failed { .. } | LinkError::Unknown { .. })) => {
                self.peer.pause(error).await?;
                Ok(Event::Lost)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn wait(&mut self) -> Result<Event, DriveError> {
        let now = tokio::time::Instant::now();
        let since = *self.busy_since.get_or_insert(now);
        if now.duration_since(since) > BUSY_DURATION_MAX {
            let why = self.fault.take().map_or_else(|| "it is still applying".to_owned(), |fault| fault.message);
            return Err(DriveError::Busy(why));
        }
        self.job.progress.phase("waiting for the shop");
        tokio::select! {
            () = tokio::time::sleep(WAIT) => Ok(Event::Done),
            () = self.job.stop.wait() => Err(DriveError::Interrupted),
        }
    }

    /// Rows of the push that wait at the shop. The push has been recorded: that the line drops now is no failure, and the
    /// next hello tells how many wait in all.
    async fn ask_what_waits(&mut self, report: &mut Report) {
        let (true, Some(sid)) = (self.peer.abilities().keyed_sessions, self.sid) else { return };
        match self.peer.once(&SqlStatus { sid }, Patience::Quick).await {
            Ok(status) if status.quarantined > 0 => {
                report.quarantined_at_shop += status.quarantined;
                let known = self.facts.as_ref().map_or(0, |facts| facts.quarantined);
                let waiting = known.saturating_add(status.quarantined);
                if let Err(error) = self.job.office.note_shop_quarantine(&self.job.branch, waiting).await {
                    tracing::warn!(branch = %self.job.branch.name, error = %crate::error::chain(&error), "what waits at the shop was not noted");
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::info!(branch = %self.job.branch.name, %error, "the shop did not say what waits there")
            }
        }
    }

    pub(super) async fn record_push(&mut self, report: &mut Report) -> Result<Event, DriveError> {
        let outgoing = self.outgoing()?.clone();
        reach("office.push.record.before");
        self.job.office.record_push(&self.job.branch, &outgoing).await?;
        reach("office.push.recorded");
        report.pushed_rows += i64::try_from(outgoing.stream.rows).unwrap_or(i64::MAX);
        self.ask_what_waits(report).await;
        self.outbound = None;
        self.sid = None;
        self.group = outgoing.next_group;
        Ok(Event::Recorded)
    }
}
