//! Databases restored from a backup, and databases in use from two places: noticed at the next contact, stopped before
//! harm, and brought together without losing a row that only one side has.

#[path = "restore/fixture.rs"]
mod fixture;
#[path = "restore/lost.rs"]
mod lost;
#[path = "restore/noticed.rs"]
mod noticed;
#[path = "restore/repaired.rs"]
mod repaired;
