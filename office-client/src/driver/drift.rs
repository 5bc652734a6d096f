//! Whether the tables of the two ends fit together; looked at before anything moves.

use protocol::fault::FaultCode;
use protocol::methods::{ExchangeLayout, HelloReply, Layout};
use replica::office::{Branch, Office};

use super::DriveError;
use crate::link::{LinkError, Patience, Peer};

/// Compares the tables when their digests differ, or did when they were last compared. With `remember`, each end notes
/// what the other does not have and leaves it out of what it sends.
pub(super) async fn check(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
    facts: &HelloReply,
    remember: bool,
) -> Result<(), DriveError> {
    // a shop without any tables gets them when it is cleaned
    if facts.schema_digest.is_empty() || facts.no_tables {
        return Ok(());
    }
    let ours = office.layout(branch).await?;
    if ours.digest == facts.schema_digest && !ours.peer_differed {
        return Ok(());
    }
    let call = ExchangeLayout(Layout { tables: ours.tables, remember });
    let theirs = match peer.ask(&call, Patience::Work).await {
        Ok(theirs) => theirs.tables,
        Err(LinkError::Refused(fault)) if fault.is(FaultCode::UnknownMethod) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let found = office.compare_layout(branch, &theirs, remember).await?;
    for (column, place) in &found.left_out {
        tracing::warn!(branch = %branch.name, column, place, "only one side has this column: it is left out");
    }
    if found.problems.is_empty() { Ok(()) } else { Err(DriveError::SchemasDiffer(found.problems)) }
}
