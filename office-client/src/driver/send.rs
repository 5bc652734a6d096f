//! Sending a frozen stream in chunks, from wherever the shop has it.

use protocol::fault::FaultCode;
use protocol::session::office::Event;
use tokio::time::Instant;

use super::{Drive, DriveError};
use crate::link::{LinkError, clock};
use crate::output::Direction;
use replica::killpoint::reach;

impl Drive<'_> {
    /// Sends from `offset`, the next chunk being number `seq`. After a loss the state machine asks where to go on.
    pub(super) async fn send(&mut self, seq: u64, offset: u64) -> Result<Event, DriveError> {
        let sid = self.sid()?;
        let counts = self.peer.abilities().keyed_sessions;
        let (mut seq, mut offset) = (seq, offset);
        let mut is_announced = false;
        if self.is_copying() {
            self.job.progress.phase("copying and sending");
        }
        loop {
            if self.job.stop.requested() {
                return Err(DriveError::Interrupted);
            }
            if !is_announced && !self.is_copying() {
                self.finish_copy().await?;
                self.announce(offset)?;
                is_announced = true;
            }
            let allowed = self.allowed(self.sending.bytes())?;
            let length = if counts { allowed } else { member_length(&self.outgoing()?.stream.members, offset) };
            let Some(data) = self.read_outbound(offset, length).await? else { return Ok(Event::Done) };
            let began = Instant::now();
            match self.peer.send_chunk(sid, &data, counts.then_some(seq)).await {
                Ok(()) => {
                    offset += data.len() as u64;
                    seq += 1;
                    self.sending.took(data.len() as u64, clock::on_line(began.elapsed()));
                    self.job.progress.at(offset);
                    self.job.progress.redials(self.peer.redials());
                    tracing::debug!(branch = %self.job.branch.name, seq, bytes = data.len(), offset, "chunk sent");
                    reach("office.push.chunk");
                }
                Err(LinkError::Refused(fault))
                    if counts && fault.is(FaultCode::ChunkTooLarge) && self.sending.halve() => {}
                Err(LinkError::Http { status: 413, .. }) if counts && self.sending.halve() => {}
                Err(error @ LinkError::Failed { .. }) => {
                    self.sending.halve();
                    self.peer.pause(error).await?;
                    // a shop that counts may hold an earlier, longer version of this chunk: it says so itself
                    if counts {
                        return Ok(Event::Lost);
                    }
                }
                Err(error @ LinkError::Unknown { .. }) => {
                    self.sending.halve();
                    self.peer.pause(error).await?;
                    return Ok(Event::Lost);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How much there is to send, now that it is known.
    fn announce(&self, offset: u64) -> Result<(), DriveError> {
        let stream = &self.outgoing()?.stream;
        let tables = stream.tables.iter().map(|(table, rows)| (table.to_string(), *rows));
        self.job.progress.tables(Direction::Send, tables);
        self.job.progress.transfer(Direction::Send, stream.rows, stream.bytes, offset);
        Ok(())
    }
}

/// A peer with the base methods alone gets exactly one whole gzip member as a chunk, so that it can unpack each alone.
fn member_length(members: &[u64], offset: u64) -> u64 {
    members.iter().find(|end| **end > offset).map_or(u64::MAX, |end| end - offset)
}

#[cfg(test)]
mod tests {
    use super::member_length;

    #[test]
    fn a_base_peer_gets_whole_members() {
        let members = [100, 250, 260];
        assert_eq!(member_length(&members, 0), 100);
        assert_eq!(member_length(&members, 100), 150);
        assert_eq!(member_length(&members, 250), 10);
    }
}
