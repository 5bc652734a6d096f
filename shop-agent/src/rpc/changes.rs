//! `changes(policy, since)` of the first implementation: the rows of a diff as nested lists of strings.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use protocol::chunk::{InflateLimits, Inflater};
use protocol::fault::{Fault, FaultCode};
use protocol::methods::{ChangesError, changes};
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::fault::{chain, of_io};
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn changes(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("changes", params, 2, 2)?;
        let (policy, ours) = (params.text("policy")?, self.policy());
        if policy != ours {
            let message = format!("changes: the policy of this shop is {ours:?}");
            return Err(Fault::new(FaultCode::Application, message));
        }
        let stream = self.freeze(caller, params.since(&self.options.time_zone)?, None).await?;
        if stream.rows == 0 {
            return Ok(Reply::Value(Value::Array(Vec::new())));
        }
        let path = self.backend.diff_path(&stream.id);
        let reading = tokio::task::spawn_blocking(move || rows_of(path));
        reading.await.map_err(|error| of_io("read the diff", &std::io::Error::other(error)))?.map(Reply::Value)
    }
}

fn rows_of(path: PathBuf) -> Result<Value, Fault> {
    let file = File::open(path).map_err(|error| of_io("read the diff", &error))?;
    let script = BufReader::new(Inflater::new(BufReader::new(file), InflateLimits::default()));
    changes(script).map_err(|error| match error {
        ChangesError::TooLarge => Fault::new(FaultCode::LimitExceeded, error.to_string()),
        ChangesError::Script(_) | ChangesError::Row(_) => {
            tracing::error!(error = chain(&error), "a frozen diff cannot be read");
            Fault::new(FaultCode::Internal, "internal error; the shop's log says more")
        }
    })
}
