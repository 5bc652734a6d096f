//! What is shipped: Debian packages and archives of static programs, installed, used, upgraded and removed.

#[path = "packages/debian.rs"]
mod debian;
#[path = "packages/machine.rs"]
mod machine;
#[path = "packages/service.rs"]
mod service;
#[path = "packages/tarball.rs"]
mod tarball;
