//! The web console: who is let in, what other sites cannot do, and the staff's work in a real browser.

#[path = "console/door.rs"]
mod door;
#[path = "console/fixture.rs"]
mod fixture;
#[path = "console/alerts.rs"]
mod alerts;
#[path = "console/api.rs"]
mod api;
#[path = "console/schedules.rs"]
mod schedules;
#[path = "console/staff.rs"]
mod staff;
