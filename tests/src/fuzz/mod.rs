//! Fuzzing: what arbitrary bytes must not do to the readers of the product, and a mutator that makes them.
//!
//! The targets are plain functions, so that three callers share them: the test that replays the corpus, the program
//! `fuzz` that mutates it for as long as it is told, and `fuzz/` for libFuzzer, which is led by coverage.

pub mod corpus;
pub mod http;
pub mod mutate;
pub mod targets;

pub use targets::{Target, all, find};
