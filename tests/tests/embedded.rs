//! An end whose database is its program's own: power that fails, backups put back, disks that run full.

#[path = "embedded/backup.rs"]
mod backup;
#[path = "embedded/disk.rs"]
mod disk;
#[path = "embedded/full_disk.rs"]
mod full_disk;
#[path = "embedded/headquarters.rs"]
mod headquarters;
#[path = "embedded/moves.rs"]
mod moves;
#[path = "embedded/office.rs"]
mod office;
#[path = "embedded/shop.rs"]
mod shop;
