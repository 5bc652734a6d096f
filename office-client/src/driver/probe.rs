//! Calling a shop only to see whether that works: nothing moves, nothing is remembered.

use jiff::Timestamp;
use protocol::history::History;

use super::{DriveError, Job, greet};

/// What a shop has said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probed {
    /// Version of its agent; none of a peer that offers the base methods alone.
    pub(crate) version: Option<String>,
    /// Version of its PostgreSQL.
    pub(crate) database_version: Option<String>,
    /// By how many seconds its clock is ahead of ours.
    pub(crate) clock_ahead_s: Option<f64>,
    /// Whether its database is the one that the branch was cloned to; none before the first clone.
    pub(crate) same_history: Option<bool>,
    /// Rows of the office that wait there.
    pub(crate) quarantined: i64,
}

/// Calls the shop. That it is reached, its certificate, the credential, the branch, the policy and the tables are all part
/// of it: whatever is wrong with one of them is the error.
///
/// # Errors
/// Those of the first words of an update.
pub(crate) async fn probe(job: &Job<'_>) -> Result<Probed, DriveError> {
    let line = super::link_hooks::own_line(&job.branch)?;
    line.up(&job.stop).await?;
    let probed = async {
        let mut peer = super::peer(job)?;
        let before = Timestamp::now();
        let facts = greet::greet(&mut peer, job.office, &job.branch, greet::Contact::Look, false).await?;
        let after = Timestamp::now();
        let Some(facts) = facts else { return Ok(Probed::default()) };
        let is_cloned = job.branch.incarnation.is_some();
        let same = greet::check_incarnation(&job.branch, &facts).is_ok()
            && facts.history.as_deref().and_then(History::parse).is_none_or(|history| history == History::Same);
        // the answer was given somewhere between the two moments
        let clock_ahead_s = facts.clock.parse::<Timestamp>().ok().map(|theirs| {
            let (early, late) =
                (theirs.duration_since(before).as_secs_f64(), theirs.duration_since(after).as_secs_f64());
            if early < 0.0 { early } else { late.max(0.0) }
        });
        Ok(Probed {
            version: Some(facts.version),
            database_version: Some(facts.database_version),
            clock_ahead_s,
            same_history: is_cloned.then_some(same),
            quarantined: facts.quarantined,
        })
    };
    let result = probed.await;
    line.down().await;
    result
}
