//! `sync.digest_rows`, `sync.rows`, `sync.mark` and `sync.baseline`: comparing row by row, and what a repair asks for.

use protocol::fault::Fault;
use protocol::methods::{BaselineOptions, DigestRowsRequest};
use protocol::xmlrpc::{Value, from_value};

use super::dispatch::Agent;
use super::fault::{of_replica, wrong_parameters};
use super::parameters::Parameters;
use super::sql_status::spelled;
use crate::backend::Backend;
use crate::limits::{ANSWER_BYTES_MAX, ROW_KEYS_MAX};
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn digest_rows(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let request: DigestRowsRequest = Parameters::new("sync.digest_rows", params, 1, 1)?.options("request")?;
        let rows = self.backend.digest_rows(&caller.office, &request, ANSWER_BYTES_MAX).await;
        let rows = rows.map_err(|error| of_replica(&error))?;
        let mut answer = String::new();
        for row in rows {
            answer.push_str(row.digest.as_deref().unwrap_or("-"));
            answer.push('\t');
            answer.push_str(&row.key);
            if row.changed {
                answer.push_str("\tchanged");
            }
            answer.push('\n');
        }
        bounded("sync.digest_rows", answer)
    }

    pub(super) async fn rows(&self, params: Vec<Value>) -> Result<Reply, Fault> {
        let (table, keys) = table_and_keys("sync.rows", params)?;
        let rows = self.backend.rows(&table, &keys, ANSWER_BYTES_MAX).await.map_err(|error| of_replica(&error))?;
        bounded("sync.rows", rows.join("\n"))
    }

    pub(super) async fn mark(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let (table, keys) = table_and_keys("sync.mark", params)?;
        self.backend.mark(&caller.office, &table, &keys).await.map_err(|error| of_replica(&error))?;
        Ok(Reply::Value(Value::Nil))
    }

    pub(super) async fn baseline(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let options: BaselineOptions = Parameters::new("sync.baseline", params, 0, 1)?.options("options")?;
        let reply = self.backend.baseline(&caller.office, options).await;
        spelled(&reply.map_err(|error| of_replica(&error))?)
    }
}

fn table_and_keys(method: &str, params: Vec<Value>) -> Result<(String, Vec<String>), Fault> {
    let mut params = Parameters::new(method, params, 2, 2)?;
    let table = params.text("table")?;
    let keys: Vec<String> = from_value(params.value()?)
        .map_err(|_| wrong_parameters(format!("{method}: keys is an array of JSON objects of texts")))?;
    let sound = |key: &String| {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(key)
            .is_ok_and(|key| key.values().all(serde_json::Value::is_string))
    };
    if keys.len() > ROW_KEYS_MAX || !keys.iter().all(sound) {
        return Err(wrong_parameters(format!(
            "{method}: keys is an array of up to {ROW_KEYS_MAX} JSON objects of texts"
        )));
    }
    Ok((table, keys))
}

fn bounded(method: &str, answer: String) -> Result<Reply, Fault> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(Fault::new(
            protocol::fault::FaultCode::ChunkTooLarge,
            format!("{method}: the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for fewer rows at a time"),
        ));
    }
    Ok(Reply::Value(Value::String(answer)))
}
