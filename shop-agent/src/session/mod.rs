//! Sessions: what the office sends, kept safe until it is applied.

pub(crate) mod chunks;
mod intake;
pub(crate) mod payload;
pub(crate) mod room;
pub(crate) mod store;
pub(crate) mod text;
