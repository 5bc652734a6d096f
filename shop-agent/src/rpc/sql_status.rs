//! `sql_status(sid)`: what a resuming client asks first.

use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::{Value, to_value};

use super::dispatch::Agent;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn sql_status(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let sid = Parameters::new("sql_status", params, 1, 1)?.sid()?;
        let status = self.sessions.status(sid, &caller.office).await?;
        spelled(&status)
    }
}

/// A struct or array of our own as an answer.
pub(super) fn spelled<T: serde::Serialize>(answer: &T) -> Result<Reply, Fault> {
    to_value(answer).map(Reply::Value).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        Fault::new(FaultCode::Internal, "internal error: the answer has no spelling")
    })
}
