//! `sql_abort(sid)`: drops the session and its chunks.

use protocol::fault::Fault;
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn sql_abort(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let sid = Parameters::new("sql_abort", params, 1, 1)?.sid()?;
        self.sessions.abort(sid, &caller.office).await?;
        Ok(Reply::Value(Value::Nil))
    }
}
