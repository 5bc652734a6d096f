//! A run of office-client: does what `protocol::session::office` decides, one call or one transaction at a time. It
//! imitates `office-client/src/driver` and `link`: what is asked again, what is reported as lost, what ends the run.

use protocol::fault::{Fault as Told, FaultCode};
use protocol::session::agent::{Ending as SessionEnding, State};
use protocol::session::office::{Abilities, Action, Ending, Event, RemoteState, Run, Task};

use super::call::{Piece, Reply, Request};
use super::chance::Chance;
use super::context::Context;
use super::faults::{CLIENT, Fault, OF_CALLS, OF_CLIENT_AFTER, OF_CLIENT_BEFORE, place};
use super::model::Node;
use super::office::{Office, Outgoing};
use super::sabotage::Sabotage;
use super::shop::Shop;
use super::stream::Stream;

/// Failures in a row after which a run gives up.
const FAILURES_MAX: u32 = 4;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    /// The process died, or was told to stop.
    Died,
    /// The line, or a database, was gone for too long.
    Lost,
    Refused(FaultCode),
    /// The shop's database has another history.
    OtherIncarnation,
    /// The office's database was restored.
    WasRestored,
    NeverCloned,
    CloneUnfinished,
    Busy,
}

/// What came of one step.
enum Outcome {
    Event(Event),
    /// There is more of the same action.
    More,
    End(Ended),
}

/// What came of a call.
enum Called {
    Reply(Reply),
    /// It certainly had no effect.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// A run.
#[derive(Debug)]
pub(super) struct Drive {
    pub(super) shop: usize,
    pub(super) task: Task,
    force: bool,
    pub(super) is_plain: bool,
    state: Run,
    pub(super) action: Action,
    /// Whether the current action has begun.
    begun: bool,
    since: String,
    outgoing: Option<Outgoing>,
    /// Whether that is a copy of which the end is still being written.
    is_copying: bool,
    sid: Option<i32>,
    diff: Option<Box<Stream>>,
    begins: Option<String>,
    fault: Option<FaultCode>,
    failures: u32,
    at: (u64, u64),
    waits: u32,
    pub(super) moved: usize,
}

/// A call that arrives late.
pub(super) type Late = (usize, Request);

/// What a step may touch.
pub(super) struct Around<'a> {
    pub(super) ctx: &'a mut Context,
    pub(super) office: &'a mut Office,
    pub(super) shop: &'a mut Shop,
    /// Calls that are still under way.
    pub(super) late: &'a mut Vec<(u64, Late)>,
}

impl Drive {
    /// A run that takes up a branch; an end where it may not begin.
    pub(super) fn begin(around: &mut Around<'_>, task: Task, force: bool, is_plain: bool) -> Result<Self, Ended> {
        let shop = around.shop.index;
        around.office.question(around.ctx);
        let record = around.office.branch(shop);
        if task == Task::Update {
            if around.office.is_unfinished(shop) {
                return Err(Ended::CloneUnfinished);
            }
            if record.timestamp.is_none() {
                return Err(Ended::NeverCloned);
            }
        }
        let since = match task {
            Task::Update => record.timestamp.clone().unwrap_or_else(|| "0".to_owned()),
            Task::Clone => "0".to_owned(),
        };
        let (state, action) = Run::new(task).step(Event::Begin);
        around.ctx.say(|| format!("run of shop {shop}: {task:?}{}", if force { ", forced" } else { "" }));
        Ok(Self {
            shop,
            task,
            force,
            is_plain,
            state,
            action,
            begun: false,
            since,
            outgoing: None,
            is_copying: false,
            sid: None,
            diff: None,
            begins: None,
            fault: None,
            failures: 0,
            at: (0, 0),
            waits: 0,
            moved: 0,
        })
    }

    /// What it is at.
    pub(super) fn phase(&self) -> &'static str {
        match (self.task, self.action) {
            (Task::Clone, _) => "while cloning",
            (_, Action::Greet | Action::OpenDiff | Action::ReceiveDiff | Action::ApplyDiff | Action::Advance) => {
                "while pulling"
            }
            (_, Action::AskDiff | Action::ApplyAnswer) => "while pulling",
            _ => "while pushing",
        }
    }

    /// One step; how it ended, if it has.
    pub(super) fn step(&mut self, around: &mut Around<'_>) -> Option<Ended> {
        let (before, after) = CLIENT[place(self.action)];
        if !self.begun {
            self.begun = true;
            self.at = (0, 0);
            if let Some(ended) = self.client_fault(around, before, OF_CLIENT_BEFORE) {
                return Some(ended);
            }
        }
        let event = match self.perform(around) {
            Outcome::More => return None,
            Outcome::End(ended) => return Some(ended),
            Outcome::Event(event) => event,
        };
        if let Some(ended) = self.client_fault(around, after, OF_CLIENT_AFTER) {
            return Some(ended);
        }
        let (state, action) = self.state.step(event);
        around.ctx.say(|| format!("  shop {}: {:?} -> {event:?} -> {action:?}", self.shop, self.action));
        (self.state, self.action, self.begun) = (state, action, false);
        let Action::End(ending) = action else { return None };
        Some(match ending {
            Ending::Done => Ended::Done,
            Ending::Refused => Ended::Refused(self.fault.unwrap_or(FaultCode::Internal)),
            Ending::Busy => Ended::Busy,
            Ending::Lost | Ending::Damaged => Ended::Lost,
            Ending::Confused => {
                around.ctx.violate("the state machine", format!("confused by {event:?}"));
                Ended::Lost
            }
        })
    }

    fn client_fault(&self, around: &mut Around<'_>, step: &'static str, kinds: &[Fault]) -> Option<Ended> {
        let struck = around.ctx.strike(step, kinds)?;
        if let (true, Some(outgoing)) = (self.is_copying, &self.outgoing) {
            // without its end it is nothing
            around.office.spool.retain(|stream| stream.id != outgoing.stream.id);
        }
        match struck {
            Fault::OfficeDatabaseDies => {
                around.office.database_dies(around.ctx);
                Some(Ended::Lost)
            }
            Fault::OfficePowerCut => {
                around.office.power_cut(around.ctx);
                Some(Ended::Died)
            }
            _ => Some(Ended::Died),
        }
    }

    /// Makes a call over the line.
    fn call(&mut self, around: &mut Around<'_>, request: Request) -> Called {
        // what the base methods cannot promise: a clean or a finish without a key that arrives behind later ones
        let kinds = match &request {
            Request::Clean { .. } | Request::Finish { .. } if self.is_plain => &OF_CALLS[..3],
            _ => OF_CALLS,
        };
        let struck = around.ctx.strike(request.place(), kinds);
        let reply = match struck {
            Some(Fault::CallLost) => {
                return if self.failures.is_multiple_of(2) { Called::Failed } else { Called::Unknown };
            }
            Some(Fault::CallLate) => {
                let when = around.ctx.step + 1 + around.ctx.chance("late").below(40) as u64;
                around.late.push((when, (self.shop, request)));
                return Called::Unknown;
            }
            Some(Fault::CallTwice) => {
                let reply = around.shop.serve(around.ctx, &request);
                let _ = around.shop.serve(around.ctx, &request);
                reply
            }
            Some(Fault::ReplyLost) => {
                let _ = around.shop.serve(around.ctx, &request);
                return Called::Unknown;
            }
            _ => around.shop.serve(around.ctx, &request),
        };
        match reply {
            Some(reply) => Called::Reply(reply),
            None => Called::Unknown,
        }
    }

    /// Makes a call that may be repeated; an outcome instead of the reply where there is none yet.
    fn ask(&mut self, around: &mut Around<'_>, request: Request) -> Result<Reply, Outcome> {
        match self.call(around, request) {
            Called::Reply(Reply::Fault(told)) => {
                self.failures = 0;
                Err(Outcome::Event(self.refused(&told)))
            }
            Called::Reply(reply) => {
                self.failures = 0;
                Ok(reply)
            }
            Called::Failed | Called::Unknown => {
                self.failures += 1;
                if self.failures > FAILURES_MAX { Err(Outcome::End(Ended::Lost)) } else { Err(Outcome::More) }
            }
        }
    }

    fn refused(&mut self, told: &Told) -> Event {
        // what a generic server answers says nothing; ours names its codes
        let code = match told.known() {
            Some(FaultCode::UnknownSession) if self.is_plain => FaultCode::Application,
            Some(code) => code,
            None => FaultCode::Application,
        };
        self.fault = Some(code);
        Event::Refused(code)
    }

    fn perform(&mut self, around: &mut Around<'_>) -> Outcome {
        self.try_perform(around).unwrap_or_else(|outcome| outcome)
    }

    fn try_perform(&mut self, around: &mut Around<'_>) -> Result<Outcome, Outcome> {
        self.is_copying &= around.ctx.chance("copying").below(3) > 0;
        let shop = self.shop;
        let done = Ok(Outcome::Event(Event::Done));
        match self.action {
            Action::Greet => {
                let Reply::Hello { incarnation, begins } = self.ask(around, Request::Hello)? else { return confused() };
                let known = &around.office.branch(shop).incarnation;
                if self.task == Task::Update && known.as_ref().is_some_and(|known| *known != incarnation) {
                    return Err(Outcome::End(Ended::OtherIncarnation));
                }
                self.begins = Some(begins).filter(|_| !self.is_plain);
                let all = Abilities {
                    keyed_sessions: true,
                    frozen_diffs: true,
                    digests: true,
                    repairs: false,
                    dry_runs: false,
                    freshness: false,
                };
                let abilities = if self.is_plain { Abilities::default() } else { all };
                Ok(Outcome::Event(Event::Greeted(abilities)))
            }
            Action::FreezeClone => {
                let outgoing = around.office.freeze_clone(around.ctx, shop);
                // the first copy of a branch is sent while it is being written, if that takes its time
                let is_first = !outgoing.resumed && !self.is_plain && around.office.branch(shop).cloned == 0;
                self.is_copying = is_first && around.ctx.chance("copies for long").below(4) == 0;
                Ok(self.frozen(around, outgoing))
            }
            Action::FreezePush => match around.office.freeze_push(around.ctx, shop) {
                Ok(Some(outgoing)) => {
                    self.moved += outgoing.stream.lines.len();
                    if !outgoing.resumed {
                        super::judge::no_echo(around.ctx, Node::Office, &outgoing.stream);
                    }
                    Ok(self.frozen(around, outgoing))
                }
                Ok(None) => Ok(Outcome::Event(Event::NothingToSend)),
                Err(_) => Err(Outcome::End(Ended::WasRestored)),
            },
            Action::Discard => {
                if let Some(outgoing) = self.outgoing.take() {
                    around.office.drop_outgoing(shop, &outgoing);
                }
                self.sid = None;
                done
            }
            Action::MarkStarted => {
                around.office.mark_started(shop);
                done
            }
            Action::GiveRange { fresh } => {
                around.office.give_range(shop, fresh);
                done
            }
            Action::Clean => self.clean(around),
            Action::SetIdStart => {
                let low = around.office.branch(shop).range.unwrap_or(0);
                self.ask(around, Request::SetIdStart { low })?;
                done
            }
            Action::Prepare => {
                let Some(outgoing) = &self.outgoing else { return confused() };
                let is_clone = self.task == Task::Clone;
                let request = if self.is_plain {
                    Request::Prepare { key: None, is_clone: None, base: None }
                } else {
                    let base = outgoing.base.clone().filter(|_| !is_clone);
                    Request::Prepare { key: Some(outgoing.key.clone()), is_clone: Some(is_clone), base }
                };
                let Reply::Sid(sid) = self.ask(around, request)? else { return confused() };
                self.sid = Some(sid);
                Ok(Outcome::Event(Event::Prepared))
            }
            Action::AskStatus => {
                let Reply::Status { state } = self.ask(around, Request::Status { sid: self.sid.unwrap_or(0) })? else {
                    return confused();
                };
                Ok(Outcome::Event(self.status(&state)))
            }
            Action::Abort => {
                self.ask(around, Request::Abort { sid: self.sid.unwrap_or(0) })?;
                done
            }
            Action::Send { seq, offset } => self.send(around, seq, offset),
            Action::Finish => self.finish(around),
            Action::Wait => {
                self.waits += 1;
                if self.waits > 60 { Err(Outcome::End(Ended::Busy)) } else { done }
            }
            Action::RecordPush => {
                let Some(outgoing) = self.outgoing.take() else { return confused() };
                around.office.record_push(shop, &outgoing.key);
                done
            }
            Action::OpenDiff | Action::AskDiff => self.open_diff(around),
            Action::ReceiveDiff => self.receive(around),
            Action::ApplyDiff | Action::ApplyAnswer => self.apply_diff(around),
            Action::Advance => {
                let Some(watermark) = self.diff.as_ref().and_then(|diff| diff.watermark.clone()) else {
                    return confused();
                };
                around.office.advance(shop, &watermark);
                super::judge::after_pull(around.ctx, around.office, around.shop, &watermark);
                done
            }
            Action::RecordClone => self.record_clone(around),
            Action::Compare | Action::End(_) => done,
        }
    }

    fn frozen(&mut self, around: &mut Around<'_>, outgoing: Outgoing) -> Outcome {
        let bytes = Some(outgoing.stream.bytes).filter(|_| !self.is_copying);
        let event = Event::Frozen { resumed: outgoing.resumed, bytes };
        around.shop.known_streams.insert(outgoing.stream.id.clone(), outgoing.stream.clone());
        self.outgoing = Some(outgoing);
        Outcome::Event(event)
    }

    fn clean(&mut self, around: &mut Around<'_>) -> Result<Outcome, Outcome> {
        // the shop is told first what the office has taken in
        if self.at.0 == 0 {
            let since = around.office.branch(self.shop).timestamp.clone().unwrap_or_else(|| "0".to_owned());
            let tell = if self.is_plain { Request::Diff { since } } else { Request::DiffOpen { since } };
            match self.ask(around, tell) {
                Ok(_) | Err(Outcome::Event(Event::Refused(_))) => self.at.0 = 1,
                Err(outcome) => return Err(outcome),
            }
        }
        self.ask(around, Request::Clean { force: self.force, begins: self.begins.clone() })?;
        Ok(Outcome::Event(Event::Done))
    }

    fn status(&mut self, state: &State) -> Event {
        let (state, received) = match state {
            State::Open(received) => (RemoteState::Open, *received),
            State::Applying(received) => (RemoteState::Applying, *received),
            State::Ended(ending) => {
                let state = match ending {
                    SessionEnding::Applied => RemoteState::Applied,
                    SessionEnding::Refused(_) => {
                        self.fault = Some(FaultCode::StatementFailed);
                        RemoteState::Refused
                    }
                    SessionEnding::Aborted | SessionEnding::Expired => RemoteState::Gone,
                };
                (state, protocol::session::agent::Received::default())
            }
        };
        Event::Status { state, next_seq: received.next_seq, bytes: received.bytes }
    }

    fn send(&mut self, around: &mut Around<'_>, seq: u64, offset: u64) -> Result<Outcome, Outcome> {
        let Some(stream) = self.outgoing.as_ref().map(|outgoing| outgoing.stream.clone()) else { return confused() };
        if self.at == (0, 0) {
            self.at = (seq, offset);
            if around.ctx.is_sabotaged(Sabotage::SendFromStart) {
                self.at = (seq, 0);
            }
        }
        let (seq, offset) = self.at;
        // it is whole at the latest when its last byte is read
        self.is_copying &= offset < stream.bytes;
        if offset >= stream.bytes {
            return Ok(Outcome::Event(Event::Done));
        }
        let mut chance = Chance::about(around.ctx.seed, &stream.id, around.ctx.step);
        let length = if self.is_plain {
            // whole members: the cuts do not depend on what was sent before
            stream.bytes.div_ceil(3).min(stream.bytes - offset)
        } else {
            (1 + chance.below(usize::try_from(stream.bytes / 2).unwrap_or(0) + 1) as u64).min(stream.bytes - offset)
        };
        let piece = Piece { stream: stream.id.clone(), offset, length };
        let request = Request::Chunk { sid: self.sid.unwrap_or(0), seq: (!self.is_plain).then_some(seq), piece };
        match self.call(around, request) {
            Called::Reply(Reply::Fault(told)) => Err(Outcome::Event(self.refused(&told))),
            Called::Reply(_) => {
                self.failures = 0;
                self.at = (seq + 1, offset + length);
                if offset + length == stream.bytes { Ok(Outcome::Event(Event::Done)) } else { Ok(Outcome::More) }
            }
            called => {
                self.failures += 1;
                if self.failures > FAILURES_MAX {
                    return Err(Outcome::End(Ended::Lost));
                }
                // what certainly did not arrive is sent again to a shop that does not count
                if self.is_plain && matches!(called, Called::Failed) {
                    return Ok(Outcome::More);
                }
                Ok(Outcome::Event(Event::Lost))
            }
        }
    }

    fn finish(&mut self, around: &mut Around<'_>) -> Result<Outcome, Outcome> {
        if around.ctx.is_sabotaged(Sabotage::EarlyRecord)
            && self.task == Task::Update
            && let Some(outgoing) = &self.outgoing
        {
            around.office.record_push(self.shop, &outgoing.key);
        }
        match self.call(around, Request::Finish { sid: self.sid.unwrap_or(0) }) {
            Called::Reply(Reply::Fault(told)) => Err(Outcome::Event(self.refused(&told))),
            Called::Reply(_) => {
                self.failures = 0;
                Ok(Outcome::Event(Event::Done))
            }
            Called::Failed | Called::Unknown => {
                self.failures += 1;
                if around.ctx.is_sabotaged(Sabotage::LostIsFailed)
                    && let Some(outgoing) = self.outgoing.take()
                {
                    around.office.drop_outgoing(self.shop, &outgoing);
                    return Err(Outcome::End(Ended::Lost));
                }
                if self.failures > FAILURES_MAX {
                    Err(Outcome::End(Ended::Lost))
                } else {
                    Ok(Outcome::Event(Event::Lost))
                }
            }
        }
    }

    fn open_diff(&mut self, around: &mut Around<'_>) -> Result<Outcome, Outcome> {
        if let (Task::Clone, Some(outgoing)) = (self.task, &self.outgoing) {
            around.office.forget_amounts(self.shop, &outgoing.key);
        }
        let since = self.since.clone();
        let is_frozen = self.action == Action::OpenDiff;
        let request = if is_frozen { Request::DiffOpen { since } } else { Request::Diff { since } };
        let Reply::Diff(diff) = self.ask(around, request)? else { return confused() };
        let rows = diff.lines.len() as u64;
        // what an earlier run had received of other diffs is of no use
        let shop = self.shop;
        around.office.parts.retain(|(branch, id), _| *branch != shop || *id == diff.id);
        self.moved += diff.lines.len();
        self.diff = Some(diff);
        Ok(Outcome::Event(if is_frozen { Event::DiffOpened { rows } } else { Event::Answered { empty: rows == 0 } }))
    }

    fn receive(&mut self, around: &mut Around<'_>) -> Result<Outcome, Outcome> {
        let Some(diff) = self.diff.clone() else { return confused() };
        let place = (self.shop, diff.id.clone());
        let (length, is_sound) = around.office.parts.get(&place).copied().unwrap_or((0, true));
        if length < diff.bytes && !(around.ctx.is_sabotaged(Sabotage::HalfDiff) && length > 0) {
            self.ask(around, Request::DiffRead { id: diff.id.clone() })?;
            let more = 1 + around.ctx.chance("slice").below(usize::try_from(diff.bytes).unwrap_or(1)) as u64;
            around.office.parts.insert(place, ((length + more).min(diff.bytes), is_sound));
            return Ok(Outcome::More);
        }
        if is_sound {
            return Ok(Outcome::Event(Event::Done));
        }
        around.office.parts.remove(&place);
        Ok(Outcome::Event(Event::Damaged))
    }

    fn apply_diff(&mut self, around: &mut Around<'_>) -> Result<Outcome, Outcome> {
        let Some(mut diff) = self.diff.clone() else { return confused() };
        let place = (self.shop, diff.id.clone());
        let is_frozen = self.action == Action::ApplyDiff;
        if around.ctx.is_sabotaged(Sabotage::HalfDiff)
            && around.office.parts.get(&place).is_some_and(|part| part.0 < diff.bytes)
        {
            diff.lines.pop();
        }
        let watermark = diff.watermark.clone();
        let named = watermark.as_deref().filter(|_| is_frozen);
        if around.ctx.is_sabotaged(Sabotage::WatermarkFirst) && self.at.0 == 0 {
            self.at.0 = 1;
            around.office.advance(self.shop, watermark.as_deref().unwrap_or_default());
            if around.ctx.strike("apply-diff.before", OF_CLIENT_BEFORE).is_some() {
                return Err(Outcome::End(Ended::Died));
            }
            around.office.advance(self.shop, &self.since);
        }
        let Some(stored) = around.office.apply_pull(around.ctx, self.shop, named, &diff) else {
            // it waits for the application at the office
            self.waits += 1;
            return if self.waits > 60 { Err(Outcome::End(Ended::Busy)) } else { Ok(Outcome::More) };
        };
        super::judge::after_pull(around.ctx, around.office, around.shop, &stored);
        around.office.parts.remove(&place);
        let advanced = stored != self.since;
        self.since = stored;
        Ok(Outcome::Event(if is_frozen { Event::Done } else { Event::AppliedAnswer { advanced } }))
    }

    fn record_clone(&mut self, around: &mut Around<'_>) -> Result<Outcome, Outcome> {
        // a clean may begin a new history of the shop's database
        let Reply::Hello { incarnation, .. } = self.ask(around, Request::Hello)? else { return confused() };
        let Some(outgoing) = &self.outgoing else { return confused() };
        let timestamp = match &self.diff {
            Some(diff) if !self.is_plain => diff.watermark.clone().unwrap_or_default(),
            _ => self.since.clone(),
        };
        around.office.record_clone(self.shop, &outgoing.key.clone(), timestamp.clone(), incarnation);
        super::judge::after_pull(around.ctx, around.office, around.shop, &timestamp);
        Ok(Outcome::Event(Event::Done))
    }
}

fn confused<T>() -> Result<T, Outcome> {
    Err(Outcome::End(Ended::Lost))
}
