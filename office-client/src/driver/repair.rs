//! `verify --repair`: brings both ends together without losing a row that only one of them has.

use std::collections::BTreeMap;

use protocol::history::History;
use protocol::methods::{Baseline, BaselineOptions, Mark, SetIdStart};
use protocol::policy::Direction;
use protocol::session::office::Task;
use protocol::session::repair::{Found, Mend, mend};
use replica::office::{Compared, Loser, RepairBase, Side};

use super::greet::{self, Contact};
use super::rows::{Drill, FoundRow};
use super::{DriveError, Job, Report, verify};
use crate::link::{Patience, Peer};

/// What a repair did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Rows that the office sends again.
    pub(crate) sent: i64,
    /// Rows that the shop sends again.
    pub(crate) pulled: i64,
    /// Rows that the office has taken back.
    pub(crate) taken_back: i64,
    /// Whether the shop has got a fresh range of ids.
    pub(crate) fresh_range: bool,
}

/// Compares, marks what differs, and records where updates go on from; the update that carries it is the caller's.
pub(crate) async fn repair(job: &Job<'_>) -> Result<Repaired, DriveError> {
    super::allowance::Allowance::of(&job.branch, job.office, job.force).await?.check(0)?;
    let lease = job.office.lease(&job.branch).await?;
    let line = super::link_hooks::own_line(&job.branch)?;
    line.up(&job.stop).await?;
    let repaired = async {
        let mut peer = super::peer(job)?;
        repair_leased(job, &mut peer).await
    };
    let result = repaired.await;
    line.down().await;
    lease.release().await;
    result
}

async fn repair_leased(job: &Job<'_>, peer: &mut Peer) -> Result<Repaired, DriveError> {
    let (office, branch) = (job.office, &job.branch);
    let Some(facts) = greet::greet(peer, office, branch, Contact::Look, false).await? else {
        return Err(DriveError::CannotRepair);
    };
    if !peer.abilities().repairs {
        return Err(DriveError::CannotRepair);
    }
    let history = facts.history.as_deref().and_then(History::parse).unwrap_or(History::Same);
    let known = branch.incarnation.as_ref() == Some(&facts.incarnation);
    // a copy of a shop's database is not told from one that was restored: ids may have been drawn twice
    let unnoticed = known && matches!(history, History::AgentOlder | History::Forked);
    let shop_restored = !known || unnoticed;
    let base = office.begin_repair(branch).await?;
    let baseline = peer.ask(&Baseline(BaselineOptions { restored: unnoticed, adopted: false }), Patience::Work).await?;
    let mut repaired = Repaired::default();
    if shop_restored || clashes(job, facts.id_low, facts.id_high).await? {
        job.progress.phase("giving a fresh id range");
        let (low, _) = office.id_range(branch, true).await?;
        peer.ask(&SetIdStart { id: low }, Patience::Work).await?;
        repaired.fresh_range = true;
    }
    job.progress.phase("comparing");
    for (table, rows) in verify::differing(peer, office, branch).await? {
        let mut drill = Drill::begin(peer, office, branch, &table.digest.table, rows).await?;
        while let Some(found) = drill.next(peer).await? {
            if job.stop.requested() {
                return Err(DriveError::Interrupted);
            }
            mend_rows(job, peer, &drill, &base, &table, found, &mut repaired).await?;
        }
    }
    office.record_repair(branch, &base, &baseline.watermark, &baseline.incarnation, shop_restored).await?;
    greet::greet(peer, office, branch, Contact::Renew, true).await?;
    Ok(repaired)
}

/// Whether the shop draws ids that the office has given to somebody else.
pub(super) async fn clashes(job: &Job<'_>, low: Option<i64>, high: Option<i64>) -> Result<bool, DriveError> {
    let (Some(low), Some(high)) = (low, high) else { return Ok(false) };
    match job.office.learn_range(&job.branch, low, high).await {
        Ok(()) => Ok(false),
        Err(replica::ReplicaError::IdRange(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Marks rows that differ, so that the next update carries them by the direction of their table.
pub(super) async fn mend_rows(
    job: &Job<'_>,
    peer: &mut Peer,
    drill: &Drill<'_>,
    base: &RepairBase,
    table: &Compared,
    found: Vec<FoundRow>,
    repaired: &mut Repaired,
) -> Result<(), DriveError> {
    let (office, branch, name) = (job.office, &job.branch, &table.digest.table);
    let mut todo: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut losing = Vec::new();
    for row in found {
        let decided = mend(table.direction, row.found, base.office_restored);
        let loses = match (table.direction, row.found, decided) {
            // the conflict rule keeps the loser by itself
            (Direction::Both, ..) | (_, _, Mend::Keep | Mend::TakeBack) => false,
            // what was changed after the comparison began replaces what was there as every change does
            _ if row.changed.meanwhile() => false,
            (_, Found::Differs, _) => true,
            (Direction::FromSource, Found::AtShop { office_deleted }, _) => !office_deleted,
            _ => false,
        };
        if loses {
            losing.push(row.key.clone());
        }
        for side in match decided {
            Mend::Keep => &[][..],
            Mend::Send => &["send"],
            Mend::Pull => &["pull"],
            // it travels whole from the end that has changed it; where both have, their changes are merged as always
            Mend::Settle if row.changed.meanwhile() => match (row.changed.at_office, row.changed.at_shop) {
                (true, false) => &["send"][..],
                (false, true) => &["pull"][..],
                _ => &[][..],
            },
            Mend::Settle => &["send", "pull"],
            Mend::TakeBack => &["take back"],
        } {
            todo.entry(side).or_default().push(row.key.clone());
        }
    }
    // what is about to be replaced is kept first
    let winner = if table.direction == Direction::FromTarget { Side::Shop } else { Side::Office };
    let losers: Vec<Loser> =
        drill.images(peer, &losing).await?.into_iter().map(|(key, ours, theirs)| Loser { key, ours, theirs }).collect();
    office.keep_losers(branch, name, winner, &losers).await?;
    let count = |keys: &[String]| i64::try_from(keys.len()).unwrap_or(i64::MAX);
    if let Some(keys) = todo.get("take back") {
        let images: Vec<String> =
            drill.images(peer, keys).await?.into_iter().filter_map(|(_, _, theirs)| theirs).collect();
        office.take_back(name, &images).await?;
        repaired.taken_back += count(keys);
    }
    if let Some(keys) = todo.get("send") {
        office.mark(branch, name, keys).await?;
        repaired.sent += count(keys);
    }
    if let Some(keys) = todo.get("pull") {
        peer.ask(&Mark { table: name.clone(), keys: keys.clone() }, Patience::Work).await?;
        repaired.pulled += count(keys);
    }
    Ok(())
}

/// The update that carries what a repair has marked, by the record as it is now.
pub(crate) async fn carry(job: Job<'_>) -> Result<Report, DriveError> {
    let branch = job.office.branch(&job.branch.name).await?;
    Ok(super::run(Job { branch, ..job }, Task::Update).await)
}
