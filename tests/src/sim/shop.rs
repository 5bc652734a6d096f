//! A shop: its database, its files, and the agent that serves calls. The agent decides by `protocol::session::agent`, its
//! ledger by `protocol::session::ledger`, its watermarks by `protocol::watermark::select`; what is imitated is the
//! machinery around them (`shop-agent/src/session/store.rs`, `replica/src/shop`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::fault::{Fault as Told, FaultCode};
use protocol::session::agent::{self, Action, Ending, Event, Received, State};
use protocol::session::ledger::{self, Recorded, Verdict};
use protocol::snapshot::Snapshot;
use protocol::watermark::select::Knowledge;

use super::call::{Piece, Reply, Request};
use super::context::Context;
use super::faults::{Fault, OF_AGENT};
use super::model::Node;
use super::sabotage::Sabotage;
use super::shop_diff::{answered, fingerprint};
use super::store::{Backup, Database};
use super::stream::{self, Order, Stream};

/// The office, as the shop's database numbers it.
pub(super) const OFFICE_PEER: u32 = 1;
/// Bytes that a session may receive.
const SESSION_BYTES_MAX: u64 = 1 << 40;
/// Sessions that an office may have open.
const OPEN_SESSIONS_MAX: usize = 4;

/// A watermark as stored.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) snapshot: Snapshot,
    pub(super) incarnation: i32,
    /// The step in which it was acknowledged.
    pub(super) acknowledged: Option<u64>,
    /// The newest time in the log, for those who believe in clocks.
    pub(super) newest: i64,
}

/// A session as recorded.
#[derive(Debug, Clone)]
pub(super) struct SessionRow {
    pub(super) key: Option<String>,
    pub(super) is_clone: bool,
    pub(super) base: Option<String>,
    pub(super) recorded: Recorded,
    pub(super) ending: Option<Ending>,
    /// How often it was applied; more than once is a broken promise.
    pub(super) applied: u32,
}

/// The product's own records at a shop.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub(super) marks: BTreeMap<(u32, i64), Mark>,
    pub(super) sessions: BTreeMap<i32, SessionRow>,
    pub(super) base: Snapshot,
    pub(super) pruned_below: u64,
    pub(super) awaiting_clone: bool,
    pub(super) range: Option<i64>,
    pub(super) next_id: i64,
    /// Streams taken so far: what the witness remembers of it.
    pub(super) mark: i64,
}

/// Why a call brings no answer of its own.
#[derive(Debug)]
pub(super) enum Broken {
    /// Whoever would have answered is dead.
    Silent,
    Fault(Told),
}

pub(super) type Served<T> = Result<T, Broken>;

pub(super) fn fault(code: FaultCode) -> Broken {
    Broken::Fault(Told::new(code, code.name()))
}

/// A shop.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) index: usize,
    pub(super) db: Database<Records>,
    pub(super) spool: Vec<Stream>,
    /// Chunk logs, chunk by chunk.
    pub(super) logs: BTreeMap<i32, Vec<Piece>>,
    witness: Option<(String, Knowledge)>,
    /// What the running agent knows: sessions, and who it takes its database for.
    live: HashMap<i32, State>,
    known_incarnation: Option<String>,
    /// Applies that take their time.
    pub(super) running: BTreeSet<i32>,
    /// An apply whose agent died, and whose commit is still under way.
    pub(super) ghost: Option<i32>,
    pub(super) backups: Vec<Backup<Records>>,
    /// Streams the office has frozen, by id: what the bytes of a piece mean.
    pub(super) known_streams: HashMap<String, Stream>,
    /// Whether its rows are known to follow the office's: not after one of them was restored, until it is cloned.
    pub(super) is_trusted: bool,
}

impl Shop {
    pub(super) fn new(index: usize, db: Database<Records>) -> Self {
        Self {
            index,
            db,
            spool: Vec::new(),
            logs: BTreeMap::new(),
            witness: None,
            live: HashMap::new(),
            known_incarnation: None,
            running: BTreeSet::new(),
            ghost: None,
            backups: Vec::new(),
            known_streams: HashMap::new(),
            is_trusted: true,
        }
    }

    /// The agent dies; systemd starts it again before the next call.
    pub(super) fn agent_dies(&mut self) {
        self.live.clear();
        self.known_incarnation = None;
        self.running.clear();
    }

    /// The database server dies and recovers.
    pub(super) fn database_dies(&mut self, ctx: &mut Context) {
        let mut chance = ctx.chance("shop-recovery");
        let lost = self.db.crash(&mut chance);
        ctx.model.lost(&lost);
        self.ghost = None;
        ctx.say(|| format!("  shop {} recovers, {} commits taken back", self.index, lost.len()));
    }

    /// The witness writes down how far the database has come.
    pub(super) fn remember(&mut self, knows: Knowledge) {
        let id = self.db.now.incarnation().id;
        let told = self.witness.take().filter(|(of, _)| *of == id).map(|(_, told)| told).unwrap_or_default();
        let knows = Knowledge {
            xmax: told.xmax.max(knows.xmax),
            issued_micros: told.issued_micros.max(knows.issued_micros),
            contacts: told.contacts.max(knows.contacts),
            ..told
        };
        self.witness = Some((id, knows));
    }

    /// The witness is told before a peer is told what was applied.
    fn testify(&mut self) {
        self.remember(Knowledge { contacts: self.db.now.records.mark, ..Knowledge::default() });
    }

    /// Whether something goes wrong here.
    pub(super) fn point(&mut self, ctx: &mut Context, step: &'static str) -> Served<()> {
        match ctx.strike(step, OF_AGENT) {
            None => Ok(()),
            Some(Fault::ShopDatabaseDies) => {
                self.database_dies(ctx);
                Err(fault(FaultCode::DatabaseUnavailable))
            }
            Some(Fault::ShopPowerCut) => {
                self.database_dies(ctx);
                self.agent_dies();
                Err(Broken::Silent)
            }
            Some(_) => {
                self.agent_dies();
                Err(Broken::Silent)
            }
        }
    }

    /// Serves a call; none where no answer comes.
    pub(super) fn serve(&mut self, ctx: &mut Context, request: &Request) -> Option<Reply> {
        let reply = match self.answer(ctx, request) {
            Ok(reply) => reply,
            Err(Broken::Fault(told)) => Reply::Fault(told),
            Err(Broken::Silent) => return None,
        };
        Some(reply)
    }

    fn answer(&mut self, ctx: &mut Context, request: &Request) -> Served<Reply> {
        self.question(ctx);
        match request {
            Request::Hello => {
                let begins = self.db.now.records.base.to_string();
                Ok(Reply::Hello { incarnation: self.db.now.incarnation().id, begins })
            }
            Request::Prepare { key, is_clone, base } => self.prepare(ctx, key, *is_clone, base),
            Request::Chunk { sid, seq, piece } => self.chunk(ctx, *sid, *seq, piece),
            Request::Status { sid } => self.status(ctx, *sid),
            Request::Finish { sid } => self.finish(ctx, *sid),
            Request::Abort { sid } => self.abort(ctx, *sid),
            Request::Clean { force, begins } => self.clean(ctx, *force, begins.as_deref()),
            Request::SetIdStart { low } => self.set_id_start(ctx, *low),
            Request::DiffOpen { since } | Request::Diff { since } => {
                self.diff(ctx, since).map(|stream| Reply::Diff(Box::new(stream)))
            }
            Request::DiffRead { id } => {
                if ctx.strike("call.diff-read", &[Fault::DiffExpired]).is_some() {
                    self.spool.clear();
                }
                let found = self.spool.iter().any(|stream| stream.id == *id);
                if found { Ok(Reply::Slice) } else { Err(fault(FaultCode::DiffExpired)) }
            }
        }
    }

    /// The agent asks its witness when it starts.
    fn question(&mut self, ctx: &mut Context) {
        let incarnation = self.db.now.incarnation();
        if self.known_incarnation.as_ref() == Some(&incarnation.id) {
            return;
        }
        if let Some((id, told)) = &self.witness
            && !ctx.is_sabotaged(Sabotage::NoWitness)
        {
            let issued = self.db.now.records.marks.keys().map(|(_, issued)| *issued).max().unwrap_or(0);
            let knows = Knowledge {
                xmax: self.db.now.next_xid,
                issued_micros: issued,
                contacts: self.db.now.records.mark,
                ..Knowledge::default()
            };
            let was_restored = if *id == incarnation.id { knows.was_restored(told) } else { !self.db.now.knew(id) };
            if was_restored {
                let next = super::world::next_incarnation(ctx, &incarnation);
                ctx.say(|| format!("  shop {} was restored: incarnation {}", self.index, next.id));
                self.db.product(|content, _, _| content.incarnations.push(next));
            }
        }
        self.known_incarnation = Some(self.db.now.incarnation().id);
    }

    fn prepare(
        &mut self,
        ctx: &mut Context,
        key: &Option<String>,
        is_clone: Option<bool>,
        base: &Option<String>,
    ) -> Served<Reply> {
        let sessions = &self.db.now.records.sessions;
        let same = |row: &&SessionRow| key.is_some() && row.key == *key;
        let known = sessions.iter().find(|(_, row)| same(row)).map(|(sid, _)| *sid);
        let open = sessions.values().filter(|row| row.recorded == Recorded::Open).count();
        if known.is_none() && open >= OPEN_SESSIONS_MAX {
            // a session without a key gives way
            let idle = sessions.iter().find(|(_, row)| row.key.is_none() && row.recorded == Recorded::Open);
            let Some(sid) = idle.map(|(sid, _)| *sid) else { return Err(fault(FaultCode::TooManySessions)) };
            let _ = self.advance(ctx, sid, Event::IdleTooLong, None)?;
        }
        self.point(ctx, "session.open.before")?;
        let sid = known.unwrap_or_else(|| {
            let sid = i32::try_from(ctx.unique()).unwrap_or(i32::MAX);
            let row = SessionRow {
                key: key.clone(),
                is_clone: is_clone.unwrap_or(self.db.now.records.awaiting_clone),
                base: base.clone(),
                recorded: Recorded::Open,
                ending: None,
                applied: 0,
            };
            self.db.product(|content, _, _| content.records.sessions.insert(sid, row));
            sid
        });
        self.point(ctx, "session.open.after")?;
        Ok(Reply::Sid(sid))
    }

    /// A session that is open, with its machine; or how it ended.
    fn found(&mut self, sid: i32) -> Served<Result<State, Ending>> {
        if let Some(state) = self.live.get(&sid) {
            return Ok(Ok(state.clone()));
        }
        let Some(row) = self.db.now.records.sessions.get(&sid) else { return Err(fault(FaultCode::UnknownSession)) };
        if let Some(ending) = row.ending.clone() {
            if ending == Ending::Applied {
                self.testify();
            }
            return Ok(Err(ending));
        }
        let pieces = self.logs.get(&sid).map(Vec::as_slice).unwrap_or_default();
        let received = Received {
            next_seq: pieces.len() as u64,
            bytes: pieces.iter().map(|piece| piece.length).sum(),
            last: pieces.last().map(fingerprint),
        };
        let state = State::Open(received);
        self.live.insert(sid, state.clone());
        Ok(Ok(state))
    }

    fn expire(&mut self, ctx: &mut Context, sid: i32, step: &'static str) -> Served<()> {
        if ctx.strike(step, &[Fault::Idle]).is_none() {
            return Ok(());
        }
        match self.advance(ctx, sid, Event::IdleTooLong, None)? {
            Some(Err(told)) => Err(Broken::Fault(told)),
            _ => Ok(()),
        }
    }

    fn chunk(&mut self, ctx: &mut Context, sid: i32, seq: Option<u64>, piece: &Piece) -> Served<Reply> {
        if let Err(ending) = self.found(sid)? {
            return Err(Broken::Fault(agent::ended(&ending)));
        }
        self.expire(ctx, sid, "call.chunk")?;
        let event = Event::Chunk { seq, fingerprint: fingerprint(piece) };
        answered(self.advance(ctx, sid, event, Some(piece))?)
    }

    fn status(&mut self, ctx: &mut Context, sid: i32) -> Served<Reply> {
        let state = match self.found(sid)? {
            Ok(_) => {
                let _ = self.expire(ctx, sid, "call.status");
                match self.found(sid)? {
                    Ok(state) => state,
                    Err(ending) => State::Ended(ending),
                }
            }
            Err(ending) => State::Ended(ending),
        };
        Ok(Reply::Status { state })
    }

    fn abort(&mut self, ctx: &mut Context, sid: i32) -> Served<Reply> {
        match self.found(sid)? {
            Ok(_) => answered(self.advance(ctx, sid, Event::Abort, None)?),
            Err(Ending::Applied) => Err(Broken::Fault(agent::ended(&Ending::Applied))),
            Err(_) => Ok(Reply::Nil),
        }
    }

    fn finish(&mut self, ctx: &mut Context, sid: i32) -> Served<Reply> {
        let state = match self.found(sid)? {
            Ok(state) => state,
            Err(Ending::Applied) if ctx.is_sabotaged(Sabotage::NoLedger) => State::Open(Received::default()),
            Err(Ending::Applied) => return Ok(Reply::Nil),
            Err(Ending::Refused(told)) => return Err(Broken::Fault(told)),
            Err(ending) => return Err(Broken::Fault(agent::ended(&ending))),
        };
        self.expire(ctx, sid, "call.finish")?;
        let (state, actions) = agent::step(&state, Event::Finish, SESSION_BYTES_MAX);
        match actions.into_iter().next() {
            Some(Action::Answer(answer)) => answered(Some(answer)),
            Some(Action::Apply) => {
                self.live.insert(sid, state);
                let has_key = self.db.now.records.sessions.get(&sid).is_some_and(|row| row.key.is_some());
                if has_key && ctx.strike("call.finish", &[Fault::SlowApply]).is_some() {
                    self.running.insert(sid);
                    return Err(Broken::Silent);
                }
                self.complete(ctx, sid)
            }
            // it waits for the one that runs, longer than its caller does
            _ => Err(Broken::Silent),
        }
    }

    /// Sessions that nobody goes on with are dropped.
    pub(super) fn idle(&mut self, ctx: &mut Context) {
        let open = self.db.now.records.sessions.iter().filter(|(_, row)| row.recorded == Recorded::Open);
        let open: Vec<i32> = open.map(|(sid, _)| *sid).collect();
        for sid in open {
            let _ = self.advance(ctx, sid, Event::IdleTooLong, None);
        }
    }

    /// Applies a session and answers.
    pub(super) fn complete(&mut self, ctx: &mut Context, sid: i32) -> Served<Reply> {
        self.running.remove(&sid);
        let applied = match self.point(ctx, "finish.before") {
            Ok(()) if ctx.strike("finish.before", &[Fault::Refused]).is_some() => {
                Err(Broken::Fault(Told::new(FaultCode::StatementFailed, "a row of this push violates a constraint")))
            }
            Ok(()) => self.apply(ctx, sid),
            Err(broken) => Err(broken),
        };
        let event = match applied {
            Ok(()) => Event::ApplySucceeded,
            Err(Broken::Silent) => return Err(Broken::Silent),
            Err(Broken::Fault(told)) => {
                let passing = told.is(FaultCode::Busy) || told.is(FaultCode::DatabaseUnavailable);
                Event::ApplyFailed { fault: told, passing }
            }
        };
        answered(self.advance(ctx, sid, event, None)?)
    }

    /// One step of the machine of a session, with its actions.
    fn advance(
        &mut self,
        ctx: &mut Context,
        sid: i32,
        event: Event,
        piece: Option<&Piece>,
    ) -> Served<Option<Result<(), Told>>> {
        let Ok(state) = self.found(sid)? else { return Ok(None) };
        let (next, actions) = agent::step(&state, event, SESSION_BYTES_MAX);
        let mut answer = None;
        for action in actions {
            match action {
                Action::Append => {
                    self.point(ctx, "chunk.append.before")?;
                    let Some(piece) = piece else { return Err(fault(FaultCode::Internal)) };
                    self.logs.entry(sid).or_default().push(piece.clone());
                    if let Err(broken) = self.point(ctx, "chunk.append.written") {
                        // written, perhaps not whole: a torn record is cut off when the log is opened again
                        if matches!(broken, Broken::Fault(_)) || ctx.chance("torn").permille(500) {
                            self.logs.entry(sid).or_default().pop();
                        }
                        return Err(broken);
                    }
                    if let Err(broken) = self.point(ctx, "chunk.append.after") {
                        if matches!(broken, Broken::Fault(_)) {
                            // the database is not needed for a chunk: the agent goes on
                            self.live.insert(sid, next.clone());
                            continue;
                        }
                        return Err(broken);
                    }
                }
                Action::Record(ending) => {
                    let recorded = self.record(ctx, sid, ending);
                    if let Err(broken) = recorded {
                        if let (Broken::Fault(_), State::Applying(received)) = (&broken, &state) {
                            self.live.insert(sid, State::Open(*received));
                        }
                        return Err(broken);
                    }
                }
                Action::DropChunks => {
                    if !ctx.is_sabotaged(Sabotage::NoLedger) {
                        self.logs.remove(&sid);
                    }
                }
                Action::Answer(given) => answer = Some(given),
                Action::Apply | Action::Wait => {}
            }
        }
        if matches!(next, State::Ended(_)) {
            self.live.remove(&sid);
        } else {
            self.live.insert(sid, next);
        }
        Ok(answer)
    }

    /// Records how a session ended; one that has ended already is left as it is.
    fn record(&mut self, ctx: &mut Context, sid: i32, ending: Ending) -> Served<()> {
        if ending == Ending::Applied {
            return Ok(());
        }
        self.point(ctx, "session.end.before")?;
        self.db.product(|content, _, _| {
            let row = content.records.sessions.get_mut(&sid).filter(|row| row.recorded == Recorded::Open);
            if let Some(row) = row {
                row.recorded = Recorded::Ended;
                row.ending = Some(ending);
            }
        });
        self.point(ctx, "session.end.after")
    }

    /// The transaction of a session: its rows and its record, or nothing.
    pub(super) fn apply(&mut self, ctx: &mut Context, sid: i32) -> Served<()> {
        let Some(row) = self.db.now.records.sessions.get(&sid).cloned() else {
            return Err(fault(FaultCode::UnknownSession));
        };
        if self.ghost.is_some_and(|ghost| ghost != sid) {
            return Err(fault(FaultCode::Busy));
        }
        match ledger::finish(row.recorded) {
            Verdict::Apply => {}
            Verdict::Repeated if ctx.is_sabotaged(Sabotage::NoLedger) => {}
            Verdict::Repeated => return Ok(()),
            Verdict::Over => return Err(fault(FaultCode::UnknownSession)),
        }
        let Some(stream) = self.assembled(sid) else { return Err(fault(FaultCode::DamagedChunk)) };
        if stream.lines.iter().any(|line| self.db.is_locked(line.key)) {
            // tills come first
            return Err(fault(FaultCode::Busy));
        }
        let agreed = if row.is_clone { None } else { Some(self.agreed(ctx, &row)?) };
        if let Err(broken) = self.point(ctx, "shop.apply.before-commit") {
            if matches!(broken, Broken::Silent) && ctx.chance("ghost").permille(500) {
                self.ghost = Some(sid);
            }
            return Err(broken);
        }
        self.ghost = None;

        let (at, sabotage) = (ctx.now() + self.db.clock, ctx.sabotage);
        let applied = self.db.product(|content, schema, xid| {
            let order = Order { schema, xid, peer: OFFICE_PEER, agreed, at, sabotage };
            let applied = stream::apply(content, &order, &stream.lines);
            if row.is_clone {
                stream::begin_totals(content, schema, OFFICE_PEER);
                content.records.awaiting_clone = false;
            }
            content.records.mark += 1;
            if let Some(row) = content.records.sessions.get_mut(&sid) {
                row.recorded = Recorded::Applied;
                row.ending = Some(Ending::Applied);
                row.applied += 1;
            }
            applied
        });
        ctx.say(|| {
            format!("  shop {} applied {} of {} ({} rows){}", self.index, sid, stream.id, applied.rows, stream.told())
        });
        for conflict in &applied.conflicts {
            ctx.say(|| format!("    {}: {:?} of {:?}", conflict.key.0, conflict.kind, conflict.key));
        }
        for conflict in &applied.conflicts {
            if !ctx.is_sabotaged(Sabotage::ForgetLoser) {
                ctx.model.kept(Node::Shop(self.index), conflict);
            }
        }
        super::judge::after_push(ctx, self, &stream.snapshot);
        self.point(ctx, "shop.apply.after-commit")?;
        self.testify();
        Ok(())
    }

    /// The stream that the chunks of a session make; none where they make none.
    fn assembled(&self, sid: i32) -> Option<Stream> {
        let pieces = self.logs.get(&sid)?;
        let first = pieces.first()?;
        let stream = self.known_streams.get(&first.stream)?;
        let mut offset = 0;
        for piece in pieces {
            if piece.stream != stream.id || piece.offset != offset {
                return None;
            }
            offset += piece.length;
        }
        (offset == stream.bytes).then(|| stream.clone())
    }
}
