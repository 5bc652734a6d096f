//! The web console: who is let in, what other sites cannot do, what runs and tells by itself, the programming interface, and
//! the staff's work in a real browser.

#[path = "console/alerts.rs"]
mod alerts;
#[path = "console/api.rs"]
mod api;
#[path = "console/door.rs"]
mod door;
#[path = "console/fixture.rs"]
mod fixture;
#[path = "console/lists.rs"]
mod lists;
#[path = "console/routes.rs"]
mod routes;
#[path = "console/schedules.rs"]
mod schedules;
#[path = "console/staff.rs"]
mod staff;
