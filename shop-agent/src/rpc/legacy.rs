//! Methods of the first implementation that concern the station: its name, and its end.

use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::server::Reply;

impl<B: Backend> Agent<B> {
    pub(super) fn get_station_name(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        Parameters::new("get_station_name", params, 0, 0)?;
        Ok(Reply::Value(Value::String(self.options.branch.clone())))
    }

    pub(super) fn set_station_by_name(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        let name = Parameters::new("set_station_by_name", params, 1, 1)?.text("name")?;
        if name == self.options.branch {
            return Ok(Reply::Value(Value::Nil));
        }
        let message = format!("this is branch {:?}; the name of a branch is set at the shop", self.options.branch);
        Err(Fault::new(FaultCode::Application, message))
    }
    /// `quit()`: anybody could stop the original with it. Here the service's own configuration has to allow it.
    pub(super) fn quit(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        Parameters::new("quit", params, 0, 0)?;
        let Some(quit) = &self.options.quit else {
            let message = "quit is not enabled at this shop; stop the service there, or set allow_quit";
            return Err(Fault::new(FaultCode::Application, message));
        };
        tracing::warn!("told to quit");
        quit.cancel();
        Ok(Reply::Value(Value::Nil))
    }
}
