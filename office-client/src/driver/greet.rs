//! The first words: is it the right shop, does it mean the same by its policy, is it still the database we know?

use protocol::methods::{HelloReply, HelloRequest};
use protocol::session::office::{Event, Task};
use replica::office::{Branch, Office};

use super::{Drive, DriveError, drift};
use crate::link::Peer;

/// Version of the extensions that this program speaks.
const PROTOCOL_VERSION: i32 = 1;

impl Drive<'_> {
    pub(super) async fn greet(&mut self, task: Task) -> Result<Event, DriveError> {
        self.job.progress.phase("calling");
        self.facts = greet(&mut self.peer, self.job.office, &self.job.branch, true).await?;
        if let Some(facts) = &self.facts {
            if task == Task::Update {
                check_incarnation(&self.job.branch, facts)?;
            }
            self.job.office.note_shop_quarantine(&self.job.branch, facts.quarantined).await?;
            if facts.chunk_bytes_max > 0 {
                self.sending.limit(facts.chunk_bytes_max.unsigned_abs());
                self.receiving.limit(facts.chunk_bytes_max.unsigned_abs());
            }
        }
        Ok(Event::Greeted(self.peer.abilities()))
    }
}

/// Says hello and refuses the wrong shop, or one whose tables do not fit; `remember` as in [`drift::check`]. None from a peer with the base methods alone.
pub(super) async fn greet(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
    remember: bool,
) -> Result<Option<HelloReply>, DriveError> {
    let policy = office.policy(&branch.policy).await?;
    let digest = policy.digest();
    let request = HelloRequest {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        office: office.incarnation().await?,
        policy: branch.policy.clone(),
        policy_digest: digest.clone(),
        clock: jiff::Timestamp::now().to_string(),
        branch: branch.name.clone(),
    };
    let facts = peer.greet(request).await?;
    if let Some(facts) = &facts {
        check_peer(branch, &digest, facts)?;
        drift::check(peer, office, branch, facts, remember).await?;
    }
    Ok(facts)
}

fn check_peer(branch: &Branch, policy_digest: &str, facts: &HelloReply) -> Result<(), DriveError> {
    if !facts.branch.is_empty() && facts.branch != branch.name {
        return Err(DriveError::WrongShop { theirs: facts.branch.clone() });
    }
    if !facts.policy_digest.is_empty() && facts.policy_digest != policy_digest {
        return Err(DriveError::PolicyDiffers { ours: branch.policy.clone(), theirs: facts.policy.clone() });
    }
    Ok(())
}

/// An update rests on what the shop had when it was cloned; another history makes it meaningless.
pub(super) fn check_incarnation(branch: &Branch, facts: &HelloReply) -> Result<(), DriveError> {
    match &branch.incarnation {
        Some(known) if !facts.incarnation.is_empty() && *known != facts.incarnation => {
            Err(DriveError::OtherIncarnation)
        }
        _ => Ok(()),
    }
}
