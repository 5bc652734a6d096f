//! The web console: who is let in, what other sites cannot do, and the staff's work in a real browser.

#[path = "console/door.rs"]
mod door;
#[path = "console/fixture.rs"]
mod fixture;
#[path = "console/programs.rs"]
mod programs;
#[path = "console/staff.rs"]
mod staff;
