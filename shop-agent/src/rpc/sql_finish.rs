//! `sql_finish(sid)`: applies the session, once, however often it is called.

use protocol::fault::Fault;
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn sql_finish(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let sid = Parameters::new("sql_finish", params, 1, 1)?.sid()?;
        self.sessions.finish(sid, &caller.office).await?;
        Ok(Reply::Value(Value::Nil))
    }
}
