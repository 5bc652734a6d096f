//! A PostgreSQL database that takes part in synchronisation, at the office or at a shop.
//!
//! The only crate of the product that holds SQL. [`shop::Shop`] is the database behind a shop agent,
//! [`office::Office`] the one behind office-client; both are made of the same parts:
//! [`catalogue`] (what the tables look like), [`capture`] (triggers and change log), [`watermark`]
//! (timestamps that stand for snapshots), [`diff`] (changes into a frozen stream), [`apply`] (a frozen stream into
//! the tables, in one transaction; [`binary_copy`] is how rows get there fast), [`ids`] (id ranges) and [`digest`]
//! (fingerprints).

pub mod apply;
pub mod binary_copy;
pub mod capture;
pub mod carried;
pub mod catalogue;
pub mod clean;
mod control_totals;
pub mod database;
pub mod diff;
pub mod digest;
pub mod drift;
pub mod embedded;
pub mod error;
pub mod findings;
pub mod ids;
pub mod killpoint;
pub mod migrate;
pub mod node;
pub mod office;
pub mod quarantine;
pub mod renewal;
pub mod retention;
pub mod rights;
pub mod safety;
pub mod shop;
pub mod spool;
mod state_file;
pub mod subset;
mod transplant;
pub mod watermark;
pub mod witness;

pub use error::ReplicaError;
