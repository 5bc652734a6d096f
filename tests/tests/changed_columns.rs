//! Changed columns: what a diff carries of an update, and that nothing is lost for it.

#[path = "changed_columns/capture.rs"]
mod capture;
#[path = "changed_columns/travel.rs"]
mod travel;
#[path = "changed_columns/upgrade.rs"]
mod upgrade;
