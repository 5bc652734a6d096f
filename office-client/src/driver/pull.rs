//! The way from the shop: a frozen diff (or the answer of `diff`) is taken in whole, in one transaction with its watermark.

use protocol::methods::{Call as _, Diff, DiffOpen, DiffOptions, FrozenDiff};
use protocol::session::office::{Event, Task};
use protocol::xmlrpc::Value;

use super::receive::{file_error, received_bytes, remove, remove_others, sha256};
use super::{Drive, DriveError, Report};
use crate::limits::{DIFF_ID_CHARS_MAX, WATERMARK_CHARS_MAX};
use crate::link::Patience;
use replica::killpoint::reach;
use replica::safety::SafetyStop;

impl Drive<'_> {
    pub(super) async fn open_diff(&mut self, task: Task) -> Result<Event, DriveError> {
        self.begin_amounts(task).await?;
        self.job.progress.phase("asking for changes");
        let rate = self.rates.receive.and_then(|rate| i64::try_from(rate).ok());
        let call = DiffOpen { since: self.since.clone(), options: Some(DiffOptions { dry_run: false, rate }) };
        let diff = self.peer.ask(&call, Patience::Work).await?;
        check_frozen(&diff)?;
        reach("office.pull.opened");
        remove_others(self.job.office, &self.job.branch, &diff.id).await?;
        let rows = u64::try_from(diff.rows).unwrap_or(0);
        if task == Task::Update {
            let here = received_bytes(&self.job.office.receive_path(&self.job.branch, &diff.id)).await;
            let bytes = if rows == 0 { 0 } else { u64::try_from(diff.bytes).unwrap_or(0) };
            self.tell_estimate(Some((rows, bytes.saturating_sub(here)))).await?;
        }
        self.diff = Some(diff);
        Ok(Event::DiffOpened { rows })
    }

    /// What a shop adds after its clone is counted from there on.
    async fn begin_amounts(&self, task: Task) -> Result<(), DriveError> {
        if task == Task::Clone {
            self.job.office.forget_amounts(&self.job.branch, self.outgoing()?).await?;
        }
        Ok(())
    }

    pub(super) async fn apply_diff(&mut self, report: &mut Report) -> Result<Event, DriveError> {
        let diff = self.diff.clone().ok_or_else(|| DriveError::Confused("no open diff".into()))?;
        // the file was held against it when it was whole
        let digest = diff.sha256.to_ascii_lowercase();
        self.apply_received(Some(&diff.watermark), digest, report).await?;
        self.since = diff.watermark;
        Ok(Event::Done)
    }

    pub(super) async fn advance(&mut self, report: &mut Report) -> Result<Event, DriveError> {
        let diff = self.diff.as_ref().ok_or_else(|| DriveError::Confused("no open diff".into()))?;
        let applied = self.job.office.advance_timestamp(&self.job.branch, &diff.watermark).await?;
        report.pulled_rows += applied.rows;
        report.released += applied.released;
        report.conflicts += applied.conflicts;
        reach("office.pull.advanced");
        Ok(Event::Done)
    }

    pub(super) async fn ask_diff(&mut self, task: Task) -> Result<Event, DriveError> {
        if task == Task::Update && !self.told_estimate {
            self.told_estimate = true;
            self.tell_estimate(None).await?;
        }
        self.allowed(0)?;
        self.begin_amounts(task).await?;
        self.job.progress.phase("asking for changes");
        let path = self.job.office.receive_path(&self.job.branch, "answer");
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(|source| file_error("create", parent, source))?;
        }
        remove(&path).await?;
        let value = self.peer.ask_to_file("diff", &Diff { since: self.since.clone() }.params(), &path).await?;
        let empty = match &value {
            // servers that have no nil send an empty value or false
            value if value.is_nil_like() || value.as_bool() == Some(false) => true,
            Value::Base64(_) => false,
            other => return Err(DriveError::Confused(format!("diff answered with a {}", other.type_name()))),
        };
        if !empty {
            self.received = Some(path);
            reach("office.pull.received");
        }
        Ok(Event::Answered { empty })
    }

    pub(super) async fn apply_answer(&mut self, report: &mut Report) -> Result<Event, DriveError> {
        let path = self.received.as_ref().ok_or_else(nothing_received)?;
        let digest = sha256(path).await?;
        let watermark = self.apply_received(None, digest, report).await?;
        let advanced = watermark.as_ref().is_some_and(|watermark| *watermark != self.since);
        match watermark {
            Some(watermark) => self.since = watermark,
            None => {
                tracing::warn!(branch = %self.job.branch.name, "the diff carries no watermark: the same changes will come again")
            }
        }
        Ok(Event::AppliedAnswer { advanced })
    }

    /// Applies the received file, whose SHA-256 is given; returns the watermark that stands at its end.
    async fn apply_received(
        &mut self,
        watermark: Option<&str>,
        digest: String,
        report: &mut Report,
    ) -> Result<Option<String>, DriveError> {
        self.job.progress.phase("applying");
        let path = self.received.take().ok_or_else(nothing_received)?;
        let file = std::fs::File::open(&path).map_err(|source| file_error("open", &path, source))?;
        reach("office.pull.apply.before");
        let stop = if self.job.force { None } else { Some(SafetyStop::of(&self.job.branch.settings)?) };
        let branch = &self.job.branch;
        let applied = self.job.office.apply_pull_within(branch, watermark, Box::new(file), stop).await?;
        report.pulled_digest = Some(digest);
        reach("office.pull.applied");
        remove(&path).await?;
        report.pulled_rows += applied.rows;
        report.quarantined += applied.quarantined;
        report.released += applied.released;
        report.conflicts += applied.conflicts;
        Ok(applied.watermark)
    }
}

fn nothing_received() -> DriveError {
    DriveError::Confused("nothing was received".into())
}

/// What a peer says becomes part of a file name and of the database: it must look like what it claims to be.
pub(super) fn check_frozen(diff: &FrozenDiff) -> Result<(), DriveError> {
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable(&diff.watermark) || diff.watermark.len() > WATERMARK_CHARS_MAX {
        return Err(DriveError::Confused("the shop's watermark makes no sense".into()));
    }
    if diff.rows <= 0 {
        return Ok(());
    }
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if diff.id.is_empty() || diff.id.len() > DIFF_ID_CHARS_MAX || !diff.id.bytes().all(safe) || diff.bytes <= 0 {
        return Err(DriveError::Confused("the description of the shop's diff makes no sense".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(id: &str, watermark: &str, rows: i64) -> FrozenDiff {
        FrozenDiff { id: id.into(), watermark: watermark.into(), bytes: 10, rows, ..FrozenDiff::default() }
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        assert!(check_frozen(&diff("d-17", "2006-09-22T14:03:11.042317123Z", 1)).is_ok());
        for id in ["", "../x", "a/b", "a b", "ä"] {
            assert!(check_frozen(&diff(id, "2006-09-22T14:03:11Z", 1)).is_err(), "{id}");
        }
        assert!(check_frozen(&diff("", "2006-09-22T14:03:11Z", 0)).is_ok(), "an empty diff has no name");
        assert!(check_frozen(&diff("d", "", 0)).is_err());
        assert!(check_frozen(&diff("d", "a\nb", 0)).is_err());
    }

    #[test]
    fn boundary_of_diff_id_chars_max() {
        for (length, taken) in
            [(DIFF_ID_CHARS_MAX - 1, true), (DIFF_ID_CHARS_MAX, true), (DIFF_ID_CHARS_MAX + 1, false)]
        {
            assert_eq!(check_frozen(&diff(&"d".repeat(length), "2006-09-22T14:03:11Z", 1)).is_ok(), taken, "{length}");
        }
    }

    #[test]
    fn boundary_of_watermark_chars_max() {
        let max = WATERMARK_CHARS_MAX;
        for (length, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
            assert_eq!(check_frozen(&diff("d", &"1".repeat(length), 1)).is_ok(), taken, "{length}");
        }
    }
}
