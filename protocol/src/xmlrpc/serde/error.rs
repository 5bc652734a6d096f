//! What can be wrong between a Rust type and a value.

use std::fmt::Display;

use thiserror::Error;

/// Why a value does not fit a Rust type, or a Rust type no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SerdeError {
    /// The type itself refused; serde's words.
    #[error("{0}")]
    Custom(String),
    /// A number that has no type in XML-RPC.
    #[error("the number {0} does not fit 64 bits")]
    Number(String),
    /// A map whose keys are no strings.
    #[error("a struct's member name must be a string")]
    Key,
    /// A base64 whose bytes are in a sink.
    #[error("a spooled base64 cannot be read from memory")]
    Spooled,
}

impl serde::ser::Error for SerdeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}
