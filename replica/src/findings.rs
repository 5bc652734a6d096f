//! What `check` finds out about a database in either role: a remark, or what is wrong and how to mend it.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use protocol::names::TableName;
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::node::ApplyRights;
use crate::rights;

/// What was looked at, and what was found.
pub type Finding = (String, Result<String, String>);

/// The server.
pub(crate) async fn of_server(client: &impl GenericClient) -> Result<Finding, ReplicaError> {
    let version: String = client
        .query_one("select current_setting('server_version')", &[])
        .await
        .map_err(|error| classify("check", error))?
        .get(0);
    Ok(("database".to_owned(), Ok(format!("PostgreSQL {version}"))))
}

/// By how much the clock of a program and that of its server may differ before ages that are shown, and `newest-wins`,
/// cannot be trusted.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// Years in which this program can be at work. A machine whose clock has lost its battery begins in 1970 or 2000.
const YEARS: RangeInclusive<i16> = 2025..=2099;

/// Our clock and the server's.
pub(crate) async fn of_clock(client: &impl GenericClient) -> Result<Finding, ReplicaError> {
    let asked = SystemTime::now();
    let row = client
        .query_one("select clock_timestamp()", &[])
        .await
        .map_err(|error| classify("compare the clocks", error))?;
    // the answer is from the middle of the time that it took
    let ours = asked + asked.elapsed().unwrap_or_default() / 2;
    Ok(("clock".to_owned(), compare_clocks(ours, row.get(0))))
}

fn compare_clocks(ours: SystemTime, theirs: SystemTime) -> Result<String, String> {
    let mend = "let a time service set the machine's clock";
    let now = jiff::Timestamp::try_from(ours).map_err(|_| format!("this machine's clock is out of bounds: {mend}"))?;
    let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
    if !YEARS.contains(&year) {
        return Err(format!("this machine's clock says {now}, which cannot be: {mend}"));
    }
    let (apart, side) = match theirs.duration_since(ours) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let found = format!("the database server's is {:.1} s {side} ours", apart.as_secs_f64());
    if apart <= CLOCK_DIFFERENCE_MAX { Ok(found) } else { Err(format!("{found}: let a time service set both clocks")) }
}

/// The role that writes received rows into these tables.
pub(crate) async fn of_rights(
    client: &impl GenericClient,
    rights: &ApplyRights,
    catalogue: &Catalogue,
    written: &[TableName],
) -> Result<Vec<Finding>, ReplicaError> {
    let found = match (&rights.role, rights.quiet) {
        (Some(role), true) => Ok(format!("rows are written by role {role}, triggers of the application stay quiet")),
        (Some(role), false) => Ok(format!("rows are written by role {role}, triggers of the application fire")),
        (None, _) => Err(
            "the owner may not create roles: received rows are written with the owner's rights; grant CREATEROLE to it"
                .to_owned(),
        ),
    };
    let mut findings = vec![("rights".to_owned(), found)];
    if let Some(role) = &rights.role {
        let rights = rights::examine(client, role, catalogue, written).await?;
        findings.push(("rights too many".to_owned(), none_of(&rights.too_much, "nothing beyond what its tables need")));
        findings.push(("rights missing".to_owned(), none_of(&rights.missing, "it may do all that its tables need")));
    }
    Ok(findings)
}

/// Foreign keys that hold for new rows alone.
pub(crate) fn of_references(catalogue: &Catalogue) -> Option<Finding> {
    match catalogue.foreign_keys.iter().filter(|key| !key.validated).count() {
        0 => None,
        some => Some((
            "foreign keys".to_owned(),
            Err(format!(
                "{some} are not validated: a clone is unfinished, or local rows refer to rows the office does not have"
            )),
        )),
    }
}

/// What is fine, or all that is not.
fn none_of(found: &[String], fine: &str) -> Result<String, String> {
    if found.is_empty() { Ok(fine.to_owned()) } else { Err(found.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_of_clock_difference_max() {
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (apart, is_near) in [(0, true), (59_900, true), (60_000, true), (60_001, false), (86_400_000, false)] {
            let apart = Duration::from_millis(apart);
            assert_eq!(compare_clocks(ours, ours + apart).is_ok(), is_near, "{apart:?} ahead");
            assert_eq!(compare_clocks(ours, ours - apart).is_ok(), is_near, "{apart:?} behind");
        }
        let found = compare_clocks(ours, ours - Duration::from_secs(3600)).unwrap_err();
        assert!(found.contains("3600.0 s behind ours") && found.contains("time service"), "{found}");
    }

    #[test]
    fn a_clock_that_has_lost_its_battery_is_wrong_also_where_the_server_shares_it() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, plausible) in
            [(0, false), (1_735_689_599, false), (1_735_689_600, true), (4_102_444_799, true), (4_102_444_800, false)]
        {
            assert_eq!(compare_clocks(at(seconds), at(seconds)).is_ok(), plausible, "{seconds}");
        }
    }
}
