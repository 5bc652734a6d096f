//! Harness of the tests that need more than one piece: real databases, real programs.
//!
//! Everything here blocks and panics with a readable reason when it cannot do what it says: a test that cannot be set up
//! has failed. It may be called from plain `#[test]` functions and, since it has its own runtime, from async ones.
//!
//! - [`cluster`]: a throwaway PostgreSQL cluster per test process, fresh databases in it ([`database`])
//! - [`process`]: the product's own programs, started, watched, killed
//! - [`kit`]: an office, shops, and their agents, ready to synchronise
//! - [`engine`]: both ends in this process, without programs and wire between them
//! - [`compare`]: whether two databases hold the same rows, and where not
//! - [`proxy`]: a line that is slow, drops, stalls, loses and doubles
//! - [`fuzz`]: what arbitrary bytes must not do, and a mutator that makes them
//! - [`sim`]: the whole protocol in memory, with faults
//! - [`psql`], [`python`]: other people's programs
//! - [`not_run`]: saying that a test does not run, and why
//! - [`wait_for`]: waiting for a condition instead of for a time

pub mod canary;
pub mod cluster;
pub mod compare;
pub mod database;
pub mod engine;
pub mod fuzz;
pub mod kit;
pub mod not_run;
pub mod process;
pub mod proxy;
pub mod psql;
pub mod python;
pub mod runtime;
pub mod sim;
pub mod wait_for;
