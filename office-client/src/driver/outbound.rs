//! What is on its way to the shop: a frozen stream, or the copy of a clone that is still being written.

use replica::office::{Copying, Outgoing};

use super::{Drive, DriveError};

/// What is on its way to the shop.
pub(super) enum Outbound {
    /// A whole stream.
    Frozen(Outgoing),
    /// The first copy of a branch: it is sent while it is being written.
    Copying(Copying),
}

impl Drive<'_> {
    /// Idempotency key of the session that the shop has for it.
    pub(super) fn outbound_key(&self) -> Result<&str, DriveError> {
        match &self.outbound {
            Some(Outbound::Frozen(outgoing)) => Ok(&outgoing.key),
            Some(Outbound::Copying(copying)) => Ok(copying.key()),
            None => Err(nothing()),
        }
    }

    /// The frozen stream.
    pub(super) fn outgoing(&self) -> Result<&Outgoing, DriveError> {
        match &self.outbound {
            Some(Outbound::Frozen(outgoing)) => Ok(outgoing),
            Some(Outbound::Copying(_)) | None => Err(nothing()),
        }
    }

    /// Bytes from `offset`, at most `wanted` of them and at least one; none at the end. Waits while a copy has less.
    pub(super) async fn read_outbound(&mut self, offset: u64, wanted: u64) -> Result<Option<Vec<u8>>, DriveError> {
        if let Some(Outbound::Copying(copying)) = &mut self.outbound {
            let reached = tokio::select! {
                reached = copying.reaches(offset.saturating_add(wanted)) => reached,
                () = self.job.stop.wait() => return Err(DriveError::Interrupted),
            };
            if reached {
                return Ok(Some(self.job.office.spool().read_written(copying.stream(), offset, wanted).await?));
            }
            self.finish_copy().await?;
        }
        let stream = &self.outgoing()?.stream;
        if offset > stream.bytes {
            return Err(DriveError::Confused("the shop has more than was frozen".into()));
        }
        if offset == stream.bytes {
            return Ok(None);
        }
        let data = self.job.office.spool().read(stream, offset, wanted).await?;
        if data.is_empty() {
            return Err(DriveError::Confused("the frozen stream is shorter than its description".into()));
        }
        Ok(Some(data))
    }

    /// Whether it is being written.
    pub(super) fn is_copying(&self) -> bool {
        matches!(&self.outbound, Some(Outbound::Copying(copying)) if !copying.is_written())
    }

    /// Waits until a copy that was begun is whole, so that it can be sent by another run too.
    pub(super) async fn finish_copy(&mut self) -> Result<(), DriveError> {
        let outbound = self.outbound.take();
        self.outbound = match outbound {
            Some(Outbound::Copying(copying)) => {
                let (outgoing, fingerprints) = copying.finish().await?;
                self.fingerprints = Some(fingerprints);
                Some(Outbound::Frozen(outgoing))
            }
            other => other,
        };
        Ok(())
    }
}

fn nothing() -> DriveError {
    DriveError::Confused("no frozen stream".into())
}
