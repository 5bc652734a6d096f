//! Control totals at the end of a run that has moved something: rows and money of both ends, for the history.

use std::collections::BTreeMap;

use protocol::methods::{Digest, DigestRequest, TableDigest};
use protocol::session::office::Task;
use replica::office::ControlTotal;

use super::{Drive, DriveError, Report};
use crate::link::Patience;

impl Drive<'_> {
    /// Counts them. The run is done already: what cannot be counted is missing in the history, and no more.
    pub(super) async fn count_totals(&mut self, task: Task, report: &mut Report) {
        let moved = report.pulled_rows + report.pushed_rows + report.released > 0;
        if !(moved || task == Task::Clone) || !self.peer.abilities().digests {
            return;
        }
        match self.totals().await {
            Ok(totals) => report.totals = totals,
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(branch = %self.job.branch.name, error, "the control totals of this run were not counted");
            }
        }
        for total in report.totals.iter().filter(|total| total.differs()) {
            tracing::warn!(
                branch = %self.job.branch.name,
                table = total.table,
                office_rows = total.office_rows,
                shop_rows = total.shop_rows,
                "the control totals differ: verify the branch"
            );
        }
    }

    async fn totals(&mut self) -> Result<Vec<ControlTotal>, DriveError> {
        let (office, name) = (self.job.office, &self.job.branch.name);
        // as it is now: with the watermark and the id range of this run
        let branch = office.branch(name).await?;
        let ours = office.control_totals(&branch).await?;
        let (false, Some(since)) = (ours.is_empty(), branch.timestamp.clone()) else { return Ok(Vec::new()) };
        self.job.progress.phase("counting");
        let scope = office.scope(&branch).await?;
        let request = DigestRequest {
            tables: ours.iter().map(|table| table.digest.table.clone()).collect(),
            low: scope.low,
            high: scope.high,
            buckets: None,
            since: Some(since),
        };
        let theirs = self.peer.once(&Digest(request), Patience::Work).await?;
        let theirs: BTreeMap<String, TableDigest> =
            theirs.into_iter().map(|digest| (digest.table.clone(), digest)).collect();
        let both = ours.iter().filter_map(|ours| Some(ControlTotal::of(ours, theirs.get(&ours.digest.table)?)));
        Ok(both.collect())
    }
}
