//! Comparing both ends: counts and fingerprints of every table, over the same line.

use std::collections::BTreeMap;

use protocol::fault::FaultCode;
use protocol::methods::{DiffOpen, DiffOptions, Digest, DigestRequest, TableDigest};
use protocol::policy::Direction;
use protocol::session::repair::Found;
use replica::ReplicaError;
use replica::office::{Branch, Compared, CopyFingerprints, Office};

use super::rows::{self, Drill, FoundRow};
use super::{DriveError, Job, greet};
use crate::link::{LinkError, Patience, Peer};

/// Rows of one table that are told one by one.
const ROWS_TOLD_MAX: i64 = 200;

/// How one table compares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The table.
    pub(crate) table: String,
    /// Rows the office has of it for this branch.
    pub(crate) office_rows: i64,
    /// Rows the shop has; none when it does not know the table.
    pub(crate) shop_rows: Option<i64>,
    /// Whether both ends agree. Rows that a shop has purged and the office keeps are no difference.
    pub(crate) equal: bool,
    /// Rows of the shop that wait at the office, and may explain it.
    pub(crate) quarantined: i64,
    /// Rows on which they do not agree, where they were looked at.
    pub(crate) differing_rows: Option<i64>,
    /// Rows that flow from the shop and that only the office still has.
    pub(crate) kept_rows: i64,
    /// Sums of the columns that add up (`delta` in the policy): column, the office's, the shop's.
    pub(crate) sums: Vec<(String, String, Option<String>)>,
}

/// A row on which the two ends do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowDifference {
    /// The table.
    pub(crate) table: String,
    /// The key: a JSON object of texts.
    pub(crate) key: String,
    /// Which side has it: `office`, `shop`, `both`.
    pub(crate) side: &'static str,
    /// The columns that differ, where both sides have it.
    pub(crate) columns: Vec<String>,
}

/// How all tables of a branch compare.
#[derive(Debug, Clone, Default)]
pub(crate) struct Comparison {
    /// A line per table, parents before children. Empty when the peer offers no digests.
    pub(crate) tables: Vec<Difference>,
    /// The rows that differ; a bounded number of each table.
    pub(crate) rows: Vec<RowDifference>,
    /// Whether the peer offers digests at all.
    pub(crate) offered: bool,
    /// Changes that wait on either side and may explain differences.
    pub(crate) waiting_rows: i64,
    /// Rows that wait in quarantine on either side and may explain differences.
    pub(crate) quarantined: i64,
    /// Bytes sent on the wire for it.
    pub(crate) sent_bytes: u64,
    /// Bytes received from the wire for it.
    pub(crate) received_bytes: u64,
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
        greet::greet(&mut peer, job.office, &job.branch, greet::Contact::Look, false).await?;
        let compared = compare(&mut peer, job.office, &job.branch, None).await?;
        let counters = peer.client().counters();
        Ok(Comparison { sent_bytes: counters.sent(), received_bytes: counters.received(), ..compared })
    };
    let result = compared.await;
    line.down().await;
    result
}

/// Compares over a line on which hello has been said: with what the office copied for the shop just now, as far as that
/// goes, or with what it has.
pub(crate) async fn compare(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
    copied: Option<CopyFingerprints>,
) -> Result<Comparison, DriveError> {
    if !peer.abilities().digests {
        return Ok(Comparison::default());
    }
    let both = match copied {
        Some(copied) => side_by_side(peer, office, branch, of_copy(copied, office, branch)).await?.filter(agree),
        None => None,
    };
    let both = match both {
        Some(both) => Some(both),
        None => fingerprints(peer, office, branch).await?,
    };
    let Some(both) = both else { return Ok(Comparison::default()) };
    let mut comparison = Comparison { offered: true, ..Comparison::default() };
    for (ours, theirs) in both {
        let mut table = difference(&ours.digest, theirs.as_ref());
        if !table.equal && table.shop_rows.is_some() && peer.abilities().repairs {
            look_into(peer, office, branch, &ours, &mut table, &mut comparison.rows).await?;
        }
        comparison.tables.push(table);
    }
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

pub(super) type Fingerprints = Vec<(Compared, Option<TableDigest>)>;

/// Those of the copy; a connection that was lost after it was written is no reason for a clone to fail.
async fn of_copy(copied: CopyFingerprints, office: &Office, branch: &Branch) -> Result<Vec<Compared>, ReplicaError> {
    match copied.wait().await {
        Ok(compared) => Ok(compared),
        Err(error) => {
            tracing::debug!(branch = %branch.name, error = %crate::error::chain(&error), "the copy was not fingerprinted");
            office.digests(branch).await
        }
    }
}

fn agree(both: &Fingerprints) -> bool {
    both.iter().all(|(ours, theirs)| difference(&ours.digest, theirs.as_ref()).equal)
}

/// The tables of both ends; none when the peer offers no digests.
pub(super) async fn fingerprints(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
) -> Result<Option<Fingerprints>, DriveError> {
    side_by_side(peer, office, branch, office.digests(branch)).await
}

async fn side_by_side(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
    ours: impl Future<Output = Result<Vec<Compared>, ReplicaError>>,
) -> Result<Option<Fingerprints>, DriveError> {
    let scope = office.scope(branch).await?;
    let tables = office.compared_tables(branch).await?;
    let request = Digest(DigestRequest { tables, low: scope.low, high: scope.high, buckets: None, since: None });
    // each has a whole database to read: at the same time
    let (ours, theirs) = tokio::join!(ours, peer.ask(&request, Patience::Work));
    let ours = ours?;
    let theirs = match theirs {
        Ok(theirs) => theirs,
        Err(LinkError::Refused(fault)) if fault.is(FaultCode::UnknownMethod) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut theirs: BTreeMap<String, TableDigest> =
        theirs.into_iter().map(|digest| (digest.table.clone(), digest)).collect();
    Ok(Some(
        ours.into_iter()
            .map(|ours| {
                let theirs = theirs.remove(&ours.digest.table);
                (ours, theirs)
            })
            .collect(),
    ))
}

/// The tables whose fingerprints differ, parents before children, each with the rows of the larger side.
pub(super) async fn differing(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
) -> Result<Vec<(Compared, i64)>, DriveError> {
    let both = fingerprints(peer, office, branch).await?.ok_or(DriveError::CannotRepair)?;
    Ok(both
        .into_iter()
        .filter_map(|(ours, theirs)| {
            let theirs = theirs?;
            let rows = ours.digest.rows.max(theirs.rows);
            (!difference(&ours.digest, Some(&theirs)).equal).then_some((ours, rows))
        })
        .collect())
}

pub(super) fn difference(ours: &TableDigest, theirs: Option<&TableDigest>) -> Difference {
    Difference {
        table: ours.table.clone(),
        office_rows: ours.rows,
        shop_rows: theirs.map(|digest| digest.rows),
        equal: theirs.is_some_and(|theirs| theirs.rows == ours.rows && theirs.digest == ours.digest),
        sums: ours
            .sums
            .iter()
            .map(|sum| {
                let other = theirs.and_then(|theirs| theirs.sums.iter().find(|other| other.column == sum.column));
                (sum.column.clone(), sum.sum.clone(), other.map(|other| other.sum.clone()))
            })
            .collect(),
        ..Difference::default()
    }
}

/// Finds the rows that differ, and which of them are a difference that anybody has to mind.
async fn look_into(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
    compared: &Compared,
    table: &mut Difference,
    told: &mut Vec<RowDifference>,
) -> Result<(), DriveError> {
    let rows = table.office_rows.max(table.shop_rows.unwrap_or(0));
    let mut drill = Drill::begin(peer, office, branch, &table.table, rows).await?;
    while let Some(found) = drill.next(peer).await? {
        tell(peer, &drill, compared.direction, found, table, told).await?;
    }
    settle(table);
    Ok(())
}

/// After the rows of a table were looked at: what differs is known.
pub(super) fn settle(table: &mut Difference) {
    let count = *table.differing_rows.get_or_insert(0);
    table.equal = count == 0;
}

/// Counts rows that differ, and tells them one by one as long as there are not too many of the table.
pub(super) async fn tell(
    peer: &mut Peer,
    drill: &Drill<'_>,
    direction: Direction,
    found: Vec<FoundRow>,
    table: &mut Difference,
    told: &mut Vec<RowDifference>,
) -> Result<(), DriveError> {
    let mut both = Vec::new();
    for row in found {
        if direction == Direction::FromTarget && matches!(row.found, Found::AtOffice { .. }) {
            table.kept_rows += 1;
            continue;
        }
        let count = table.differing_rows.get_or_insert(0);
        *count += 1;
        if *count > ROWS_TOLD_MAX {
            continue;
        }
        let side = match row.found {
            Found::Differs => {
                both.push(row.key);
                continue;
            }
            Found::AtOffice { .. } => "office",
            Found::AtShop { .. } => "shop",
        };
        told.push(RowDifference { table: table.table.clone(), key: row.key, side, columns: Vec::new() });
    }
    for (key, ours, theirs) in drill.images(peer, &both).await? {
        let columns = match (ours, theirs) {
            (Some(ours), Some(theirs)) => rows::columns(&ours, &theirs),
            _ => Vec::new(),
        };
        told.push(RowDifference { table: table.table.clone(), key, side: "both", columns });
    }
    Ok(())
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

    fn digest(rows: i64, digest: &str) -> TableDigest {
        TableDigest { table: "a".into(), rows, digest: digest.into(), ..TableDigest::default() }
    }

    #[test]
    fn a_table_is_equal_only_when_count_and_fingerprint_are() {
        let ours = digest(1, "x");
        assert!(difference(&ours, Some(&digest(1, "x"))).equal);
        assert!(!difference(&ours, Some(&digest(2, "x"))).equal);
        assert!(!difference(&ours, Some(&digest(1, "y"))).equal);
        let unknown = difference(&ours, None);
        assert!(!unknown.equal && unknown.shop_rows.is_none());
    }
}
