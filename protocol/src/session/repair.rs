//! What a repair does about a row on which two ends do not agree: a pure function of the table's direction and of what
//! each end knows. No row that only one side has is ever lost by it.

use crate::policy::Direction;

/// How a row was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Both ends have it, with other values.
    Differs,
    /// The office alone has it.
    AtOffice {
        /// Whether the shop remembers that it deleted it.
        shop_deleted: bool,
    },
    /// The shop alone has it.
    AtShop {
        /// Whether the office remembers that it deleted it.
        office_deleted: bool,
    },
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// It stays as it is: shops purge what the office keeps.
    Keep,
    /// The office sends it again, or its delete.
    Send,
    /// The shop sends it again, or its delete.
    Pull,
    /// Both do, and the table's conflict rule decides.
    Settle,
    /// The office takes it back from the shop: it was the office's own, and its database has lost it.
    TakeBack,
}

/// Decides about one row. `office_restored`: the office's database knows less than it had told.
pub fn mend(direction: Direction, found: Found, office_restored: bool) -> Mend {
    match (direction, found) {
        (Direction::Initial | Direction::Local, _) | (Direction::FromTarget, Found::AtOffice { .. }) => Mend::Keep,
        (Direction::FromSource, Found::AtShop { office_deleted: false }) if office_restored => Mend::TakeBack,
        (Direction::FromSource, _) => Mend::Send,
        (Direction::FromTarget, _) => Mend::Pull,
        (Direction::Both, Found::Differs) => Mend::Settle,
        (Direction::Both, Found::AtOffice { shop_deleted: true } | Found::AtShop { office_deleted: false }) => {
            Mend::Pull
        }
        (Direction::Both, Found::AtOffice { .. } | Found::AtShop { .. }) => Mend::Send,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Found; 5] = [
        Found::Differs,
        Found::AtOffice { shop_deleted: false },
        Found::AtOffice { shop_deleted: true },
        Found::AtShop { office_deleted: false },
        Found::AtShop { office_deleted: true },
    ];

    #[test]
    fn nothing_of_a_shop_is_ever_deleted_at_the_office_because_the_shop_no_longer_has_it() {
        for found in ALL {
            for restored in [false, true] {
                let decided = mend(Direction::FromTarget, found, restored);
                let expected = if matches!(found, Found::AtOffice { .. }) { Mend::Keep } else { Mend::Pull };
                assert_eq!(decided, expected);
                assert_ne!(decided, Mend::Send, "from-target rows never travel to the shop");
            }
        }
    }

    #[test]
    fn a_restored_office_takes_back_what_only_its_shops_still_have() {
        let only_there = Found::AtShop { office_deleted: false };
        assert_eq!(mend(Direction::FromSource, only_there, true), Mend::TakeBack);
        assert_eq!(mend(Direction::FromSource, only_there, false), Mend::Send);
        assert_eq!(mend(Direction::FromSource, Found::AtShop { office_deleted: true }, true), Mend::Send);
    }

    #[test]
    fn deletes_of_shared_rows_stay_deletes_and_rows_of_one_side_are_kept() {
        assert_eq!(mend(Direction::Both, Found::AtOffice { shop_deleted: true }, false), Mend::Pull);
        assert_eq!(mend(Direction::Both, Found::AtShop { office_deleted: true }, false), Mend::Send);
        assert_eq!(mend(Direction::Both, Found::AtOffice { shop_deleted: false }, true), Mend::Send);
        assert_eq!(mend(Direction::Both, Found::AtShop { office_deleted: false }, true), Mend::Pull);
        assert_eq!(mend(Direction::Both, Found::Differs, false), Mend::Settle);
    }
}
