//! `clean()` and `clean(options)`: empties the synchronised tables.

use protocol::fault::Fault;
use protocol::xmlrpc::Value;
use replica::killpoint;
use serde::Deserialize;

use super::dispatch::Agent;
use super::fault::of_replica;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

#[derive(Default, Deserialize)]
#[serde(default)]
struct CleanOptions {
    force: bool,
    begins: Option<String>,
}

impl<B: Backend> Agent<B> {
    pub(super) async fn clean(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("clean", params, 0, 1)?;
        let options: CleanOptions = params.options("options")?;
        let force = options.force || self.options.force_clean;
        killpoint::reach("clean.before");
        self.sessions.let_go().await;
        let cleaned = self.backend.clean(&caller.office, force, options.begins.as_deref()).await;
        let report = cleaned.map_err(|error| of_replica(&error))?;
        killpoint::reach("clean.after");
        tracing::info!(
            office = caller.office,
            force,
            tables = report.tables,
            rows_aside = report.rows_aside,
            created = report.created,
            "cleaned"
        );
        Ok(Reply::Value(Value::Nil))
    }
}
