//! Looking into a table that differs: buckets, then the rows of buckets that differ, then the columns of those rows.

use std::collections::{BTreeMap, BTreeSet};

use protocol::fault::FaultCode;
use protocol::methods::{Digest, DigestRequest, DigestRows, DigestRowsRequest, Rows};
use protocol::session::repair::Found;
use replica::office::{Branch, Office, RepairBase, Scope};

use super::DriveError;
use crate::link::{LinkError, Patience, Peer};

/// Rows of a bucket that are aimed at: one that differs is looked through whole.
const BUCKET_ROWS: i64 = 256;

/// Most buckets of a table. A fingerprint of one costs sixteen bytes, half of it after compression.
const BUCKETS_MAX: i64 = 4096;

/// Rows whose fingerprints are asked for in one call.
const CALL_ROWS: i64 = 2000;

/// Rows that are asked for whole in one call.
const IMAGES: usize = 100;

/// A row on which the two ends do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRow {
    /// Its key: a JSON object of texts.
    pub(crate) key: String,
    /// How it was found.
    pub(crate) found: Found,
    /// Who has changed it since the comparison began: it travels, and may explain the difference.
    pub(crate) changed: Changed,
}

/// Which ends have changed a row since a comparison began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The office.
    pub(crate) at_office: bool,
    /// The shop.
    pub(crate) at_shop: bool,
}

impl Changed {
    /// Whether anybody has.
    pub(crate) fn meanwhile(self) -> bool {
        self.at_office || self.at_shop
    }
}

/// Where a comparison begins at both ends that is to tell old differences from changes made meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    /// At the office.
    pub(super) base: RepairBase,
    /// At the shop.
    pub(super) watermark: String,
}

/// The rows of one table on which the two ends do not agree, a portion at a time.
pub(super) struct Drill<'a> {
    office: &'a Office,
    branch: &'a Branch,
    table: String,
    scope: Scope,
    beginning: Option<Beginning>,
    buckets: i64,
    /// Portions of buckets that differ, last one first.
    portions: Vec<Vec<i64>>,
}

impl<'a> Drill<'a> {
    /// Finds out which buckets differ.
    pub(super) async fn begin(
        peer: &mut Peer,
        office: &'a Office,
        branch: &'a Branch,
        table: &str,
        rows: i64,
    ) -> Result<Self, DriveError> {
        let scope = office.scope(branch).await?;
        let wanted = u64::try_from(rows / BUCKET_ROWS).unwrap_or(0).next_power_of_two();
        let buckets = i64::try_from(wanted).unwrap_or(BUCKETS_MAX).clamp(1, BUCKETS_MAX);
        let mut differing: Vec<i64> = vec![0];
        if buckets > 1 {
            let ours = office.bucket_digest(branch, table, buckets).await?.buckets;
            let request = DigestRequest {
                tables: vec![table.to_owned()],
                low: scope.low,
                high: scope.high,
                buckets: Some(buckets),
                since: None,
            };
            let theirs = peer.ask(&Digest(request), Patience::Work).await?;
            let theirs = theirs.first().map(|digest| digest.buckets.as_str()).unwrap_or_default();
            let one = |all: &str, place: i64| {
                let from = usize::try_from(place).unwrap_or(0) * 16;
                all.get(from..from + 16).map(str::to_owned)
            };
            differing = (0..buckets).filter(|&place| one(&ours, place) != one(theirs, place)).collect();
        }
        let at_a_time = (CALL_ROWS * buckets / rows.max(1)).clamp(1, BUCKETS_MAX);
        let mut portions: Vec<Vec<i64>> =
            differing.chunks(usize::try_from(at_a_time).unwrap_or(1)).map(<[i64]>::to_vec).collect();
        portions.reverse();
        Ok(Self { office, branch, table: table.to_owned(), scope, beginning: None, buckets, portions })
    }

    /// From now on rows are told apart that were changed after this.
    pub(super) fn since(mut self, beginning: &Beginning) -> Self {
        self.beginning = Some(beginning.clone());
        self
    }

    /// The next portion; none when all has been looked at.
    pub(super) async fn next(&mut self, peer: &mut Peer) -> Result<Option<Vec<FoundRow>>, DriveError> {
        let Some(wanted) = self.portions.pop() else { return Ok(None) };
        let request = DigestRowsRequest {
            table: self.table.clone(),
            low: self.scope.low,
            high: self.scope.high,
            buckets: self.buckets,
            wanted: wanted.clone(),
            since: self.beginning.as_ref().map(|beginning| beginning.watermark.clone()),
        };
        let theirs = match peer.ask(&DigestRows(request), Patience::Work).await {
            // keys wider than was reckoned with
            Err(LinkError::Refused(fault)) if fault.is(FaultCode::ChunkTooLarge) && wanted.len() > 1 => {
                let (first, second) = wanted.split_at(wanted.len() / 2);
                self.portions.push(second.to_vec());
                self.portions.push(first.to_vec());
                return Ok(Some(Vec::new()));
            }
            answer => parse(&answer?)?,
        };
        let base = self.beginning.as_ref().map(|beginning| &beginning.base);
        let ours: BTreeMap<String, Listed> = self
            .office
            .row_digests(self.branch, &self.table, self.buckets, &wanted, base)
            .await?
            .into_iter()
            .map(|row| (row.key, Listed { digest: row.digest, changed: row.changed }))
            .collect();
        Ok(Some(compare(&ours, &theirs)))
    }

    /// Rows of both ends by their keys: (key, the office's row, the shop's row), each a JSON object of texts.
    pub(super) async fn images(
        &self,
        peer: &mut Peer,
        keys: &[String],
    ) -> Result<Vec<(String, Option<String>, Option<String>)>, DriveError> {
        let mut images = Vec::new();
        // last one first
        let mut portions: Vec<&[String]> = keys.chunks(IMAGES).rev().collect();
        while let Some(keys) = portions.pop() {
            let question = Rows { table: self.table.clone(), keys: keys.to_vec() };
            let mut theirs: Vec<String> = match peer.ask(&question, Patience::Work).await {
                // wide rows
                Err(LinkError::Refused(fault)) if fault.is(FaultCode::ChunkTooLarge) && keys.len() > 1 => {
                    let (first, second) = keys.split_at(keys.len() / 2);
                    portions.extend([second, first]);
                    continue;
                }
                answer => answer?.lines().map(str::to_owned).collect(),
            };
            let mut ours = self.office.rows(&self.table, keys).await?;
            for key in keys {
                images.push((key.clone(), take(&mut ours, key), take(&mut theirs, key)));
            }
        }
        Ok(images)
    }
}

/// Takes the row with that key out.
fn take(rows: &mut Vec<String>, key: &str) -> Option<String> {
    let key = object(key)?;
    let place = rows.iter().position(|row| {
        object(row).is_some_and(|row| key.iter().all(|(column, value)| row.get(column) == Some(value)))
    })?;
    Some(rows.swap_remove(place))
}

fn object(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text).ok()
}

/// The columns in which two rows differ.
pub(super) fn columns(ours: &str, theirs: &str) -> Vec<String> {
    let (ours, theirs) = (object(ours).unwrap_or_default(), object(theirs).unwrap_or_default());
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name)).cloned().collect()
}

/// A row as one end lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    /// None: remembered as deleted.
    digest: Option<String>,
    changed: bool,
}

fn parse(lines: &str) -> Result<BTreeMap<String, Listed>, DriveError> {
    lines
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let (digest, key, changed) = (fields.next(), fields.next(), fields.next());
            match (digest, key.filter(|key| object(key).is_some())) {
                (Some(digest), Some(key)) => Ok((
                    key.to_owned(),
                    Listed { digest: (digest != "-").then(|| digest.to_owned()), changed: changed == Some("changed") },
                )),
                _ => Err(DriveError::Confused("the shop's list of rows makes no sense".into())),
            }
        })
        .collect()
}

/// The rows on which two lists do not agree.
fn compare(ours: &BTreeMap<String, Listed>, theirs: &BTreeMap<String, Listed>) -> Vec<FoundRow> {
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let (here, there) = (ours.get(key), theirs.get(key));
            let digest = |row: Option<&Listed>| row.and_then(|row| row.digest.clone());
            let found = match (digest(here), digest(there)) {
                (Some(ours), Some(theirs)) if ours == theirs => return None,
                (Some(_), Some(_)) => Found::Differs,
                (Some(_), None) => Found::AtOffice { shop_deleted: there.is_some() },
                (None, Some(_)) => Found::AtShop { office_deleted: here.is_some() },
                (None, None) => return None,
            };
            let changed = |row: Option<&Listed>| row.is_some_and(|row| row.changed);
            let changed = Changed { at_office: changed(here), at_shop: changed(there) };
            Some(FoundRow { key: key.clone(), found, changed })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_tell_how_each_row_lies() {
        let ours =
            parse("aa\t{\"id\": \"1\"}\nbb\t{\"id\": \"2\"}\n-\t{\"id\": \"3\"}\ncc\t{\"id\": \"4\"}\n").unwrap();
        let theirs =
            parse("aa\t{\"id\": \"1\"}\nxx\t{\"id\": \"2\"}\ndd\t{\"id\": \"3\"}\n-\t{\"id\": \"5\"}\n").unwrap();
        let found: Vec<(String, Found)> = compare(&ours, &theirs).into_iter().map(|row| (row.key, row.found)).collect();
        assert_eq!(
            found,
            [
                ("{\"id\": \"2\"}".to_owned(), Found::Differs),
                ("{\"id\": \"3\"}".to_owned(), Found::AtShop { office_deleted: true }),
                ("{\"id\": \"4\"}".to_owned(), Found::AtOffice { shop_deleted: false }),
            ]
        );
        assert!(parse("no line").is_err());
    }

    #[test]
    fn a_row_changed_meanwhile_at_either_end_is_marked() {
        let ours = parse("aa\t{\"id\": \"1\"}\nbb\t{\"id\": \"2\"}\tchanged\n").unwrap();
        let theirs = parse("xx\t{\"id\": \"1\"}\nyy\t{\"id\": \"2\"}\ndd\t{\"id\": \"3\"}\tchanged\n").unwrap();
        let changed: Vec<_> = compare(&ours, &theirs).into_iter().map(|row| row.changed).collect();
        let by = |at_office, at_shop| Changed { at_office, at_shop };
        assert_eq!(changed, [by(false, false), by(true, false), by(false, true)]);
    }

    #[test]
    fn columns_that_differ_are_named() {
        assert_eq!(columns("{\"a\": \"1\", \"b\": null}", "{\"a\": \"1\", \"b\": \"\"}"), ["b"]);
    }
}
