//! Files that carry a frozen stream where no line goes: one line of JSON, then the stream's bytes.
//!
//! A file holds what a session on the line would have held, under the same name (the session's key), so that it does not
//! matter which of the two arrives first, or how often. What one end knows of the other travels with it: the watermark
//! that the office has taken in, the sessions that the shop has applied.

use serde::{Deserialize, Serialize};

/// What the header says first; another version has another one.
pub const FORMAT: &str = "office-shop-sync 1";

/// The longest header, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Which way a file goes, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CarriedKind {
    /// From the office: a full copy.
    Clone,
    /// From the office: what it has changed.
    Update,
    /// From a shop: what it has changed.
    Diff,
}

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedHeader {
    /// [`FORMAT`].
    pub format: String,
    /// Which way it goes.
    pub kind: CarriedKind,
    /// Name of the branch.
    pub branch: String,
    /// Name of the branch's policy.
    pub policy: String,
    /// Digest of what the policy means.
    pub policy_digest: String,
    /// Incarnation of the shop's database: as the office knows it, or as it is.
    pub shop_incarnation: Option<String>,
    /// From the office: key of the session; none when there is nothing to apply.
    #[serde(default)]
    pub key: Option<SessionKey>,
    /// From the office: the shop's watermark up to which it has everything.
    #[serde(default)]
    pub acknowledges: Option<String>,
    /// Of a clone: the branch's id range.
    #[serde(default)]
    pub id_range: Option<(i64, i64)>,
    /// From a shop: the watermark after which the changes begin; none means since the shop's last `clean`.
    #[serde(default)]
    pub since: Option<String>,
    /// From a shop: the watermark at which they end.
    #[serde(default)]
    pub watermark: Option<String>,
    /// From a shop: the newest sessions of the office that it has applied.
    #[serde(default)]
    pub applied: Vec<String>,
    /// Rows that the stream writes or deletes.
    pub rows: u64,
    /// Length of the stream, in bytes.
    pub bytes: u64,
    /// SHA-256 of the stream, in lower-case hexadecimal.
    pub sha256: String,
}

/// A file is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarriedError {
    /// Not a file of this product.
    #[error("this is no file of `--export`: it has no header")]
    NotOurs,
    /// Of another version.
    #[error("the file is of another version ({0:?}); this program reads {FORMAT:?}")]
    OtherVersion(String),
}

impl CarriedHeader {
    /// The header as it stands in the file, with its newline.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Reads a header, with or without its newline.
    ///
    /// # Errors
    /// When it is none, or one of another version.
    pub fn parse(line: &[u8]) -> Result<Self, CarriedError> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
        }
        let version: Version = serde_json::from_slice(line).map_err(|_| CarriedError::NotOurs)?;
        if version.format != FORMAT {
            return Err(if version.format.starts_with("office-shop-sync") {
                CarriedError::OtherVersion(version.format)
            } else {
                CarriedError::NotOurs
            });
        }
        serde_json::from_slice(line).map_err(|_| CarriedError::NotOurs)
    }
}

/// The key of a session by which an office writes to a shop: unique, and in the order in which the office made them, so
/// that a file which comes late is told from one that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(String);

impl SessionKey {
    /// The key with that number among those of one branch, in one incarnation of the office's database.
    pub fn new(number: i64, office_incarnation: &str, random: u64) -> Self {
        Self(format!("n{number:010}-{}-{random:016x}", epoch(office_incarnation)))
    }

    /// As it is written in the ledger.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its number, and the incarnation it counts in; none for a key that somebody else made.
    fn place(&self) -> Option<(&str, i64)> {
        let (number, rest) = self.0.strip_prefix('n')?.split_once('-')?;
        let (epoch, _) = rest.split_once('-')?;
        Some((epoch, number.parse().ok()?))
    }

    /// Whether the office made it before the other one; false where that cannot be known.
    pub fn is_before(&self, other: &Self) -> bool {
        match (self.place(), other.place()) {
            (Some((epoch, number)), Some((other_epoch, other_number))) => epoch == other_epoch && number < other_number,
            _ => false,
        }
    }
}

impl From<String> for SessionKey {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The part of an incarnation that tells it from others well enough.
fn epoch(incarnation: &str) -> &str {
    incarnation.get(..8).unwrap_or(incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> CarriedHeader {
        CarriedHeader {
            format: FORMAT.into(),
            kind: CarriedKind::Update,
            branch: "north".into(),
            policy: "shop".into(),
            policy_digest: "d".into(),
            shop_incarnation: None,
            key: Some(SessionKey::new(7, "0123456789", 1)),
            acknowledges: Some("2006-09-22T14:03:11.042317001Z".into()),
            id_range: None,
            since: None,
            watermark: None,
            applied: Vec::new(),
            rows: 1,
            bytes: 2,
            sha256: "s".into(),
        }
    }

    #[test]
    fn a_header_is_one_line_and_comes_back() {
        let line = header().to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(CarriedHeader::parse(line.as_bytes()), Ok(header()));
    }

    #[test]
    fn what_is_no_header_and_what_is_a_newer_one_are_told_apart() {
        for text in ["", "BEGIN;", "{}", "{\"format\":\"something else\"}", "\u{1f}\u{8b}"] {
            assert_eq!(CarriedHeader::parse(text.as_bytes()), Err(CarriedError::NotOurs), "{text}");
        }
        let newer = "{\"format\":\"office-shop-sync 2\",\"all\":\"new\"}";
        assert_eq!(
            CarriedHeader::parse(newer.as_bytes()),
            Err(CarriedError::OtherVersion("office-shop-sync 2".into()))
        );
    }

    #[test]
    fn keys_know_their_order_within_one_incarnation_only() {
        let key = |number, incarnation: &str| SessionKey::new(number, incarnation, 9);
        assert!(key(9, "aaaaaaaa-1").is_before(&key(10, "aaaaaaaa-1")));
        assert!(!key(10, "aaaaaaaa-1").is_before(&key(9, "aaaaaaaa-1")));
        assert!(!key(9, "aaaaaaaa-1").is_before(&key(10, "bbbbbbbb-1")));
        assert!(!SessionKey::from("of somebody else".to_owned()).is_before(&key(1, "aaaaaaaa")));
    }
}
