//! Rows that cannot be merged wait with what depends on them, the others flow, and nothing is lost.

#[path = "quarantine/at_the_office.rs"]
mod at_the_office;
#[path = "quarantine/at_the_shop.rs"]
mod at_the_shop;
#[path = "quarantine/commands.rs"]
mod commands;
#[path = "quarantine/floor.rs"]
mod floor;
#[path = "quarantine/random.rs"]
mod random;
