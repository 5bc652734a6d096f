//! What a run will have to move, before it moves.

use replica::ReplicaError;
use replica::office::{Branch, Office};

use super::{Drive, DriveError};
use crate::limits::{ESTIMATE_ROWS_MAX, ROW_BYTES_GUESSED};

/// What waits in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Estimate {
    /// Rows that the shop has for the office; none when it gives no figures before it sends.
    pub(crate) receive_rows: Option<u64>,
    /// Bytes of them that are not here yet.
    pub(crate) receive_bytes: Option<u64>,
    /// Rows that the office has for the shop.
    pub(crate) send_rows: u64,
    /// Bytes of them that are not there yet, compressed.
    pub(crate) send_bytes: u64,
    /// Whether the figures of the way to the shop are exact; otherwise they follow from the number of changes.
    pub(crate) send_is_exact: bool,
    /// How long it will take at the rates that were measured the last time; none when none were.
    pub(crate) seconds: Option<f64>,
}

/// What is known of a line from earlier runs, in bytes per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Towards the shop.
    pub(crate) send: Option<u64>,
    /// From the shop.
    pub(crate) receive: Option<u64>,
}

impl Rates {
    /// Those that the history knows.
    pub(crate) async fn of(office: &Office, branch: &Branch) -> Result<Self, ReplicaError> {
        let (send, receive) = office.measured_rates(branch).await?;
        let rate = |rate: Option<i64>| rate.and_then(|rate| u64::try_from(rate).ok()).filter(|rate| *rate > 0);
        Ok(Self { send: rate(send), receive: rate(receive) })
    }

    /// How long so many bytes take; none where bytes would go over a line that was never measured.
    pub(crate) fn seconds(self, send_bytes: u64, receive_bytes: u64) -> Option<f64> {
        let time = |bytes: u64, rate: Option<u64>| match (bytes, rate) {
            (0, _) => Some(0.0),
            (bytes, Some(rate)) => Some(bytes as f64 / rate as f64),
            (_, None) => None,
        };
        Some(time(send_bytes, self.send.or(self.receive))? + time(receive_bytes, self.receive.or(self.send))?)
    }
}

impl Drive<'_> {
    /// Says what waits: exactly for what the shop has frozen (so many rows and bytes), and for the way to the shop when it
    /// is little enough to be written out for it.
    pub(super) async fn tell_estimate(&mut self, receive: Option<(u64, u64)>) -> Result<(), DriveError> {
        // to know exactly costs as much as writing the changes out, which is most of a small update
        if !self.job.progress.is_shown() {
            return Ok(());
        }
        let branch = &self.job.branch;
        let rows = self.job.office.backlog(branch).await?.rows.max(0);
        let pending = self.job.office.pending_push(branch).await?;
        let (send_rows, send_bytes, send_is_exact) = if rows == 0 && pending.is_none() {
            (0, 0, true)
        } else if rows <= ESTIMATE_ROWS_MAX && pending.is_none() {
            let stream = self.job.office.preview_push(branch).await?;
            stream.map_or((0, 0, true), |stream| (stream.rows, stream.bytes, true))
        } else {
            let begun = pending.unwrap_or_default();
            let rest = (rows.unsigned_abs()).saturating_sub(begun.0);
            (begun.0 + rest, begun.1 + (rest as f64 * ROW_BYTES_GUESSED) as u64, false)
        };
        let estimate = Estimate {
            receive_rows: receive.map(|(rows, _)| rows),
            receive_bytes: receive.map(|(_, bytes)| bytes),
            send_rows,
            send_bytes,
            send_is_exact,
            seconds: self.rates.seconds(send_bytes, receive.map_or(0, |(_, bytes)| bytes)),
        };
        self.job.progress.estimate(&estimate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Rates;

    #[test]
    fn time_is_said_only_for_a_line_that_was_measured() {
        let both = Rates { send: Some(100), receive: Some(50) };
        assert_eq!(both.seconds(1000, 1000), Some(30.0));
        assert_eq!(
            Rates { send: Some(100), receive: None }.seconds(0, 1000),
            Some(10.0),
            "the other way may be like it"
        );
        assert_eq!(Rates::default().seconds(1, 0), None);
        assert_eq!(Rates::default().seconds(0, 0), Some(0.0));
    }
}
