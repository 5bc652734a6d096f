//! The conformance suite: vectors that say what is sent and what must come back, rule by rule, and the runner that holds a
//! server against them.
//!
//! The vectors are in `fixtures/vectors/`, and compiled in: a program that travels alone can judge any server.

mod expect;
#[cfg(test)]
mod responses;
mod run;
mod vector;

pub(crate) use run::{Finding, Verdict, run};
pub(crate) use vector::{Level, vectors};
