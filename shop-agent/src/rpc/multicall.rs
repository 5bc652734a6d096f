//! `system.multicall`: several calls in one request, in order; a fault of one does not stop the rest.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use protocol::fault::{Fault, FaultCode};
use protocol::methods::{multicall_answer, multicall_calls};
use protocol::xmlrpc::{Blob, Value};

use super::dispatch::{Agent, Blobs};
use super::fault::of_io;
use crate::backend::Backend;
use crate::limits::MULTICALL_BYTES_MAX;
use crate::server::{Caller, Reply, Slice};

impl<B: Backend> Agent<B> {
    pub(super) async fn multicall(
        &self,
        caller: &Caller,
        params: Vec<Value>,
        blobs: &mut Blobs,
    ) -> Result<Reply, Fault> {
        let mut left = MULTICALL_BYTES_MAX;
        let mut answers = Vec::new();
        for call in multicall_calls(params)? {
            let answer = match call {
                Err(fault) => Err(fault),
                // boxed: a multicall has the calls inside it, and their futures are large
                Ok(call) => match Box::pin(self.one(caller, call, blobs)).await {
                    Ok(Reply::Value(value)) => take(&mut left, value.bytes()).map(|()| value),
                    Ok(Reply::Slice(slice)) => inline(slice, &mut left).await,
                    Err(fault) => Err(fault),
                },
            };
            answers.push(multicall_answer(answer));
        }
        Ok(Reply::Value(Value::Array(answers)))
    }
}

/// Reckons an answer in; of one that does not fit only the fault is kept.
fn take(left: &mut usize, bytes: usize) -> Result<(), Fault> {
    *left = left.checked_sub(bytes).ok_or_else(|| {
        Fault::new(FaultCode::LimitExceeded, "the answers of one multicall would be too large; call it on its own")
    })?;
    Ok(())
}

async fn inline(slice: Slice, left: &mut usize) -> Result<Value, Fault> {
    take(left, usize::try_from(slice.length).unwrap_or(usize::MAX))?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut file = File::open(&slice.path)?;
        file.seek(SeekFrom::Start(slice.offset))?;
        let mut bytes = Vec::new();
        file.take(slice.length).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match reading.await.map_err(std::io::Error::other).flatten() {
        Ok(bytes) => Ok(Value::Base64(Blob::Inline(bytes))),
        Err(error) => Err(of_io("read the diff", &error)),
    }
}
