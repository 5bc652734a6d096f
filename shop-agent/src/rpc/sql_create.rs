//! `sql_create(sid, data)` and `sql_create(sid, data, seq)`: adds one chunk.

use protocol::fault::Fault;
use protocol::xmlrpc::{Blob, Value};

use super::dispatch::{Agent, Blobs};
use super::fault::wrong_parameters;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply};
use crate::session::payload::Payload;
use crate::session::store::ChunkData;

impl<B: Backend> Agent<B> {
    pub(super) async fn sql_create(
        &self,
        caller: &Caller,
        method: &str,
        params: Vec<Value>,
        blobs: &mut Blobs,
    ) -> Result<Reply, Fault> {
        let mut params = Parameters::new(method, params, 2, 3)?;
        let sid = params.sid()?;
        let data = match params.value()? {
            Value::Base64(Blob::Inline(bytes)) => ChunkData::Bytes(Payload::Bytes(bytes)),
            Value::Base64(Blob::Spooled { index, .. }) => {
                let blob = blobs.take(index).ok_or_else(|| wrong_parameters("the data is not there"))?;
                ChunkData::Bytes(Payload::File(blob))
            }
            Value::String(text) => ChunkData::Text(text),
            other => return Err(params.wrong("data", "base64 or a string", &other)),
        };
        let seq = match params.optional() {
            None => None,
            Some(value) => {
                let seq = value.as_long().and_then(|seq| u64::try_from(seq).ok());
                Some(seq.ok_or_else(|| wrong_parameters(format!("{method}: seq counts the chunks from 0")))?)
            }
        };
        self.sessions.chunk(sid, &caller.office, seq, data).await?;
        Ok(Reply::Value(Value::Nil))
    }
}
