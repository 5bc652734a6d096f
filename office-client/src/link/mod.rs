//! The line to a shop: HTTP, TLS, retries, and what the peer at its other end can do. The only module that knows HTTP.

mod body;
mod client;
pub(crate) mod clock;
mod counted;
mod dial;
mod error;
mod line;
mod pace;
mod password;
mod peer;
mod raw;
mod retry;
#[cfg(test)]
mod scripted;
mod trust;
mod webhook;

pub(crate) use protocol::address::Address;

pub(crate) use client::{Client, LinkSettings, Patience};
pub(crate) use counted::Counters;
pub(crate) use error::LinkError;
pub(crate) use line::{Line, LineSettings, hang_up_all};
pub(crate) use password::{Credentials, read_password};
pub(crate) use peer::Peer;
pub(crate) use raw::{Heard, RawAnswer, exchange};
pub(crate) use retry::Retry;
pub(crate) use trust::{TrustSettings, parse_fingerprint};
pub(crate) use webhook::Webhook;
