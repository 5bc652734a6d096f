//! `sync.digest(struct)`: counts and fingerprints of tables.

use protocol::fault::Fault;
use protocol::methods::DigestRequest;
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::fault::{of_replica, wrong_parameters};
use super::parameters::Parameters;
use super::sql_status::spelled;
use crate::backend::Backend;
use crate::server::Reply;

impl<B: Backend> Agent<B> {
    pub(super) async fn digest(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        let request: DigestRequest = Parameters::new("sync.digest", params, 0, 1)?.options("request")?;
        if request.low.is_some() || request.high.is_some() {
            // better no answer than one for other rows than were asked for
            return Err(wrong_parameters(
                "sync.digest: ranges are not supported by this agent; leave low and high out",
            ));
        }
        let digests = self.backend.digests(&request.tables).await.map_err(|error| of_replica(&error))?;
        spelled(&digests)
    }
}
