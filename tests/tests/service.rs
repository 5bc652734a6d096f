//! The agent as a service: what systemd is told and hands over, what those who watch it are told.

#[path = "service/bundle.rs"]
mod bundle;
#[path = "service/monitor.rs"]
mod monitor;
#[path = "service/reload.rs"]
mod reload;
#[path = "service/systemd.rs"]
mod systemd;
#[path = "service/units.rs"]
mod units;
