//! What only a clone does: freeze a full copy, clean the shop, give it its ids, record it, compare.

use protocol::fault::FaultCode;
use protocol::methods::{Call as _, Clean, CleanWith, Diff, DiffOpen, DiffOptions, SetIdStart};
use protocol::session::office::Event;

use super::outbound::Outbound;
use super::receive::{file_error, remove};
use super::unfinished::{is_clone_unfinished, mark_clone, unmark_clone};
use super::{Drive, DriveError, Report, greet, verify};
use crate::link::{LinkError, Patience};
use replica::killpoint::reach;
use replica::office::CloneCopy;

impl Drive<'_> {
    pub(super) async fn freeze_clone(&mut self) -> Result<Event, DriveError> {
        self.job.progress.phase("freezing a copy");
        // a shop that works already keeps its tables until there is a whole copy to fill them with; an agent with the base
        // methods alone gets whole pieces of it
        let overlaps = self.job.branch.cloned_at.is_none() && self.peer.abilities().keyed_sessions;
        let copy = if overlaps {
            self.job.office.begin_clone(&self.job.branch).await?
        } else {
            CloneCopy::Whole(self.job.office.freeze_clone(&self.job.branch).await?)
        };
        reach("office.clone.frozen");
        let (event, outbound) = match copy {
            CloneCopy::Whole(outgoing) => {
                let event = Event::Frozen { resumed: outgoing.resumed, bytes: Some(outgoing.stream.bytes) };
                (event, Outbound::Frozen(outgoing))
            }
            CloneCopy::Copying(copying) => (Event::Frozen { resumed: false, bytes: None }, Outbound::Copying(copying)),
        };
        self.outbound = Some(outbound);
        Ok(event)
    }

    /// A run that has failed leaves a whole copy, which the next one sends on.
    pub(super) async fn keep_copy(&mut self) {
        if self.is_copying() {
            self.job.progress.phase("finishing the copy");
            tracing::info!(branch = %self.job.branch.name, "the copy is finished, for the next run");
            if let Err(error) = self.finish_copy().await {
                tracing::warn!(branch = %self.job.branch.name, error = %crate::error::chain(&error), "the copy was not finished");
            }
        }
    }

    /// From here on the shop's tables may be empty: no update may run before the clone is finished.
    pub(super) async fn mark_started(&mut self) -> Result<Event, DriveError> {
        self.was_unfinished |= is_clone_unfinished(&self.job.branch);
        mark_clone(self.job.office, &mut self.job.branch).await?;
        reach("office.clone.marked");
        Ok(Event::Done)
    }

    pub(super) async fn give_range(&mut self, fresh: bool) -> Result<Event, DriveError> {
        // nobody knows which ids a shop had used that is cloned again, so it gets others
        let fresh = fresh && self.job.branch.cloned_at.is_some();
        self.job.branch.id_range = Some(self.job.office.id_range(&self.job.branch, fresh).await?);
        reach("office.clone.ranged");
        Ok(Event::Done)
    }

    pub(super) async fn clean(&mut self) -> Result<Event, DriveError> {
        self.job.progress.phase("cleaning the shop");
        self.acknowledge().await?;
        reach("office.clone.clean.before");
        match &self.facts {
            Some(facts) => {
                let clean = CleanWith { force: self.job.force, begins: facts.begins.clone() };
                match self.peer.ask(&clean, Patience::Work).await {
                    Ok(()) => {}
                    Err(LinkError::Refused(fault)) if fault.is(FaultCode::CleanRefused) => {
                        self.unmark_started().await?;
                        return Err(LinkError::Refused(fault).into());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // a peer with the base methods alone takes no option
            None => self.peer.ask(&Clean, Patience::Work).await?,
        }
        reach("office.clone.cleaned");
        Ok(Event::Done)
    }

    /// A shop that has refused its clean is as it was: updates go on. After an earlier clone that was begun it may not be.
    async fn unmark_started(&mut self) -> Result<(), DriveError> {
        if self.was_unfinished {
            return Ok(());
        }
        unmark_clone(self.job.office, &mut self.job.branch).await
    }

    /// Tells the shop what the office has taken in: a shop keeps its changes, and refuses to be cleaned, until it knows.
    async fn acknowledge(&mut self) -> Result<(), DriveError> {
        // an office that was put back to before the first clone has nothing
        let since = self.job.branch.timestamp.clone().unwrap_or_else(|| "0".to_owned());
        if self.facts.is_none() {
            // with base methods alone the shop is told by asking: what comes has been taken in, or the clean is refused
            let path = self.job.office.receive_path(&self.job.branch, "told");
            if let Some(parent) = path.parent() {
                tokio::fs::create_dir_all(parent).await.map_err(|source| file_error("create", parent, source))?;
            }
            let told = self.peer.ask_to_file("diff", &Diff { since }.params(), &path).await;
            remove(&path).await?;
            return match told {
                Ok(_) | Err(LinkError::Refused(_)) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        let call = DiffOpen { since, options: Some(DiffOptions::default()) };
        match self.peer.ask(&call, Patience::Work).await {
            // a watermark that the shop no longer knows acknowledges nothing, and the clean says what that means
            Ok(_) | Err(LinkError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn set_id_start(&mut self) -> Result<Event, DriveError> {
        let Some((low, _)) = self.job.branch.id_range else {
            return Err(DriveError::Confused("no id range".into()));
        };
        self.peer.ask(&SetIdStart { id: low }, Patience::Work).await?;
        reach("office.clone.setidstart");
        Ok(Event::Done)
    }

    pub(super) async fn record_clone(&mut self, report: &mut Report) -> Result<Event, DriveError> {
        let timestamp = match &self.diff {
            Some(diff) => diff.watermark.clone(),
            // from a base peer: the watermark of what it had to say, or 0 until it says something
            None => self.since.clone(),
        };
        let outgoing = self.outgoing()?.clone();
        if self.facts.is_some() {
            // a clean may begin a new history of the shop's database: the one that counts is that of the first watermark
            self.facts =
                greet::greet(&mut self.peer, self.job.office, &self.job.branch, greet::Contact::Renew, true).await?;
        }
        let incarnation = self.facts.as_ref().map(|facts| facts.incarnation.as_str()).filter(|id| !id.is_empty());
        reach("office.clone.record.before");
        self.job.office.record_clone(&self.job.branch, &outgoing, &timestamp, incarnation).await?;
        reach("office.clone.recorded");
        unmark_clone(self.job.office, &mut self.job.branch).await?;
        report.pushed_rows = i64::try_from(outgoing.stream.rows).unwrap_or(i64::MAX);
        Ok(Event::Done)
    }

    pub(super) async fn compare(&mut self, report: &mut Report) -> Result<Event, DriveError> {
        self.job.progress.phase("comparing");
        let copied = self.fingerprints.take();
        let comparison = verify::compare(&mut self.peer, self.job.office, &self.job.branch, copied).await?;
        let differing = comparison.differing().count();
        let explained = comparison.waiting_rows > 0;
        report.comparison = Some(comparison);
        if differing > 0 && !explained {
            return Err(DriveError::Differs(differing));
        }
        Ok(Event::Done)
    }
}
