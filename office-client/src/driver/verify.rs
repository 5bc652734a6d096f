//! Comparing both ends: counts and fingerprints of every table, over the same line.

use std::collections::BTreeMap;

use protocol::fault::FaultCode;
use protocol::methods::{DiffOpen, DiffOptions, Digest, DigestRequest, TableDigest};
use replica::office::{Branch, Office};

use super::{DriveError, Job, greet};
use crate::link::{LinkError, Patience, Peer};

/// How one table compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The table.
    pub(crate) table: String,
    /// Rows the office has of it for this branch.
    pub(crate) office_rows: i64,
    /// Rows the shop has; none when it does not know the table.
    pub(crate) shop_rows: Option<i64>,
    /// Whether the fingerprints agree.
    pub(crate) equal: bool,
    /// Rows of the shop that wait at the office, and may explain it.
    pub(crate) quarantined: i64,
}

/// How all tables of a branch compare.
#[derive(Debug, Clone, Default)]
pub(crate) struct Comparison {
    /// A line per table, in the office's order. Empty when the peer offers no digests.
    pub(crate) tables: Vec<Difference>,
    /// Whether the peer offers digests at all.
    pub(crate) offered: bool,
    /// Changes that wait on either side and may explain differences.
    pub(crate) waiting_rows: i64,
    /// Rows that wait in quarantine on either side and may explain differences.
    pub(crate) quarantined: i64,
}

impl Comparison {
    /// The tables that differ.
    pub(crate) fn differing(&self) -> impl Iterator<Item = &Difference> {
        self.tables.iter().filter(|table| !table.equal)
    }
}

/// Calls a shop and compares it with the office. Takes no lease: it changes nothing.
pub(crate) async fn verify(job: &Job<'_>) -> Result<Comparison, DriveError> {
    let line = super::link_hooks::own_line(&job.branch)?;
    line.up(&job.stop).await?;
    let compared = async {
        let mut peer = super::peer(job)?;
        greet::greet(&mut peer, job.office, &job.branch, false).await?;
        compare(&mut peer, job.office, &job.branch).await
    };
    let result = compared.await;
    line.down().await;
    result
}

/// Compares over a line on which hello has been said.
pub(crate) async fn compare(peer: &mut Peer, office: &Office, branch: &Branch) -> Result<Comparison, DriveError> {
    if !peer.abilities().digests {
        return Ok(Comparison::default());
    }
    let ours = office.digests(branch).await?;
    let tables = ours.iter().map(|digest| digest.table.clone()).collect();
    let theirs = match peer.ask(&Digest(DigestRequest { tables, low: None, high: None }), Patience::Work).await {
        Ok(theirs) => theirs,
        Err(LinkError::Refused(fault)) if fault.is(FaultCode::UnknownMethod) => return Ok(Comparison::default()),
        Err(error) => return Err(error.into()),
    };
    let mut comparison =
        Comparison { tables: differences(&ours, theirs), offered: true, waiting_rows: 0, quarantined: 0 };
    let quarantine = office.quarantine_of(branch).await?;
    for (name, rows) in quarantine.iter().map(|(name, rows)| (name.to_string(), *rows)) {
        comparison.quarantined += rows;
        if let Some(table) = comparison.tables.iter_mut().find(|table| table.table == name) {
            table.quarantined = rows;
        }
    }
    comparison.quarantined += office.shop_quarantine_counts().await?.get(&branch.name).copied().unwrap_or(0);
    if comparison.differing().next().is_some() {
        comparison.waiting_rows = waiting(peer, office, branch).await?;
    }
    Ok(comparison)
}

fn differences(ours: &[TableDigest], theirs: Vec<TableDigest>) -> Vec<Difference> {
    let theirs: BTreeMap<String, TableDigest> =
        theirs.into_iter().map(|digest| (digest.table.clone(), digest)).collect();
    ours.iter()
        .map(|ours| {
            let theirs = theirs.get(&ours.table);
            Difference {
                table: ours.table.clone(),
                office_rows: ours.rows,
                shop_rows: theirs.map(|digest| digest.rows),
                quarantined: 0,
                equal: theirs.is_some_and(|theirs| theirs.rows == ours.rows && theirs.digest == ours.digest),
            }
        })
        .collect()
}

/// Changes that wait at either side.
async fn waiting(peer: &mut Peer, office: &Office, branch: &Branch) -> Result<i64, DriveError> {
    let at_office = office.backlog(branch).await?.rows;
    let at_shop = match &branch.timestamp {
        Some(since) if peer.abilities().frozen_diffs => {
            let call = DiffOpen { since: since.clone(), options: Some(DiffOptions { dry_run: true, rate: None }) };
            match peer.ask(&call, Patience::Work).await {
                Ok(diff) => diff.rows,
                Err(LinkError::Refused(_)) => 0,
                Err(error) => return Err(error.into()),
            }
        }
        _ => 0,
    };
    Ok(at_office.saturating_add(at_shop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(table: &str, rows: i64, digest: &str) -> TableDigest {
        TableDigest { table: table.into(), rows, digest: digest.into() }
    }

    #[test]
    fn a_table_is_equal_only_when_count_and_fingerprint_are() {
        let ours = [digest("a", 1, "x"), digest("b", 1, "x"), digest("c", 1, "x"), digest("d", 1, "x")];
        let theirs = vec![digest("c", 2, "x"), digest("b", 1, "y"), digest("a", 1, "x")];
        let all = differences(&ours, theirs);
        let equal: Vec<bool> = all.iter().map(|table| table.equal).collect();
        assert_eq!(equal, [true, false, false, false]);
        assert_eq!(all[3].shop_rows, None);
    }
}
