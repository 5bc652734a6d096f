//! What a real agent has said in the updates of one shop, and the same as another shop would say it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// Ids of the shop that was recorded and of the one that answers, `(low, high]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) low: i64,
    pub(super) high: i64,
}

/// All updates of the shop that was recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recording {
    /// Where it drew its ids from.
    pub(super) ids: Range,
    /// Which life of its database it told.
    pub(super) incarnation: String,
    /// Its watermark after the clone.
    pub(super) cloned: String,
    /// One update after the other.
    pub(super) updates: Vec<Update>,
}

/// One update.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Update {
    /// The watermark that the office asked with.
    pub(super) since: String,
    /// The documents that were the answers to each method, in their order.
    pub(super) answers: BTreeMap<String, Vec<String>>,
}

impl Recording {
    /// The update that is asked for with this watermark.
    pub(super) fn update_since(&self, since: &str) -> Option<usize> {
        self.updates.iter().position(|update| update.since == since)
    }

    /// A recorded diff as a shop with ids of its own would have written it, compressed like it.
    pub(super) fn diff_for(&self, gzip: &[u8], ids: Range) -> std::io::Result<Vec<u8>> {
        let mut text = String::new();
        MultiGzDecoder::new(gzip).read_to_string(&mut text)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(moved(&text, self.ids, ids.low).as_bytes())?;
        encoder.finish()
    }
}

/// The text with every number of a range moved to one that begins elsewhere.
fn moved(text: &str, from: Range, low: i64) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        match rest[..end].parse::<i64>() {
            Ok(id) if id > from.low && id <= from.high => out.push_str(&(id - from.low + low).to_string()),
            _ => out.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: Range = Range { low: 1_000_000_000_000, high: 2_000_000_000_000 };

    #[test]
    fn only_ids_of_the_recorded_shop_become_those_of_another() {
        let text =
            "INSERT INTO sale VALUES (1000000000001,'2026-01-01 10:00:00',7,12.50), (2000000000000,'x1000000000002');";
        let expected = "INSERT INTO sale VALUES (500000000000001,'2026-01-01 10:00:00',7,12.50), (501000000000000,'x500000000000002');";
        assert_eq!(moved(text, RECORDED, 500_000_000_000_000), expected);
        let others = "1000000000000 2000000000001 99999999999999999999999 0017";
        assert_eq!(moved(others, RECORDED, 5), others);
    }

    #[test]
    fn a_diff_is_found_by_its_watermark_and_stays_a_diff() {
        let update = |since: &str| Update { since: since.into(), ..Update::default() };
        let recording = Recording {
            ids: RECORDED,
            incarnation: String::new(),
            cloned: "a".into(),
            updates: vec![update("a"), update("b")],
        };
        assert_eq!(recording.update_since("b"), Some(1));
        assert_eq!(recording.update_since("c"), None);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"(1000000000007)").unwrap();
        let other = Range { low: 3_000_000_000_000, high: 4_000_000_000_000 };
        let moved = recording.diff_for(&encoder.finish().unwrap(), other).unwrap();
        let mut text = String::new();
        MultiGzDecoder::new(moved.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "(3000000000007)");
    }
}
