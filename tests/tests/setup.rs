//! `setup` of both ends: by flags alone, and by answers typed at a terminal; what it leaves behind works.

#[path = "setup/flags.rs"]
mod flags;
#[path = "setup/terminal.rs"]
mod terminal;
