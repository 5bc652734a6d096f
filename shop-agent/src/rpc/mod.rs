//! The methods: each takes its parameters apart, does its work, and answers or gives a fault.

mod changes;
mod clean;
mod diff;
mod diff_open;
mod diff_read;
mod digest;
mod dispatch;
mod echo;
pub(crate) mod fault;
mod fresh;
mod hello;
mod layout;
mod legacy;
mod multicall;
mod parameters;
mod repair;
mod setidstart;
mod sql_abort;
mod sql_create;
mod sql_finish;
mod sql_prepare;
mod sql_status;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub(crate) use dispatch::{Agent, AgentOptions};
pub(crate) use fault::chain;
