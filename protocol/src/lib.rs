//! The wire and the vocabulary of office/shop synchronisation.
//!
//! Nothing in this crate touches a socket, a file, a clock, a random number or a database: what needs one receives it.

pub mod address;
pub mod base64_gzip;
pub mod by_hand;
pub mod carried;
pub mod chunk;
pub mod control_totals;
pub mod dialect;
pub mod fault;
pub mod history;
pub mod layout;
pub mod merge;
pub mod methods;
pub mod names;
pub mod policy;
pub mod session;
pub mod snapshot;
pub mod watermark;
pub mod xmlrpc;
