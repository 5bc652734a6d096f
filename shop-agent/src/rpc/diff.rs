//! `diff(since)`: the changes since a watermark, whole.

use protocol::fault::Fault;
use protocol::watermark::Since;
use protocol::xmlrpc::Value;
use replica::killpoint;
use replica::spool::FrozenStream;

use super::dispatch::Agent;
use super::fault::of_replica;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply, Slice};

impl<B: Backend> Agent<B> {
    pub(super) async fn diff(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("diff", params, 1, 1)?;
        let since = params.since(&self.options.time_zone)?;
        let stream = self.freeze(caller, since, None).await?;
        if stream.rows == 0 {
            return Ok(Reply::Value(Value::Nil));
        }
        let path = self.backend.diff_path(&stream.id);
        Ok(Reply::Slice(Slice { path, offset: 0, length: stream.bytes }))
    }

    /// The changes since a watermark, frozen for a line of that rate.
    pub(super) async fn freeze(&self, caller: &Caller, since: Since, rate: Option<u64>) -> Result<FrozenStream, Fault> {
        killpoint::reach("diff.before");
        let stream = self.backend.open_diff(&caller.office, since, rate).await.map_err(|error| of_replica(&error))?;
        killpoint::reach("diff.frozen");
        tracing::info!(office = caller.office, rows = stream.rows, bytes = stream.bytes, "diff frozen");
        Ok(stream)
    }
}
