//! The control of a session at both ends, as pure state machines: `(state, event) -> (state, actions)`.
//!
//! They decide; whoever drives them does the I/O and reports back with the next event. Rows and chunks pass them by.

pub mod agent;
pub mod ledger;
pub mod office;
mod remote;
pub mod repair;
