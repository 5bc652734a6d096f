//! All sessions of the agent: found by number, guarded by office, kept across restarts, dropped when idle.
//!
//! The database knows who owns a session and how it ended; the chunk log knows what it has received. What is kept in
//! memory is only the machine in between.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use protocol::fault::{Fault, FaultCode};
use protocol::methods::{SessionKind, SessionStatus};
use protocol::session::agent::{self, Action, Ending, Event, Received, State};
use replica::killpoint;
use replica::shop::{NewSession, SessionRow, SessionState};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::chunks::ChunkLog;
use super::intake::Intake;
use super::payload::Payload;
use super::room;
use crate::backend::Backend;
use crate::limits::SessionLimits;
use crate::rpc::fault::{of_io, of_replica};

/// A session without a key that has been idle for this long gives way when its office opens one too many: a client of
/// the base methods that crashed cannot find its session again.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(600);

type OpeningGuard<'a> = tokio::sync::MutexGuard<'a, ()>;
type FinishResult = Result<(), Fault>;

/// All sessions of the agent.
pub(crate) struct SessionStore<B> {
    dir: PathBuf,
    backend: Arc<B>,
    limits: SessionLimits,
    live: Mutex<HashMap<i32, Arc<Live>>>,
    /// Counting and opening, or loading, are one step.
    opening: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
}

/// A session that is not over.
struct Live {
    row: SessionRow,
    machine: tokio::sync::Mutex<Machine>,
}

struct Machine {
    state: State,
    log: Option<ChunkLog>,
    running: Option<watch::Receiver<Option<FinishResult>>>,
    ahead: Ahead,
    touched: Instant,
}

/// Whether the session is taken in while it arrives.
enum Ahead {
    /// Not yet.
    Untried,
    Running(Intake),
    /// No more, or never: it is applied from its log.
    Over,
}

impl Machine {
    fn take_intake(&mut self) -> Option<Intake> {
        match std::mem::replace(&mut self.ahead, Ahead::Over) {
            Ahead::Running(intake) => Some(intake),
            Ahead::Untried | Ahead::Over => None,
        }
    }
}

impl<B: Backend> SessionStore<B> {
    /// Sessions whose chunks are below `dir`.
    pub(crate) fn new(dir: &Path, backend: Arc<B>, limits: SessionLimits, tasks: TaskTracker) -> Self {
        let (live, opening) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { dir: dir.to_owned(), backend, limits, live, opening, tasks }
    }

    /// Opens a session, or finds the one with the same key.
    pub(crate) async fn open(&self, new: NewSession) -> Result<i32, Fault> {
        let opening = self.opening.lock().await;
        let open = self.backend.open_sessions().await.map_err(|error| of_replica(&error))?;
        let own: Vec<&SessionRow> = open.iter().filter(|row| row.office == new.office).collect();
        let is_known = new.key.as_ref().is_some_and(|key| own.iter().any(|row| row.key == *key));
        if new.dry_run {
            // of a dry run that was cut off nobody wants to know the end
            for row in own.iter().filter(|row| row.dry_run && new.key.as_ref() != Some(&row.key)) {
                self.give_up(row, &opening).await?;
            }
        }
        if !is_known && own.len() >= self.limits.sessions_per_office_max {
            self.make_room(&own, &opening).await?;
        }
        killpoint::reach("session.open.before");
        let row = self.backend.open_session(new).await.map_err(|error| of_replica(&error))?;
        killpoint::reach("session.open.after");
        tracing::info!(sid = row.sid, office = row.office, "session opened");
        Ok(row.sid)
    }

    async fn make_room(&self, own: &[&SessionRow], opening: &OpeningGuard<'_>) -> Result<(), Fault> {
        if let Some(row) = own.iter().find(|row| row.dry_run) {
            return self.give_up(row, opening).await;
        }
        for row in own.iter().filter(|row| row.kind.is_none()) {
            let Some(Found::Live(live)) = self.lookup(row.sid, Some(opening)).await? else { return Ok(()) };
            let mut machine = live.machine.lock().await;
            if machine.touched.elapsed() >= GIVES_WAY_AFTER.min(self.limits.session_idle) {
                tracing::info!(sid = row.sid, office = row.office, "idle session gives way to a new one");
                let _ = self.advance(&live, &mut machine, Event::IdleTooLong, None).await;
                return Ok(());
            }
        }
        let message = format!(
            "{} sessions are open already, the most an office may have; finish or abort one",
            self.limits.sessions_per_office_max
        );
        Err(Fault::new(FaultCode::TooManySessions, message))
    }

    /// Drops a session of a dry run: what comes now is more important. One that is being applied ends by itself.
    async fn give_up(&self, row: &SessionRow, opening: &OpeningGuard<'_>) -> Result<(), Fault> {
        if let Some(Found::Live(live)) = self.lookup(row.sid, Some(opening)).await? {
            let mut machine = live.machine.lock().await;
            tracing::info!(sid = row.sid, office = row.office, "the session of a dry run gives way to a new one");
            // one that is being applied cannot be stopped, and disturbs nobody
            let _ = self.advance(&live, &mut machine, Event::Abort, None).await;
        }
        Ok(())
    }

    /// Takes one chunk.
    pub(crate) async fn chunk(&self, sid: i32, office: &str, seq: Option<u64>, data: ChunkData) -> FinishResult {
        let live = match self.find(sid, office).await? {
            Found::Live(live) => live,
            Found::Over(row) => return Err(agent::ended(&ending_of(&row))),
        };
        let mut machine = live.machine.lock().await;
        self.expire(&live, &mut machine).await?;
        let mut payload = match data {
            ChunkData::Bytes(payload) => payload,
            ChunkData::Text(text) => {
                let head = machine.log.as_ref().map(ChunkLog::head).unwrap_or_default();
                Payload::Bytes(super::text::payload_of(text, head))
            }
        };
        let event = Event::Chunk { seq, fingerprint: payload.fingerprint() };
        let answer = self.advance(&live, &mut machine, event, Some(&mut payload)).await.unwrap_or(Ok(()));
        self.take_in(&live, &mut machine);
        answer
    }

    /// Goes on with the intake of a clone. An update waits for its end: until then nothing is known of what it changes.
    fn take_in(&self, live: &Live, machine: &mut Machine) {
        let is_clone = live.row.kind == Some(SessionKind::Clone) && !live.row.dry_run;
        let (State::Open(_), true, Some(log)) = (&machine.state, is_clone, &machine.log) else { return };
        match &machine.ahead {
            Ahead::Running(intake) => intake.arrived(log.received().next_seq),
            Ahead::Over => {}
            Ahead::Untried => {
                let backend = Arc::clone(&self.backend);
                let begun = Intake::begin(backend, live.row.sid, log, self.limits.intake_wait_max);
                machine.ahead = begun.map_or(Ahead::Over, Ahead::Running);
            }
        }
    }

    /// Takes back what is being taken in while it arrives: somebody else needs the tables.
    pub(crate) async fn let_go(&self) {
        let all: Vec<Arc<Live>> = self.lock().values().cloned().collect();
        for live in all {
            let intake = live.machine.lock().await.take_intake();
            if let Some(intake) = intake {
                intake.let_go().await;
            }
        }
    }

    /// Applies the session, waits for whoever does, or says how it ended.
    pub(crate) async fn finish(self: &Arc<Self>, sid: i32, office: &str) -> FinishResult {
        let live = match self.find(sid, office).await? {
            Found::Live(live) => live,
            Found::Over(row) => {
                return match ending_of(&row) {
                    Ending::Applied => Ok(()),
                    Ending::Refused(fault) => Err(fault),
                    ending => Err(agent::ended(&ending)),
                };
            }
        };
        let mut machine = live.machine.lock().await;
        self.expire(&live, &mut machine).await?;
        let (state, actions) = agent::step(&machine.state, Event::Finish, self.limits.session_bytes_max);
        let mut result = match actions.into_iter().next() {
            Some(Action::Answer(answer)) => return answer,
            Some(Action::Apply) => {
                let (sender, receiver) = watch::channel(None);
                machine.state = state;
                machine.running = Some(receiver.clone());
                let (store, live) = (Arc::clone(self), Arc::clone(&live));
                // detached: it goes on when the caller hangs up
                self.tasks.spawn(async move {
                    let answer = store.apply(&live).await;
                    sender.send_replace(Some(answer));
                });
                receiver
            }
            _ => machine.running.clone().ok_or_else(lost_apply)?,
        };
        drop(machine);
        let answer = result.wait_for(Option::is_some).await.map_err(|_| lost_apply())?;
        answer.clone().unwrap_or_else(|| Err(lost_apply()))
    }

    async fn apply(self: &Arc<Self>, live: &Arc<Live>) -> FinishResult {
        let sid = live.row.sid;
        let (input, intake) = {
            let mut machine = live.machine.lock().await;
            let input = match &machine.log {
                Some(log) => log.reader(),
                None => Ok(Box::new(std::io::empty()) as _),
            };
            (input, machine.take_intake())
        };
        killpoint::reach("finish.before");
        let taken_in = match intake {
            Some(intake) => intake.finish().await,
            None => None,
        };
        let outcome = match (taken_in, input) {
            (Some(outcome), _) => Ok(outcome),
            (None, Err(error)) => Err(of_io("read the session", &error)),
            (None, Ok(input)) => {
                // a task of its own, so that a panic in it is an answer and not a session that hangs
                let backend = Arc::clone(&self.backend);
                let task = tokio::spawn(async move { backend.apply_session(sid, input).await });
                task.await.map_err(|_| lost_apply())
            }
        };
        let event = match outcome {
            Ok(Ok(applied)) => {
                killpoint::reach("finish.applied");
                tracing::info!(sid, rows = applied.rows, quarantined = applied.quarantined, "session applied");
                Event::ApplySucceeded
            }
            Ok(Err(error)) => {
                let fault = of_replica(&error);
                tracing::warn!(sid, code = fault.code, "session not applied: {}", fault.message);
                Event::ApplyFailed { fault, passing: error.is_passing() }
            }
            Err(fault) => Event::ApplyFailed { fault, passing: true },
        };
        let mut machine = live.machine.lock().await;
        machine.touched = Instant::now();
        let answer = self.advance(live, &mut machine, event, None).await.unwrap_or(Ok(()));
        machine.running = None;
        killpoint::reach("finish.ended");
        answer
    }

    /// Drops a session and its chunks.
    pub(crate) async fn abort(&self, sid: i32, office: &str) -> FinishResult {
        match self.find(sid, office).await? {
            Found::Live(live) => {
                let mut machine = live.machine.lock().await;
                self.advance(&live, &mut machine, Event::Abort, None).await.unwrap_or(Ok(()))
            }
            Found::Over(row) => match ending_of(&row) {
                Ending::Applied => Err(agent::ended(&Ending::Applied)),
                _ => Ok(()),
            },
        }
    }

    /// What a resuming client asks first.
    pub(crate) async fn status(&self, sid: i32, office: &str) -> Result<SessionStatus, Fault> {
        match self.find(sid, office).await? {
            Found::Live(live) => {
                let mut machine = live.machine.lock().await;
                if self.expire(&live, &mut machine).await.is_ok() {
                    return Ok(status_of(&live.row, &machine.state));
                }
                Ok(status_of(&live.row, &machine.state))
            }
            Found::Over(row) => Ok(status_of(&row, &State::Ended(ending_of(&row)))),
        }
    }

    /// Open sessions, for people: number, office, bytes, age in seconds.
    pub(crate) async fn list(&self) -> Result<Vec<SessionStatus>, Fault> {
        let mut all = Vec::new();
        for row in self.backend.open_sessions().await.map_err(|error| of_replica(&error))? {
            if let Some(Found::Live(live)) = self.lookup(row.sid, None).await? {
                let machine = live.machine.lock().await;
                all.push(status_of(&live.row, &machine.state));
            }
        }
        Ok(all)
    }

    /// Drops what was idle too long, and chunks nobody can ask for any more. Called about once a minute.
    pub(crate) async fn sweep(&self) -> Result<(), Fault> {
        let open = self.backend.open_sessions().await.map_err(|error| of_replica(&error))?;
        let kept: std::collections::HashSet<String> = open.iter().map(|row| row.sid.to_string()).collect();
        for row in open {
            let Some(Found::Live(live)) = self.lookup(row.sid, None).await? else { continue };
            let mut machine = live.machine.lock().await;
            let _ = self.expire(&live, &mut machine).await;
        }
        // a session opened since then is kept by its entry in memory, or has no chunks yet
        let _one_at_a_time = self.opening.lock().await;
        let dir = self.dir.clone();
        let live: Vec<String> = self.lock().keys().map(ToString::to_string).collect();
        on_disk("sweep the sessions", move || {
            for entry in std::fs::read_dir(&dir)?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !kept.contains(&name) && !live.contains(&name) {
                    ChunkLog::remove(&entry.path())?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn expire(&self, live: &Arc<Live>, machine: &mut Machine) -> FinishResult {
        if machine.touched.elapsed() <= self.limits.session_idle {
            return Ok(());
        }
        match self.advance(live, machine, Event::IdleTooLong, None).await {
            Some(Err(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    /// One step of the machine with all its actions; the answer, if the step has one.
    async fn advance(
        &self,
        live: &Arc<Live>,
        machine: &mut Machine,
        event: Event,
        payload: Option<&mut Payload>,
    ) -> Option<FinishResult> {
        let sid = live.row.sid;
        let is_expiry = event == Event::IdleTooLong;
        let (state, actions) = agent::step(&machine.state, event, self.limits.session_bytes_max);
        let mut payload = payload;
        let mut answer = None;
        for action in actions {
            match action {
                Action::Append => {
                    let Some(payload) = payload.take() else { return Some(Err(lost_apply())) };
                    if let Err(fault) = self.append(sid, machine, payload).await {
                        return Some(Err(fault));
                    }
                }
                Action::Record(ending) => {
                    // it holds the record of the session, among others
                    if let Some(intake) = machine.take_intake() {
                        intake.let_go().await;
                    }
                    killpoint::reach("session.end.before");
                    if let Err(error) = self.record(sid, &ending).await {
                        // not over then: the old state stands, and the same call will end it again
                        let fault = of_replica(&error);
                        if let State::Applying(received) = machine.state {
                            machine.state = State::Open(received);
                        }
                        return Some(Err(fault));
                    }
                    killpoint::reach("session.end.after");
                    tracing::info!(sid, state = state_name(&State::Ended(ending)), "session ended");
                }
                Action::DropChunks => {
                    machine.log = None;
                    let dir = self.session_dir(sid);
                    // what stays behind is swept later
                    let _ = on_disk("drop the session", move || ChunkLog::remove(&dir)).await;
                    killpoint::reach("session.chunks.dropped");
                }
                Action::Answer(given) => answer = Some(given),
                Action::Apply | Action::Wait => {}
            }
        }
        machine.state = state;
        if !is_expiry {
            machine.touched = Instant::now();
        }
        if matches!(machine.state, State::Ended(_)) {
            self.lock().remove(&sid);
        }
        answer
    }

    async fn append(&self, sid: i32, machine: &mut Machine, payload: &mut Payload) -> FinishResult {
        if machine.log.as_ref().is_some_and(|log| log.received().next_seq >= self.limits.chunks_max) {
            let message =
                format!("a session has at most {} chunks; send larger ones in a new session", self.limits.chunks_max);
            return Err(Fault::new(FaultCode::ChunkTooLarge, message));
        }
        let (dir, disk_reserve) = (self.session_dir(sid), self.limits.disk_reserve);
        let log = machine.log.take();
        let mut moved = std::mem::replace(payload, Payload::Bytes(Vec::new()));
        let (log, written) = on_disk("keep the chunk", move || {
            let mut log = match log {
                Some(log) => log,
                None => ChunkLog::open(&dir)?,
            };
            let written =
                room::ensure(&dir, moved.fingerprint().bytes, disk_reserve).and_then(|()| log.append(&mut moved));
            Ok((log, written))
        })
        .await?;
        machine.log = Some(log);
        written.map_err(|error| of_io("keep the chunk", &error))
    }

    async fn record(&self, sid: i32, ending: &Ending) -> Result<(), replica::ReplicaError> {
        match ending {
            Ending::Applied => Ok(()), // recorded by the apply itself, in its transaction
            Ending::Refused(fault) => {
                let fault = Some((fault.code, fault.message.as_str()));
                self.backend.end_session(sid, SessionState::Refused, fault).await
            }
            Ending::Aborted => self.backend.end_session(sid, SessionState::Aborted, None).await,
            Ending::Expired => self.backend.end_session(sid, SessionState::Expired, None).await,
        }
    }

    async fn find(&self, sid: i32, office: &str) -> Result<Found, Fault> {
        let Some(found) = self.lookup(sid, None).await? else {
            let message = format!("there is no session {sid}; open one with sql_prepare");
            return Err(Fault::new(FaultCode::UnknownSession, message));
        };
        let owner = match &found {
            Found::Live(live) => &live.row.office,
            Found::Over(row) => &row.office,
        };
        if owner == office {
            return Ok(found);
        }
        let message = format!("session {sid} belongs to another office's credential");
        Err(Fault::new(FaultCode::ForeignSession, message))
    }

    /// A session by its number.
    ///
    /// In this order under one lock: memory, database, chunk log. A session is taken out of memory only after its
    /// ending is in the database, so an ended one is never taken for open, and no log is read while it is written.
    async fn lookup(&self, sid: i32, held: Option<&OpeningGuard<'_>>) -> Result<Option<Found>, Fault> {
        let in_memory = || self.lock().get(&sid).cloned();
        if let Some(live) = in_memory() {
            return Ok(Some(Found::Live(live)));
        }
        let _one_at_a_time = match held {
            Some(_) => None,
            None => Some(self.opening.lock().await),
        };
        if let Some(live) = in_memory() {
            return Ok(Some(Found::Live(live)));
        }
        let row = self.backend.session(sid).await.map_err(|error| of_replica(&error))?;
        Ok(match row {
            None => None,
            Some(row) if row.state == SessionState::Open => Some(Found::Live(self.load(row).await?)),
            Some(row) => Some(Found::Over(Box::new(row))),
        })
    }

    /// The machine of an open session, from its chunk log.
    async fn load(&self, row: SessionRow) -> Result<Arc<Live>, Fault> {
        let dir = self.session_dir(row.sid);
        let opened = on_disk("read the session", move || {
            if !dir.exists() {
                return Ok(None);
            }
            ChunkLog::open(&dir).map(Some)
        });
        let log = opened.await?;
        let last_written = log.as_ref().and_then(|log| log.modified().ok()).unwrap_or(row.opened_at);
        let idle = SystemTime::now().duration_since(last_written.max(row.opened_at)).unwrap_or_default();
        let received = log.as_ref().map_or_else(Received::default, ChunkLog::received);
        let machine = Machine {
            state: State::Open(received),
            log,
            running: None,
            ahead: Ahead::Untried,
            touched: Instant::now().checked_sub(idle).unwrap_or_else(Instant::now),
        };
        let sid = row.sid;
        let live = Arc::new(Live { row, machine: tokio::sync::Mutex::new(machine) });
        Ok(Arc::clone(self.lock().entry(sid).or_insert(live)))
    }

    fn session_dir(&self, sid: i32) -> PathBuf {
        self.dir.join(sid.to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Data of a chunk as it came.
pub(crate) enum ChunkData {
    /// As base64.
    Bytes(Payload),
    /// As a string: base64 of something compressed, or SQL.
    Text(String),
}

enum Found {
    Live(Arc<Live>),
    Over(Box<SessionRow>),
}

fn lost_apply() -> Fault {
    Fault::new(FaultCode::Internal, "internal error while the session was applied; call sql_finish again")
}

fn ending_of(row: &SessionRow) -> Ending {
    match row.state {
        SessionState::Applied => Ending::Applied,
        SessionState::Refused => {
            let (code, message) = row.fault.clone().unwrap_or((FaultCode::Application.code(), "refused".to_owned()));
            Ending::Refused(Fault { code, message })
        }
        SessionState::Expired => Ending::Expired,
        SessionState::Aborted | SessionState::Open => Ending::Aborted,
    }
}

fn state_name(state: &State) -> &'static str {
    match state {
        State::Open(_) => "open",
        State::Applying(_) => "applying",
        State::Ended(Ending::Applied) => "applied",
        State::Ended(Ending::Refused(_)) => "refused",
        State::Ended(Ending::Aborted) => "aborted",
        State::Ended(Ending::Expired) => "expired",
    }
}

fn status_of(row: &SessionRow, state: &State) -> SessionStatus {
    let received = match state {
        State::Open(received) | State::Applying(received) => *received,
        State::Ended(_) => Received::default(),
    };
    let age = SystemTime::now().duration_since(row.opened_at).unwrap_or_default();
    let error = match state {
        State::Ended(Ending::Refused(fault)) => Some(fault.message.clone()),
        _ => None,
    };
    SessionStatus {
        sid: i64::from(row.sid),
        state: state_name(state).to_owned(),
        next_seq: i64::try_from(received.next_seq).unwrap_or(i64::MAX),
        bytes: i64::try_from(received.bytes).unwrap_or(i64::MAX),
        age_s: i64::try_from(age.as_secs()).unwrap_or(i64::MAX),
        rows: row.rows,
        quarantined: row.quarantined,
        conflicts: row.conflicts,
        error,
    }
}

/// Runs file work beside the runtime.
async fn on_disk<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| of_io(what, &error)),
        Err(_) => Err(Fault::new(FaultCode::Internal, format!("internal error: could not {what}"))),
    }
}
