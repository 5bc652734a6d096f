//! The way by file instead of by line: the office's end.
//!
//! An export freezes everything that the branch is not known to have, in place of what may be on its way: so a file that
//! is lost costs nothing. It stays recorded as the line's own streams do, and whichever way the word comes that the shop
//! has applied it, it counts once.

use std::path::Path;

use protocol::carried::{CarriedHeader, CarriedKind, FORMAT, SessionKey};
use protocol::watermark::Since;

use super::{Branch, Office, Outgoing};
use crate::ReplicaError;
use crate::apply::Applied;
use crate::carried::{self, CarriedFile};

/// A file that was written for a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Rows in it.
    pub rows: u64,
    /// Its length, without the header.
    pub bytes: u64,
}

/// A shop's file that was taken in.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// What it changed.
    pub applied: Applied,
    /// Whether the file told that the shop has applied what was on its way to it: rows of that.
    pub acknowledged_rows: Option<u64>,
    /// Whether it finished a clone.
    pub cloned: bool,
}

impl Office {
    /// Writes a file with what the branch does not have yet, and with what the office has of the shop.
    ///
    /// # Errors
    /// When the branch was never cloned, or the file cannot be written.
    pub async fn export_update(&self, branch: &Branch, path: &Path) -> Result<Exported, ReplicaError> {
        let state = self.state().await?;
        let outgoing = self.freeze_all(&state, branch).await?;
        self.write_file(branch, CarriedKind::Update, outgoing.as_ref(), path).await
    }

    /// Writes a file with a full copy, and with the branch's id range.
    ///
    /// # Errors
    /// When the copy cannot be made, or the file cannot be written.
    pub async fn export_clone(&self, branch: &Branch, path: &Path) -> Result<Exported, ReplicaError> {
        let state = self.state().await?;
        let outgoing = self.copy_anew(&state, branch).await?;
        self.write_file(branch, CarriedKind::Clone, Some(&outgoing), path).await
    }

    async fn write_file(
        &self,
        branch: &Branch,
        kind: CarriedKind,
        outgoing: Option<&Outgoing>,
        path: &Path,
    ) -> Result<Exported, ReplicaError> {
        let stream = outgoing.map(|outgoing| &outgoing.stream);
        let (rows, bytes) = stream.map_or((0, 0), |stream| (stream.rows, stream.bytes));
        let header = CarriedHeader {
            format: FORMAT.to_owned(),
            kind,
            branch: branch.name.clone(),
            policy: branch.policy.clone(),
            policy_digest: self.policy(&branch.policy).await?.digest(),
            shop_incarnation: branch.incarnation.clone(),
            key: outgoing.map(|outgoing| SessionKey::from(outgoing.key.clone())),
            acknowledges: branch.timestamp.clone(),
            id_range: branch.id_range.filter(|_| kind == CarriedKind::Clone),
            since: None,
            watermark: None,
            applied: Vec::new(),
            rows,
            bytes,
            sha256: stream.map_or_else(String::new, |stream| stream.sha256.clone()),
        };
        let data = stream.map(|stream| self.inner.spool.data_path(&stream.id));
        let path = path.to_owned();
        let write = move || carried::write(&path, &header, data.as_deref());
        tokio::task::spawn_blocking(write).await.map_err(|_| ReplicaError::Stopped)??;
        Ok(Exported { rows, bytes })
    }

    /// Takes in a shop's file: what the shop has changed, once, and the word of what it has applied. A file that was
    /// taken in before, or is contained in what the office has, changes nothing.
    ///
    /// # Errors
    /// [`ReplicaError::FileRefused`] when it is of another branch, policy or history, or begins after what the office has.
    pub async fn import_diff(&self, branch: &Branch, file: &CarriedFile) -> Result<Imported, ReplicaError> {
        let header = &file.header;
        let refused = |why: String| Err(ReplicaError::FileRefused(why));
        if header.kind != CarriedKind::Diff || header.branch != branch.name {
            return refused(format!(
                "the file goes to shop {:?}: take it in there with 'shop-agent import'",
                header.branch
            ));
        }
        if header.policy_digest != self.policy(&branch.policy).await?.digest() {
            return refused(format!(
                "the shop works under another policy: {:?} there, {:?} here, and they do not mean the same; give both the same file",
                header.policy, branch.policy
            ));
        }
        let Some(watermark) = &header.watermark else {
            return refused("the file names no watermark at its end: export it again".into());
        };
        let has_applied = |outgoing: &Outgoing| header.applied.contains(&outgoing.key);
        if let Some(clone) = self.pending(branch, "clone").await? {
            if !has_applied(&clone) {
                return refused(
                    "a clone is on its way to this shop, and the shop had not taken it in when it made this file"
                        .into(),
                );
            }
            self.forget_amounts(branch, &clone).await?;
            let applied = self.take_in(branch, file, watermark).await?;
            self.record_clone(branch, &clone, watermark, header.shop_incarnation.as_deref()).await?;
            return Ok(Imported { applied, acknowledged_rows: Some(clone.stream.rows), cloned: true });
        }
        let Some(have) = &branch.timestamp else {
            return refused(format!("branch {:?} has never been cloned", branch.name));
        };
        if branch.incarnation.is_some() && branch.incarnation != header.shop_incarnation {
            return refused(
                "the file comes from a database with another history than the one that was cloned: it was restored or replaced; \
                 clone the shop again, or verify it with --repair"
                    .into(),
            );
        }
        let mut imported = Imported::default();
        match place(header.since.as_deref(), watermark, have)? {
            Place::Old => imported.applied.repeated = true,
            Place::Gap => {
                return refused(
                    "the file begins after what the office has: an earlier one is missing; take that in first, or make \
                     a new one at the shop"
                        .into(),
                );
            }
            Place::Next => imported.applied = self.take_in(branch, file, watermark).await?,
        }
        if let Some(push) = self.pending(branch, "push").await?.filter(has_applied) {
            self.record_push(branch, &push).await?;
            imported.acknowledged_rows = Some(push.stream.rows);
        }
        Ok(imported)
    }

    async fn take_in(&self, branch: &Branch, file: &CarriedFile, watermark: &str) -> Result<Applied, ReplicaError> {
        if file.header.bytes == 0 {
            self.advance_timestamp(branch, watermark).await?;
            return Ok(Applied { watermark: Some(watermark.to_owned()), ..Applied::default() });
        }
        self.apply_pull(branch, Some(watermark), file.stream()?).await
    }
}

/// Where a file's changes stand beside what the office has.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The office has all of them.
    Old,
    /// They begin at or before what the office has, and end after it.
    Next,
    /// Some before them are missing.
    Gap,
}

fn place(since: Option<&str>, watermark: &str, have: &str) -> Result<Place, ReplicaError> {
    let micros = |text: &str| match Since::parse(text) {
        Ok(since) => Ok(since.watermark().map_or(0, |watermark| watermark.micros)),
        Err(error) => Err(ReplicaError::FileRefused(format!("watermark {text:?}: {error}"))),
    };
    let have = micros(have)?;
    if micros(watermark)? <= have {
        return Ok(Place::Old);
    }
    Ok(if since.map(micros).transpose()?.unwrap_or(0) > have { Place::Gap } else { Place::Next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_old_next_or_behind_a_gap() {
        let at = |second: u32| format!("2026-09-22T14:03:{second:02}.042317001Z");
        let place = |since: Option<u32>, until, have| place(since.map(at).as_deref(), &at(until), &at(have)).ok();
        assert_eq!(place(None, 5, 5), Some(Place::Old));
        assert_eq!(place(Some(1), 4, 5), Some(Place::Old));
        assert_eq!(place(Some(5), 9, 5), Some(Place::Next));
        assert_eq!(place(Some(3), 9, 5), Some(Place::Next), "an overlap is harmless");
        assert_eq!(place(None, 9, 5), Some(Place::Next));
        assert_eq!(place(Some(6), 9, 5), Some(Place::Gap));
    }
}
