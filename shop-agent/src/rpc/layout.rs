//! `sync.layout(struct)`: what the tables of both ends look like, told when their digests differ.

use protocol::fault::Fault;
use protocol::methods::Layout;
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::fault::of_replica;
use super::parameters::Parameters;
use super::sql_status::spelled;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn layout(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let theirs: Layout = Parameters::new("sync.layout", params, 1, 1)?.options("struct")?;
        let theirs = theirs.remember.then_some(theirs.tables);
        let tables = self.backend.exchange_layout(&caller.office, theirs).await.map_err(|error| of_replica(&error))?;
        spelled(&Layout { tables, remember: false })
    }
}
