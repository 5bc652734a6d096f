//! What every typed call has in common.

use thiserror::Error;

use crate::xmlrpc::{SerdeError, Value};

/// A call of one method, with typed parameters and a typed reply.
pub trait Call {
    /// The method's name on the wire.
    const METHOD: &'static str;
    /// What it returns.
    type Reply;

    /// Its parameters, in order; optional ones that are not set are left out.
    fn params(&self) -> Vec<Value>;

    /// Understands what came back.
    ///
    /// # Errors
    /// When the peer answered with something else than the method returns.
    fn reply(value: Value) -> Result<Self::Reply, ReplyError>;
}

/// A reply that is not what the method returns.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Another type than expected.
    #[error("{method} returned {found} where {wanted} was expected; the peer speaks another protocol")]
    Type {
        /// The method that was called.
        method: &'static str,
        /// The type that came.
        found: &'static str,
        /// What should have come.
        wanted: &'static str,
    },
    /// A struct or array with other contents than expected.
    #[error("{method} returned something else than expected: {error}; the peer speaks another protocol")]
    Content {
        /// The method that was called.
        method: &'static str,
        /// What does not fit.
        error: SerdeError,
    },
}

impl ReplyError {
    pub(super) fn wrong_type<C: Call>(found: &Value, wanted: &'static str) -> Self {
        Self::Type { method: C::METHOD, found: found.type_name(), wanted }
    }
}

/// The reply of a method that returns nothing. Whatever came is taken: servers without nil send 0, true or "".
pub(super) fn nothing(_: Value) -> Result<(), ReplyError> {
    Ok(())
}

/// A reply that serde understands.
pub(super) fn typed<C: Call>(value: Value) -> Result<C::Reply, ReplyError>
where
    C::Reply: serde::de::DeserializeOwned,
{
    crate::xmlrpc::from_value(value).map_err(|error| ReplyError::Content { method: C::METHOD, error })
}

/// A struct parameter. Our own types always become a value; nil would be the honest answer if one did not.
pub(super) fn param<T: serde::Serialize>(options: &T) -> Value {
    crate::xmlrpc::to_value(options).unwrap_or(Value::Nil)
}
