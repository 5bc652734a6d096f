//! `setidstart(id)`: where the branch's own ids begin; and its older form with names and an upper bound.

use protocol::fault::Fault;
use protocol::xmlrpc::Value;
use replica::killpoint;

use super::dispatch::Agent;
use super::fault::{of_replica, wrong_parameters};
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::Reply;

impl<B: Backend> Agent<B> {
    pub(super) async fn setidstart(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        let id = Parameters::new("setidstart", params, 1, 1)?.long("id")?;
        self.set_id_range(id, None).await
    }

    /// `bump_sequences(names, low, high)`. The names are of the old program's choice; which sequences count is the
    /// policy's.
    pub(super) async fn bump_sequences(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("bump_sequences", params, 3, 3)?;
        let names = params.value()?;
        if names.as_array().is_none_or(|names| names.iter().any(|name| name.as_str().is_none())) {
            return Err(params.wrong("names", "an array of strings", &names));
        }
        let (low, high) = (params.long("low")?, params.long("high")?);
        if high <= low {
            return Err(wrong_parameters("bump_sequences: high must be above low"));
        }
        self.set_id_range(low, Some(high)).await
    }

    async fn set_id_range(&self, low: i64, high: Option<i64>) -> Result<Reply, Fault> {
        if low < 0 {
            return Err(wrong_parameters("an id range begins at 0 or above"));
        }
        killpoint::reach("setidstart.before");
        self.backend.set_id_start(low, high).await.map_err(|error| of_replica(&error))?;
        killpoint::reach("setidstart.after");
        tracing::info!(low, high, "id range set");
        Ok(Reply::Value(Value::Nil))
    }
}
