//! `sync.diff_read(id, offset, length)`: a slice of a frozen diff, any number of times.

use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::fault::{of_replica, wrong_parameters};
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply, Slice};

impl<B: Backend> Agent<B> {
    pub(super) async fn diff_read(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("sync.diff_read", params, 3, 3)?;
        let (id, offset, length) = (params.text("id")?, params.long("offset")?, params.long("length")?);
        let (Ok(offset), Ok(length)) = (u64::try_from(offset), u64::try_from(length)) else {
            return Err(wrong_parameters("sync.diff_read: offset and length are 0 or above"));
        };
        let found = self.backend.frozen_diff(&caller.office, &id).await.map_err(|error| of_replica(&error))?;
        let Some(stream) = found else {
            return Err(Fault::new(FaultCode::DiffExpired, "this diff is no longer kept; call sync.diff_open again"));
        };
        let Some(left) = stream.bytes.checked_sub(offset) else {
            return Err(wrong_parameters(format!("sync.diff_read: the diff ends at byte {}", stream.bytes)));
        };
        let path = self.backend.diff_path(&stream.id);
        Ok(Reply::Slice(Slice { path, offset, length: length.min(left) }))
    }
}
