//! Names and passwords of those who may come in, at both ends: the agent's port and the office's console keep them in the
//! same way, and make guessing cost the same.

mod password;
mod store;
mod throttle;

pub use password::{HashError, hash_password, verify_password};
pub use store::{CredentialsError, load, save};
pub use throttle::{Bounds, Throttle, network};
