//! The line to a shop: HTTP, retries, and what the peer at its other end can do. The only module that knows HTTP.

mod address;
mod body;
mod client;
mod counted;
mod error;
mod password;
mod peer;
mod retry;
#[cfg(test)]
mod scripted;

pub use address::Address;
pub use client::{Client, LinkSettings, Patience};
pub use counted::Counters;
pub use error::LinkError;
pub use password::{Credentials, read_password};
pub use peer::Peer;
pub use retry::Retry;
