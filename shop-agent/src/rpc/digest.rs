//! `sync.digest(struct)`: counts and fingerprints of tables.

use protocol::fault::Fault;
use protocol::methods::DigestRequest;
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::fault::of_replica;
use super::parameters::Parameters;
use super::sql_status::spelled;
use crate::backend::Backend;
use crate::limits::ANSWER_BYTES_MAX;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn digest(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let request: DigestRequest = Parameters::new("sync.digest", params, 0, 1)?.options("request")?;
        let digests = self
            .backend
            .digests(&caller.office, &request, ANSWER_BYTES_MAX)
            .await
            .map_err(|error| of_replica(&error))?;
        spelled(&digests)
    }
}
