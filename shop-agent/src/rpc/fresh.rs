//! `sync.fresh()`: an office that has nothing for the shop says so, and the tables are as fresh as that.

use protocol::fault::Fault;
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::fault::of_replica;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::Reply;

impl<B: Backend> Agent<B> {
    pub(super) async fn fresh(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        Parameters::new("sync.fresh", params, 0, 0)?;
        self.backend.fresh().await.map_err(|error| of_replica(&error))?;
        Ok(Reply::Value(Value::Nil))
    }
}
