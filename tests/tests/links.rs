//! Bad lines, with the real programs: slow ones that drop, ones that are dialled, and ones whose bytes are dear.
//!
//! `SYNC_LINE_BYTES=N` sets how much crosses the slow line, `SYNC_SOAK_BYTES=N` how much a clone carries while its agent
//! is killed; `./test --soak` runs both with the full figures.

#[path = "links/bytes.rs"]
mod bytes;
#[path = "links/dialled.rs"]
mod dialled;
#[path = "links/fixture.rs"]
mod fixture;
#[path = "links/rate.rs"]
mod rate;
#[path = "links/several.rs"]
mod several;
#[path = "links/slow.rs"]
mod slow;
#[path = "links/watched.rs"]
mod watched;
