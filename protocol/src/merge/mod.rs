//! The merge: what becomes of a row that both sides changed since they last agreed. One pure function, [`decide`], decides
//! it in every store (DESIGN, section 6).
//!
//! It is told what each side did and which rule holds, and nothing else: not which side asks, nor what time it is. So both
//! ends, which know the same two versions, come to the same row, and the loser is named wherever there is one.

pub mod amounts;
mod version;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::policy::ConflictRule;
pub use version::{Changed, ConflictKind, Contender, Image, Side, Stamp, Version};

/// What stands, and what was overruled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The row: the columns that either side told; none when there is no row. Amounts are left out (see [`amounts`]),
    /// save in a row that comes back, which has those of its tombstone.
    pub row: Option<Image>,
    /// What has to be recorded; none where nobody was overruled.
    pub conflict: Option<Found>,
}

/// A conflict, as decided by the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the two sides had done.
    pub kind: ConflictKind,
    /// The columns that both gave different values, sorted; empty where it is about the row being there at all.
    pub columns: Vec<String>,
    /// The side that stands.
    pub winner: Side,
}

impl Verdict {
    /// Whether `us`, where this was decided, has to send its row whole: the other side was overruled, and need not hold
    /// what our own changes would tell it.
    pub fn travels_whole(&self, us: Side) -> bool {
        self.row.is_some() && self.conflict.as_ref().is_some_and(|found| found.winner == us)
    }
}

/// The side that a rule prefers.
///
/// `manual` lets the office's value stand on both sides until somebody decides. `newest-wins` goes by the stamps; where one
/// is missing, as from a peer with base methods only, or both are of one instant, the office wins.
pub fn winner(rule: ConflictRule, office: Option<&Stamp>, shop: Option<&Stamp>) -> Side {
    match rule {
        ConflictRule::OfficeWins | ConflictRule::Manual => Side::Office,
        ConflictRule::ShopWins => Side::Shop,
        ConflictRule::NewestWins => match (office, shop) {
            (Some(office), Some(shop)) if shop.at > office.at => Side::Shop,
            _ => Side::Office,
        },
    }
}

/// Decides about one contended row. Columns in `amounts` add up; they are never in conflict.
pub fn decide(rule: ConflictRule, amounts: &BTreeSet<String>, office: &Contender, shop: &Contender) -> Verdict {
    let winner = winner(rule, office.stamp.as_ref(), shop.stamp.as_ref());
    match (&office.version, &shop.version) {
        (Version::Deleted { .. }, Version::Deleted { .. }) => Verdict { row: None, conflict: None },
        (Version::Deleted { was }, Version::Present { row, .. }) => {
            existence(amounts, winner, Side::Shop, was.as_ref(), row)
        }
        (Version::Present { row, .. }, Version::Deleted { was }) => {
            existence(amounts, winner, Side::Office, was.as_ref(), row)
        }
        (
            Version::Present { row: office, changed: office_changed },
            Version::Present { row: shop, changed: shop_changed },
        ) => columns(amounts, winner, (office, office_changed), (shop, shop_changed)),
    }
}

/// One side deleted the row, the other (`keeper`) has it as `row`, or has set these columns of it.
fn existence(amounts: &BTreeSet<String>, winner: Side, keeper: Side, was: Option<&Image>, row: &Image) -> Verdict {
    let mut told = row.iter().filter(|(name, _)| !amounts.contains(*name));
    // who deleted it had seen all that the other side tells
    if was.is_some_and(|was| told.all(|(name, value)| was.get(name) == Some(value))) {
        return Verdict { row: None, conflict: None };
    }
    let conflict = Some(Found { kind: ConflictKind::UpdateDelete, columns: Vec::new(), winner });
    if winner != keeper {
        return Verdict { row: None, conflict };
    }
    let mut back = was.cloned().unwrap_or_default();
    back.extend(
        row.iter()
            .filter(|(name, _)| !amounts.contains(*name) || was.is_none())
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Verdict { row: Some(back), conflict }
}

fn columns(
    amounts: &BTreeSet<String>,
    winner: Side,
    (office, office_changed): (&Image, &Changed),
    (shop, shop_changed): (&Image, &Changed),
) -> Verdict {
    let mut row = Image::new();
    let mut contended = Vec::new();
    let names: BTreeSet<&String> = office.keys().chain(shop.keys()).filter(|name| !amounts.contains(*name)).collect();
    for name in names {
        let (ours, theirs) = match (office.get(name), shop.get(name)) {
            (Some(office), Some(shop)) => (office, shop),
            (Some(only), None) | (None, Some(only)) => {
                row.insert(name.clone(), only.clone());
                continue;
            }
            (None, None) => continue,
        };
        let side = if ours == theirs {
            Side::Office
        } else {
            newer(office_changed, shop_changed, name, ours, theirs).unwrap_or_else(|| {
                contended.push(name.clone());
                winner
            })
        };
        row.insert(name.clone(), if side == Side::Office { ours.clone() } else { theirs.clone() });
    }
    let kind = match (office_changed, shop_changed) {
        (Changed::Whole, Changed::Whole) => ConflictKind::InsertInsert,
        _ => ConflictKind::Columns,
    };
    let conflict = (!contended.is_empty()).then_some(Found { kind, columns: contended, winner });
    Verdict { row: Some(row), conflict }
}

/// The side whose value of a column is known to come after the other's; none when both changed it unseen by each other.
fn newer(office: &Changed, shop: &Changed, name: &str, ours: &Option<String>, theirs: &Option<String>) -> Option<Side> {
    match (office.may_hold(name), shop.may_hold(name)) {
        (true, false) => return Some(Side::Office),
        (false, true) => return Some(Side::Shop),
        _ => {}
    }
    // a change that began with the other's value has seen it
    let office_follows = office.before(name) == Some(theirs);
    let shop_follows = shop.before(name) == Some(ours);
    match (office_follows, shop_follows) {
        (true, false) => Some(Side::Office),
        (false, true) => Some(Side::Shop),
        _ => None,
    }
}
