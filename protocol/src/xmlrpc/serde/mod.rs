//! Between Rust types and values. Options: `None` is a nil or an absent member; bytes are base64.

mod de;
mod error;
mod ser;

pub use de::from_value;
pub use error::SerdeError;
pub use ser::to_value;
