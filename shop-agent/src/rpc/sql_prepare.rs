//! `sql_prepare()` and `sql_prepare(options)`: opens a session.

use protocol::fault::Fault;
use protocol::methods::PrepareOptions;
use protocol::xmlrpc::Value;
use replica::shop::NewSession;

use super::dispatch::Agent;
use super::fault::wrong_parameters;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::limits::KEY_BYTES_MAX;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn sql_prepare(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("sql_prepare", params, 0, 1)?;
        let options: PrepareOptions = params.options("options")?;
        let key = options.key.filter(|key| !key.is_empty());
        if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX || key.contains('\0')) {
            return Err(wrong_parameters(format!("sql_prepare: key must be text of at most {KEY_BYTES_MAX} bytes")));
        }
        let new = NewSession {
            office: caller.office.clone(),
            key,
            kind: options.kind,
            base: options.base.filter(|base| !base.is_empty()),
            quarantine: options.quarantine.unwrap_or(false),
            dry_run: options.dry_run.unwrap_or(false),
            peer: caller.peer.to_string(),
            caller: caller.user.clone(),
        };
        let sid = self.sessions.open(new).await?;
        Ok(Reply::Value(Value::Int(sid)))
    }
}
