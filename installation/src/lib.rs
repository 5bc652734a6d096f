//! What an installation of either program needs beyond its work: questions at a terminal, configuration files that are
//! filled in, passwords that can be read out, the account that a service runs
//! as, and archives for support.
#![forbid(unsafe_code)]

mod account;
mod bundle;
mod hand_over;
mod manual;
mod password;
pub mod said;
mod syntax;
mod template;
mod terminal;

pub use account::{Account, AccountError};
pub use bundle::{Bundle, HIDDEN};
pub use hand_over::HandOver;
pub use manual::manual_page;
pub use password::made_password;
pub use syntax::fault_in;
pub use template::{Written, file_name, fill, keep_beside, write_settings};
pub use terminal::{ask, ask_hidden, ask_until, is_there as terminal_is_there};
