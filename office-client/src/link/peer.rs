//! A shop at the other end of a line: what it can do is found out once, and what may be repeated is tried again.

use std::sync::Arc;

use protocol::fault::{Fault, FaultCode};
use protocol::methods::{Call, Hello, HelloReply, HelloRequest};
use protocol::session::office::Abilities;
use protocol::xmlrpc::Value;

use super::{Client, Line, LinkError, Patience, Retry};

/// A shop.
pub(crate) struct Peer {
    client: Client,
    retry: Retry,
    abilities: Abilities,
    line: Option<Arc<Line>>,
}

/// Failures in a row after which the line itself is dialled again: the first may be the agent's restart.
const FAILURES_BEFORE_REDIAL: u32 = 2;

impl Peer {
    /// A shop that has not been spoken to.
    pub(crate) fn new(client: Client, retry: Retry) -> Self {
        Self { client, retry, abilities: Abilities::default(), line: None }
    }

    /// The same over a line that can be dialled again.
    pub(crate) fn over(mut self, line: Arc<Line>) -> Self {
        self.line = Some(line).filter(|line| line.is_dialled());
        self
    }

    /// How often the line was lost and came back.
    pub(crate) fn redials(&self) -> u32 {
        self.retry.recovered()
    }

    /// The line to it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// What it can do, as far as is known.
    pub(crate) fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Says hello; returns what the peer says about itself. One that does not know the method has the base methods alone.
    pub(crate) async fn greet(&mut self, request: HelloRequest) -> Result<Option<HelloReply>, LinkError> {
        match self.ask(&Hello(request), Patience::Quick).await {
            Ok(facts) => {
                self.abilities = abilities_of(&facts.capabilities);
                self.client.compress_requests(announces(&facts.capabilities, GZIP_REQUESTS));
                Ok(Some(facts))
            }
            Err(LinkError::Refused(fault)) if is_unknown_method(&fault) => {
                tracing::info!(fault = fault.code, "the peer knows the base methods alone");
                self.abilities = Abilities::default();
                self.retry.progress();
                Ok(None)
            }
            // the server of npm answers an unknown method so; if it is the path, the next call says it
            Err(LinkError::Http { status: 404, .. }) => {
                tracing::info!("no answer to hello but status 404: the base methods alone, if any");
                self.abilities = Abilities::default();
                self.retry.progress();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a call that may be repeated, until it is answered or the line has failed for too long.
    pub(crate) async fn ask<C: Call>(&mut self, call: &C, patience: Patience) -> Result<C::Reply, LinkError> {
        self.retry.begin();
        loop {
            match self.client.call(call, patience).await {
                Ok(reply) => {
                    self.retry.progress();
                    return Ok(reply);
                }
                Err(error) => self.pause(error).await?,
            }
        }
    }

    /// As [`Peer::ask`], with a base64 in the answer written to a file.
    pub(crate) async fn ask_to_file(
        &mut self,
        method: &str,
        params: &[Value],
        file: &std::path::Path,
    ) -> Result<Value, LinkError> {
        self.retry.begin();
        loop {
            match self.client.call_to_file(method, params, Patience::Work, file).await {
                Ok(value) => {
                    self.retry.progress();
                    return Ok(value);
                }
                Err(error) => self.pause(error).await?,
            }
        }
    }

    /// Makes a call once: whoever asks decides what a loss means.
    pub(crate) async fn once<C: Call>(&mut self, call: &C, patience: Patience) -> Result<C::Reply, LinkError> {
        self.retry.begin();
        let result = self.client.call(call, patience).await;
        if result.is_ok() {
            self.retry.progress();
        }
        result
    }

    /// Sends one chunk once.
    pub(crate) async fn send_chunk(&mut self, sid: i64, data: &[u8], seq: Option<u64>) -> Result<(), LinkError> {
        self.retry.begin();
        let result = self.client.send_chunk(sid, data, seq).await;
        if result.is_ok() {
            self.retry.progress();
        }
        result
    }

    /// Waits before the next try after a failure, or gives the failure back when there is no time left.
    pub(crate) async fn pause(&mut self, error: LinkError) -> Result<(), LinkError> {
        let mut error = error;
        loop {
            self.retry.pause(error).await?;
            let Some(line) = self.line.as_ref().filter(|_| self.retry.failures() >= FAILURES_BEFORE_REDIAL) else {
                return Ok(());
            };
            match line.redial(self.retry.stop()).await {
                Ok(()) => return Ok(()),
                Err(failed) => error = failed,
            }
        }
    }

    /// What a fault of this peer means. Generic servers answer every exception with fault 1, which says nothing.
    pub(crate) fn meaning(&self, fault: &Fault) -> FaultCode {
        match fault.known() {
            Some(FaultCode::UnknownSession) if !self.abilities.keyed_sessions => FaultCode::Application,
            Some(code) => code,
            None => FaultCode::Application,
        }
    }
}

/// Name under which a peer announces that it takes gzipped requests.
const GZIP_REQUESTS: &str = "sync.gzip";

/// A peer that greets us is taken to know every extension, unless it lists some and leaves others out.
fn abilities_of(capabilities: &[String]) -> Abilities {
    let can = |name| capabilities.is_empty() || announces(capabilities, name);
    Abilities {
        keyed_sessions: can("sync.session"),
        frozen_diffs: can("sync.diff"),
        digests: can("sync.digest"),
        repairs: announces(capabilities, "sync.repair"),
        // who does not know the option would apply it for good
        dry_runs: announces(capabilities, "sync.dry_run"),
        freshness: announces(capabilities, "sync.fresh"),
    }
}

fn announces(capabilities: &[String], name: &str) -> bool {
    capabilities.iter().any(|capability| capability == name)
}

/// Whether a fault says that the method does not exist. Servers other than ours say it in words.
fn is_unknown_method(fault: &Fault) -> bool {
    if fault.is(FaultCode::UnknownMethod) {
        return true;
    }
    let ours = [FaultCode::Busy, FaultCode::DatabaseUnavailable, FaultCode::Restored, FaultCode::SchemaMismatch];
    if fault.known().is_some_and(|code| ours.contains(&code)) {
        return false;
    }
    let message = fault.message.to_ascii_lowercase();
    ["method", "handler", "not supported", "no such", "unknown", "not found", "not defined"]
        .iter()
        .any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_in_many_ways_that_they_do_not_know_a_method() {
        let check = |code, message: &str| is_unknown_method(&Fault { code, message: message.into() });
        assert!(check(-32601, ""));
        assert!(check(1, "<class 'Exception'>:method \"sync.hello\" is not supported"));
        assert!(check(0, "No such handler: sync.hello"));
        assert!(!check(FaultCode::Busy.code(), "unknown"));
        assert!(!check(-32500, "disk full"));
    }

    #[test]
    fn a_peer_that_lists_what_it_can_is_believed() {
        let all = abilities_of(&[]);
        assert!(all.keyed_sessions && all.frozen_diffs && all.digests && !all.dry_runs);
        let some = abilities_of(&["sync.session".into()]);
        assert!(some.keyed_sessions && !some.frozen_diffs && !some.digests);
    }
}
