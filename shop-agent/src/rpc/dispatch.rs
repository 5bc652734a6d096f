//! From a method's name to its work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use protocol::fault::{Fault, FaultCode};
use protocol::methods::{introspect, validate};
use protocol::xmlrpc::{MethodCall, Value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::echo::echo;
use crate::backend::Backend;
use crate::limits::SessionLimits;
use crate::metrics::Calls;
use crate::server::{Caller, Dispatch, Reply, Request};
use crate::session::payload::SpooledBlob;
use crate::session::store::SessionStore;

/// What the agent is made of, beside its database.
#[derive(Debug, Clone)]
pub(crate) struct AgentOptions {
    /// Name of the branch.
    pub(crate) branch: String,
    /// Directory of the chunk logs.
    pub(crate) sessions_dir: PathBuf,
    /// Bounds of sessions.
    pub(crate) sessions: SessionLimits,
    /// Largest chunk, in bytes before base64.
    pub(crate) chunk_bytes_max: u64,
    /// `clean` goes on although changes would be lost.
    pub(crate) force_clean: bool,
    /// What `quit` cancels; nobody may quit when there is none.
    pub(crate) quit: Option<CancellationToken>,
    /// The time zone of a `since` that names none.
    pub(crate) time_zone: TimeZone,
}

/// The agent: all methods over one database.
pub(crate) struct Agent<B> {
    pub(super) backend: Arc<B>,
    pub(super) sessions: Arc<SessionStore<B>>,
    pub(super) options: AgentOptions,
    calls: Calls,
}

impl<B: Backend> Agent<B> {
    /// Methods over `backend`; applies that go on without their caller are counted by `tasks`.
    pub(crate) fn new(backend: Arc<B>, options: AgentOptions, tasks: TaskTracker) -> Self {
        let sessions = SessionStore::new(&options.sessions_dir, Arc::clone(&backend), options.sessions, tasks);
        Self { backend, sessions: Arc::new(sessions), options, calls: Calls::default() }
    }

    /// The sessions.
    pub(crate) fn sessions(&self) -> &Arc<SessionStore<B>> {
        &self.sessions
    }

    /// How often each method was called.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Name of the branch.
    pub(crate) fn branch(&self) -> &str {
        &self.options.branch
    }

    /// Name of the policy in force.
    pub(crate) fn policy(&self) -> String {
        self.backend.policy_name()
    }

    /// The database.
    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// Carries out one call that is no multicall.
    pub(super) async fn one(&self, caller: &Caller, call: MethodCall, blobs: &mut Blobs) -> Result<Reply, Fault> {
        if let Some(answer) = introspect(&call) {
            return answer.map(Reply::Value);
        }
        if let Some(answer) = validate(&call.method, &call.params) {
            return answer.map(Reply::Value);
        }
        match call.method.as_str() {
            "sync.echo" => echo(call.params),
            // apart and boxed: a call that only talks does not pay for the room that these take
            _ => Box::pin(self.work(caller, call, blobs)).await,
        }
    }

    async fn work(&self, caller: &Caller, call: MethodCall, blobs: &mut Blobs) -> Result<Reply, Fault> {
        let MethodCall { method, params } = call;
        match method.as_str() {
            "clean" => self.clean(caller, params).await,
            "sql_prepare" => self.sql_prepare(caller, params).await,
            "sql_create" | "sql_insert" => self.sql_create(caller, &method, params, blobs).await,
            "sql_finish" => self.sql_finish(caller, params).await,
            "sql_status" => self.sql_status(caller, params).await,
            "sql_abort" => self.sql_abort(caller, params).await,
            "setidstart" => self.setidstart(params).await,
            "bump_sequences" => self.bump_sequences(params).await,
            "diff" => self.diff(caller, params).await,
            "sync.diff_open" => self.diff_open(caller, params).await,
            "sync.diff_read" => self.diff_read(caller, params).await,
            "sync.hello" => self.hello(caller, params).await,
            "sync.fresh" => self.fresh(params).await,
            "sync.layout" => self.layout(caller, params).await,
            "sync.digest" => self.digest(caller, params).await,
            "sync.digest_rows" => self.digest_rows(caller, params).await,
            "sync.rows" => self.rows(params).await,
            "sync.mark" => self.mark(caller, params).await,
            "sync.baseline" => self.baseline(caller, params).await,
            "get_station_name" => self.get_station_name(params),
            "set_station_by_name" => self.set_station_by_name(params),
            "changes" => self.changes(caller, params).await,
            "quit" => self.quit(params),
            _ => Err(Fault::new(FaultCode::UnknownMethod, "there is no such method; see system.listMethods")),
        }
    }
}

impl<B: Backend> Dispatch for Agent<B> {
    async fn call(self: Arc<Self>, caller: Caller, request: Request) -> Result<Reply, Fault> {
        let started = std::time::Instant::now();
        let method = known_name(&request.call.method);
        let mut blobs = Blobs(request.blobs);
        let result = match request.call {
            MethodCall { method, params } if method == "system.multicall" => {
                Box::pin(self.multicall(&caller, params, &mut blobs)).await
            }
            call => self.one(&caller, call, &mut blobs).await,
        };
        self.calls.count(method, result.is_ok(), started.elapsed());
        let elapsed = Duration::from_millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        match &result {
            // neither reads the database nor changes anything: nobody will ever ask who did so when
            Ok(_) if is_talk(method) => tracing::debug!(method, office = caller.office, peer = %caller.peer, "call"),
            Ok(_) => tracing::info!(method, office = caller.office, peer = %caller.peer, ?elapsed, "call"),
            Err(fault) => {
                tracing::info!(method, office = caller.office, peer = %caller.peer, ?elapsed, fault = fault.code, "call");
            }
        }
        result.map(|reply| match reply {
            Reply::Value(mut value) if caller.no_nil => {
                value.replace_nil(&Value::String(String::new()));
                Reply::Value(value)
            }
            reply => reply,
        })
    }
}

/// Whether a method only talks: about the methods there are, or to hear its own words.
fn is_talk(method: &str) -> bool {
    let is_introspective = method.starts_with("system.") && method != "system.multicall";
    is_introspective || method == "sync.echo" || method.starts_with("validator1.")
}

/// The name of a method as it may be logged: one of ours, or nothing the caller chose.
fn known_name(method: &str) -> &'static str {
    protocol::methods::find(method).map_or("unknown", |method| method.name)
}

/// The blobs of a request that are on disk.
pub(super) struct Blobs(Vec<Option<SpooledBlob>>);

impl Blobs {
    /// Takes one out.
    pub(super) fn take(&mut self, index: usize) -> Option<SpooledBlob> {
        self.0.get_mut(index).and_then(Option::take)
    }
}
