//! `adopt`: takes in a shop that has its data already. Both ends are compared, the shop gets its range of ids, and updates
//! go on from where the comparison began. Nothing is cleaned, and the shop trades meanwhile.
//!
//! It begins with a snapshot here and a watermark at the shop. What is changed later is in the change logs and travels as
//! usual, so of a row that differs it is known whether it did so before. Every step may be repeated: an adoption that died
//! is run again.

use std::time::SystemTime;

use protocol::methods::{Baseline, BaselineOptions, SetIdStart};
use protocol::policy::Direction;
use protocol::session::repair::Found;
use replica::killpoint::reach;
use replica::office::{Compared, RunRecord};

use super::greet::{self, Contact};
use super::repair::{Repaired, clashes, mend_rows};
use super::rows::{Beginning, Drill, FoundRow};
use super::verify::{self, Comparison};
use super::{DriveError, Job, is_clone_unfinished};
use crate::link::{Patience, Peer};

/// Name of such a run in the history.
const KIND: &str = "adopt";

/// What came of an adoption.
#[derive(Debug, Clone, Default)]
pub(crate) struct Adoption {
    /// Whether the branch is taken in: updates may go on from here.
    pub(crate) taken_in: bool,
    /// Whether an earlier run had taken it in, and nothing was left to do.
    pub(crate) repeated: bool,
    /// How the tables compare. Rows that were changed meanwhile are no difference.
    pub(crate) comparison: Comparison,
    /// What the next update carries: rows changed meanwhile, and with a repair those that differ.
    pub(crate) marked: Repaired,
    /// The shop's ids: above the first, up to and including the second.
    pub(crate) range: Option<(i64, i64)>,
    /// Its duration.
    pub(crate) seconds: f64,
}

/// Takes a shop in that has its data already, when both ends agree; with `repair` also when they do not: rows that differ
/// travel by the direction of their table with the update that follows.
pub(crate) async fn adopt(job: &Job<'_>, repair: bool) -> Result<Adoption, DriveError> {
    super::allowance::Allowance::of(&job.branch, job.office, job.force).await?.check(0)?;
    if job.branch.paused && !job.force {
        return Err(DriveError::Paused);
    }
    let lease = job.office.lease(&job.branch).await?;
    let (started_at, began) = (SystemTime::now(), tokio::time::Instant::now());
    let result = adopt_over_line(job, repair).await;
    let seconds = began.elapsed().as_secs_f64();
    record(job, &result, started_at, seconds).await;
    lease.release().await;
    result.map(|adoption| Adoption { seconds, ..adoption })
}

async fn adopt_over_line(job: &Job<'_>, repair: bool) -> Result<Adoption, DriveError> {
    // what counts is how it stands now that nobody else has it
    let branch = job.office.branch(&job.branch.name).await?;
    if is_clone_unfinished(&branch) {
        return Err(DriveError::CloneUnfinished);
    }
    if branch.timestamp.is_some() {
        return match job.office.is_adopted(&branch).await? {
            true => Ok(Adoption { taken_in: true, repeated: true, range: branch.id_range, ..Adoption::default() }),
            false => Err(DriveError::TakenIn),
        };
    }
    let line = super::link_hooks::own_line(&job.branch)?;
    line.up(&job.stop).await?;
    let adopted = async {
        let mut peer = super::peer(job)?;
        let adoption = adopt_leased(job, &mut peer, repair).await;
        let counters = peer.client().counters();
        adoption.map(|mut adoption| {
            (adoption.comparison.sent_bytes, adoption.comparison.received_bytes) =
                (counters.sent(), counters.received());
            adoption
        })
    };
    let result = adopted.await;
    line.down().await;
    result
}

async fn adopt_leased(job: &Job<'_>, peer: &mut Peer, repair: bool) -> Result<Adoption, DriveError> {
    let (office, branch) = (job.office, &job.branch);
    job.progress.phase("calling");
    let Some(facts) = greet::greet(peer, office, branch, Contact::Look, true).await? else {
        return Err(DriveError::CannotAdopt);
    };
    if !peer.abilities().repairs || !peer.abilities().frozen_diffs {
        return Err(DriveError::CannotAdopt);
    }
    let base = office.begin_adoption(branch).await?;
    reach("office.adopt.begun");
    let options = BaselineOptions { restored: false, adopted: true };
    let baseline = peer.ask(&Baseline(options), Patience::Work).await?;
    reach("office.adopt.baseline");
    let beginning = Beginning { base, watermark: baseline.watermark.clone() };
    let mut adoption = Adoption::default();
    compare(job, peer, &beginning, repair, &mut adoption).await?;
    reach("office.adopt.compared");
    if adoption.comparison.differing().next().is_some() && !repair {
        return Ok(adoption);
    }
    job.progress.phase("giving an id range");
    // a range that the shop has from an earlier life stays its own, unless somebody else has got it meanwhile
    let fresh = clashes(job, facts.id_low, facts.id_high).await?;
    let (low, high) = office.id_range(branch, fresh).await?;
    reach("office.adopt.ranged");
    peer.ask(&SetIdStart { id: low }, Patience::Work).await?;
    reach("office.adopt.setidstart");
    greet::greet(peer, office, branch, Contact::Renew, true).await?;
    reach("office.adopt.record.before");
    office.record_adoption(branch, &beginning.base, &baseline.watermark, &baseline.incarnation).await?;
    reach("office.adopt.recorded");
    adoption.marked.fresh_range = fresh;
    Ok(Adoption { taken_in: true, range: Some((low, high)), ..adoption })
}

/// Compares all tables. Rows that were changed since the beginning are made to travel whole: what they were before is not
/// known to be the same. With `repair` so are those that differ.
async fn compare(
    job: &Job<'_>,
    peer: &mut Peer,
    beginning: &Beginning,
    repair: bool,
    adoption: &mut Adoption,
) -> Result<(), DriveError> {
    let (office, branch) = (job.office, &job.branch);
    job.progress.phase("comparing");
    let both = verify::fingerprints(peer, office, branch).await?.ok_or(DriveError::CannotAdopt)?;
    adoption.comparison.offered = true;
    for (ours, theirs) in both {
        let mut table = verify::difference(&ours.digest, theirs.as_ref());
        if !table.equal && table.shop_rows.is_some() {
            let rows = table.office_rows.max(table.shop_rows.unwrap_or(0));
            let mut drill = Drill::begin(peer, office, branch, &table.table, rows).await?.since(beginning);
            while let Some(found) = drill.next(peer).await? {
                if job.stop.requested() {
                    return Err(DriveError::Interrupted);
                }
                let (meanwhile, differing): (Vec<_>, Vec<_>) =
                    found.into_iter().partition(|row| row.changed.meanwhile());
                let base = &beginning.base;
                mend_rows(job, peer, &drill, base, &ours, meanwhile, &mut adoption.marked).await?;
                if repair {
                    refuse_ids_of_others(job, &ours, &differing).await?;
                    mend_rows(job, peer, &drill, base, &ours, differing.clone(), &mut adoption.marked).await?;
                }
                let told = &mut adoption.comparison.rows;
                verify::tell(peer, &drill, ours.direction, differing, &mut table, told).await?;
            }
            verify::settle(&mut table);
        }
        adoption.comparison.tables.push(table);
    }
    Ok(())
}

/// A row of the shop's own that the office has for another branch under the same key: two shops have drawn the same ids
/// before they had ranges. Taking it in would replace the other shop's row.
async fn refuse_ids_of_others(job: &Job<'_>, table: &Compared, found: &[FoundRow]) -> Result<(), DriveError> {
    if table.direction != Direction::FromTarget {
        return Ok(());
    }
    let keys: Vec<String> =
        found.iter().filter(|row| matches!(row.found, Found::AtShop { .. })).map(|row| row.key.clone()).collect();
    for keys in keys.chunks(1000) {
        let taken = job.office.rows(&table.digest.table, keys).await?.len();
        if taken > 0 {
            return Err(DriveError::IdsOfOthers { table: table.digest.table.clone(), rows: taken });
        }
    }
    Ok(())
}

/// Appends the run to the history.
async fn record(job: &Job<'_>, result: &Result<Adoption, DriveError>, started_at: SystemTime, seconds: f64) {
    let ended = match result {
        Ok(adoption) if adoption.repeated => return,
        Ok(adoption) if adoption.taken_in => super::RunResult::Done,
        Ok(_) => super::RunResult::Refused,
        Err(error) => super::RunResult::of(error),
    };
    let bytes = |count: fn(&Comparison) -> u64| {
        result.as_ref().map_or(0, |adoption| i64::try_from(count(&adoption.comparison)).unwrap_or(i64::MAX))
    };
    let run = RunRecord {
        kind: KIND.to_owned(),
        result: ended.as_str().to_owned(),
        sent_bytes: bytes(|comparison| comparison.sent_bytes),
        received_bytes: bytes(|comparison| comparison.received_bytes),
        error: match result {
            Ok(adoption) if adoption.taken_in => None,
            Ok(adoption) => Some(DriveError::Disagree(adoption.comparison.differing().count()).to_string()),
            Err(error) => Some(crate::error::chain(error)),
        },
        started_at,
        seconds,
        pulled_rows: 0,
        pushed_rows: 0,
        quarantined: 0,
        redials: 0,
        chunk_bytes: None,
        send_rate: None,
        receive_rate: None,
        started_by: Some(job.by.clone()),
        pulled_digest: None,
        totals: Vec::new(),
    };
    if let Err(error) = job.office.record_run(&job.branch, &run).await {
        tracing::warn!(branch = %job.branch.name, error = %crate::error::chain(&error), "the run is missing in the history");
    }
}
