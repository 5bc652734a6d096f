//! `sync.hello(struct)`: what both ends must agree on before data moves. The office decides; this end only tells.

use protocol::fault::{Fault, FaultCode};
use protocol::history::Offer;
use protocol::methods::{CAPABILITIES, HelloReply, HelloRequest};
use protocol::xmlrpc::Value;
use replica::shop::Contact;

use super::dispatch::Agent;
use super::fault::of_replica;
use super::parameters::Parameters;
use super::sql_status::spelled;
use crate::backend::Backend;
use crate::server::{Caller, Reply};
use crate::session::room;

/// Version of the protocol that this agent speaks.
const PROTOCOL: i32 = 1;

/// Longest token of a contact.
const TOKEN_CHARS_MAX: usize = 64;

impl<B: Backend> Agent<B> {
    pub(super) async fn hello(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let request: HelloRequest = Parameters::new("sync.hello", params, 1, 1)?.options("struct")?;
        if request.protocol < 0 {
            return Err(Fault::new(
                FaultCode::WrongParameters,
                "sync.hello: protocol is the version the caller speaks",
            ));
        }
        let judged = match (&request.contact, &request.next_token) {
            (Some(number), Some(next)) => {
                let offer = Offer { number: *number, token: request.token.clone(), next: next.clone() };
                let contact = match request.intent.as_deref() {
                    None | Some("agree") => Contact::Agree,
                    Some("look") => Contact::Look,
                    Some("renew") => Contact::Renew,
                    Some(_) => {
                        return Err(Fault::new(
                            FaultCode::WrongParameters,
                            "sync.hello: intent is look, agree or renew",
                        ));
                    }
                };
                if next.is_empty() || next.len() > TOKEN_CHARS_MAX {
                    return Err(Fault::new(FaultCode::WrongParameters, "sync.hello: next_token is no token"));
                }
                let judged = self.backend.contact(&caller.office, &offer, contact).await;
                Some(judged.map_err(|error| of_replica(&error))?)
            }
            _ => None,
        };
        let facts = self.backend.facts(&caller.office).await.map_err(|error| of_replica(&error))?;
        let clock = jiff::Timestamp::try_from(facts.clock).map(|clock| clock.to_string()).unwrap_or_default();
        tracing::info!(
            office = caller.office,
            version = printable(&request.version),
            policy = printable(&request.policy),
            same_policy = request.policy_digest == facts.policy_digest,
            "hello"
        );
        let (id_low, id_high) = facts.id_range.unzip();
        let quarantined = facts.quarantined.iter().map(|waiting| waiting.rows).sum();
        spelled(&HelloReply {
            // the highest that both speak: a newer office goes on with ours, or says what has to be upgraded
            protocol: if request.protocol == 0 { PROTOCOL } else { PROTOCOL.min(request.protocol) },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            branch: self.options.branch.clone(),
            incarnation: facts.incarnation,
            policy: self.policy(),
            policy_digest: facts.policy_digest,
            clock,
            schema_digest: facts.schema_digest,
            no_tables: facts.no_tables,
            database_version: facts.database_version,
            id_low,
            id_high,
            last_watermark: facts.last_watermark,
            begins: Some(facts.begins),
            capabilities: CAPABILITIES.iter().map(|(name, _, _)| (*name).to_owned()).collect(),
            chunk_bytes_max: i64::try_from(self.options.chunk_bytes_max).unwrap_or(i64::MAX),
            quarantined,
            contact: judged.map(|(_, number)| number),
            history: judged.map(|(history, _)| history.as_str().to_owned()),
            ids_used: facts.ids_used,
            disk_free: room::free(&self.options.sessions_dir).ok().and_then(|bytes| i64::try_from(bytes).ok()),
        })
    }
}

/// A name that the caller chose, as it may be logged.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(40).collect()
}
