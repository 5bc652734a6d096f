//! A shop whose database is the agent's own: power that fails, backups put back, disks that run full.

#[path = "embedded/backup.rs"]
mod backup;
#[path = "embedded/full_disk.rs"]
mod full_disk;
#[path = "embedded/shop.rs"]
mod shop;
