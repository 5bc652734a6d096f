//! What the two sides tell of a contended row.

use std::collections::BTreeMap;

/// A row, or some columns of it: column to its text form, as PostgreSQL writes it; none is null.
pub type Image = BTreeMap<String, Option<String>>;

/// A side of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The office.
    Office,
    /// The shop.
    Shop,
}

impl Side {
    /// `office` or `shop`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Office => "office",
            Self::Shop => "shop",
        }
    }

    /// The side of that name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "office" => Some(Self::Office),
            "shop" => Some(Self::Shop),
            _ => None,
        }
    }

    /// The side across.
    pub fn other(self) -> Self {
        match self {
            Self::Office => Self::Shop,
            Self::Shop => Self::Office,
        }
    }
}

/// What the two sides had done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConflictKind {
    /// Both changed the same columns of a row.
    Columns,
    /// One side changed the row, the other deleted it.
    UpdateDelete,
    /// Both made a row with the same key.
    InsertInsert,
    /// The office had deleted the row; a late row of a shop refers to it and has brought it back.
    Revived,
}

impl ConflictKind {
    /// The word for it, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Columns => "columns",
            Self::UpdateDelete => "update-delete",
            Self::InsertInsert => "insert-insert",
            Self::Revived => "revived",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "columns" => Some(Self::Columns),
            "update-delete" => Some(Self::UpdateDelete),
            "insert-insert" => Some(Self::InsertInsert),
            "revived" => Some(Self::Revived),
            _ => None,
        }
    }

    /// Whether it is about the row being there at all, rather than about its columns.
    pub fn is_about_existence(self) -> bool {
        matches!(self, Self::UpdateDelete | Self::Revived)
    }
}

/// Who made the last change of a row, and when by the clock of that side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since 1970.
    pub at: i64,
    /// The database user.
    pub by: String,
    /// The program, as it names itself.
    pub application: String,
}

/// Which columns of a row a side changed since both agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// These, and what they were before.
    Columns(Image),
    /// Not known: the row is new, or it is sent whole.
    Whole,
}

impl Changed {
    /// Whether the column is, or may be, among them.
    pub(super) fn may_hold(&self, name: &str) -> bool {
        match self {
            Self::Columns(before) => before.contains_key(name),
            Self::Whole => true,
        }
    }

    /// What the column was before, where that is known.
    pub(super) fn before(&self, name: &str) -> Option<&Option<String>> {
        match self {
            Self::Columns(before) => before.get(name),
            Self::Whole => None,
        }
    }
}

/// What a side made of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// It is there.
    Present {
        /// The row, or the columns that were set, as far as they are told.
        row: Image,
        /// What of it is a change.
        changed: Changed,
    },
    /// It is gone.
    Deleted {
        /// The row as it was when both agreed, where that is known.
        was: Option<Image>,
    },
}

/// A side of a contest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// What it made of the row.
    pub version: Version,
    /// Who and when, where that is known.
    pub stamp: Option<Stamp>,
}
