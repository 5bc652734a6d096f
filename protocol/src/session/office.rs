//! The office's end of a clone and of an update, as a pure state machine: `(state, event) -> (state, action)`.
//!
//! The driver performs one [`Action`] at a time and reports what came of it as an [`Event`]. Rows, bytes, files, clocks
//! and sockets stay with the driver; here it is only decided what happens next, above all after a line was lost.
//!
//! # What an interrupted clone does when it is run again
//!
//! A copy is frozen before a shop is cleaned that has worked already, so an office that cannot make one never empties it;
//! the first one of a branch may be sent while it is being written. The first chunk is sent only after `clean` has answered. So a session at the shop that holds bytes proves that its `clean` is
//! done: it is resumed and nothing is cleaned again. A session without bytes proves nothing: it is dropped together
//! with the frozen copy (the office may have moved on since), and the clone starts over with a new key.
//! A peer with the base methods alone has no keys, so there an interrupted clone always starts over; `clean` may be repeated.

use crate::fault::FaultCode;

pub use super::remote::RemoteState;

/// Most often that one run asks for, opens, freezes or sends the same thing again before it gives up.
pub const ATTEMPTS_MAX: u32 = 20;

/// Most answers of `diff` that one update takes in from a peer with the base methods alone.
pub const ANSWERS_MAX: u32 = 1000;

/// What the run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The first full copy, or a new one.
    Clone,
    /// Both directions once: pull, then push.
    Update,
}

/// What the peer can do beyond the base methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// `sql_prepare(options)` with a key, `sql_create` with `seq`, `sql_status`.
    pub keyed_sessions: bool,
    /// `sync.diff_open` and `sync.diff_read`.
    pub frozen_diffs: bool,
    /// `sync.digest`.
    pub digests: bool,
    /// `sync.digest_rows`, `sync.rows`, `sync.mark`, `sync.baseline`.
    pub repairs: bool,
    /// Sessions that are applied and taken back.
    pub dry_runs: bool,
    /// `sync.fresh`.
    pub freshness: bool,
}

/// What the driver shall do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Find out what the peer is and can do; check that it is the right shop. -> [`Event::Greeted`]
    Greet,
    /// Freeze a full copy, or find the one an interrupted clone left. -> [`Event::Frozen`]
    FreezeClone,
    /// Freeze what the branch does not have yet. -> [`Event::Frozen`] or [`Event::NothingToSend`]
    FreezePush,
    /// Give up the frozen stream at the office. -> [`Event::Done`]
    Discard,
    /// Note durably that the shop's tables are about to be replaced, so that no update runs before the clone is finished. -> [`Event::Done`]
    MarkStarted,
    /// Give the branch its id range; a new one when it had been cloned before and `fresh`. -> [`Event::Done`]
    GiveRange {
        /// Whether a branch that was cloned before gets a new range.
        fresh: bool,
    },
    /// `clean()`. -> [`Event::Done`]
    Clean,
    /// `setidstart(low)`. -> [`Event::Done`]
    SetIdStart,
    /// `sql_prepare`. -> [`Event::Prepared`]
    Prepare,
    /// `sql_status(sid)`. -> [`Event::Status`]
    AskStatus,
    /// `sql_abort(sid)`. -> [`Event::Done`]
    Abort,
    /// Send the frozen stream from there to its end. -> [`Event::Done`]
    Send {
        /// Sequence number of the next chunk.
        seq: u64,
        /// Bytes of the stream that the shop already has.
        offset: u64,
    },
    /// `sql_finish(sid)`. -> [`Event::Done`]
    Finish,
    /// Wait a while before asking again. -> [`Event::Done`]
    Wait,
    /// Record that the shop has applied the push. -> [`Event::Recorded`], or [`Event::Done`] when it was all that waits
    RecordPush,
    /// `sync.diff_open(since)`. -> [`Event::DiffOpened`]
    OpenDiff,
    /// Fetch what is still missing of the frozen diff, and check it. -> [`Event::Done`] or [`Event::Damaged`]
    ReceiveDiff,
    /// Apply the received diff and store its watermark. -> [`Event::Done`]
    ApplyDiff,
    /// Store the watermark of an empty diff. -> [`Event::Done`]
    Advance,
    /// `diff(since)`. -> [`Event::Answered`]
    AskDiff,
    /// Apply the answer of `diff` and store the watermark in it. -> [`Event::AppliedAnswer`]
    ApplyAnswer,
    /// Record the finished clone. -> [`Event::Done`]
    RecordClone,
    /// Compare digests of both ends. -> [`Event::Done`]
    Compare,
    /// Nothing more to do.
    End(Ending),
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The run may begin.
    Begin,
    /// The action was done.
    Done,
    /// The peer is the right one, and can do this.
    Greeted(Abilities),
    /// A stream is frozen.
    Frozen {
        /// Whether an earlier run left it.
        resumed: bool,
        /// Its size in bytes; none while it is still being written.
        bytes: Option<u64>,
    },
    /// There is nothing to push (any more).
    NothingToSend,
    /// A push was recorded, and there may be more: of its tables, or of a group of tables that travels behind them.
    Recorded,
    /// A session is open.
    Prepared,
    /// How the session stands.
    Status {
        /// Its state.
        state: RemoteState,
        /// Sequence number that its next chunk must have.
        next_seq: u64,
        /// Bytes it holds.
        bytes: u64,
    },
    /// A frozen diff was opened.
    DiffOpened {
        /// Rows in it; none means that nothing has changed.
        rows: u64,
    },
    /// `diff` has answered.
    Answered {
        /// Whether the answer was nil: nothing more.
        empty: bool,
    },
    /// An answer of `diff` was applied.
    AppliedAnswer {
        /// Whether it brought a newer watermark, so that the next question is another one.
        advanced: bool,
    },
    /// What was received is not what the peer announced; it was thrown away.
    Damaged,
    /// The peer answered with a fault.
    Refused(FaultCode),
    /// The line was lost and it is not known whether the action had an effect.
    Lost,
}

/// How a run ended. What went wrong in words (the fault, the line) is kept by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything was done.
    Done,
    /// The peer refused; the last fault says why.
    Refused,
    /// The peer kept asking to come back later.
    Busy,
    /// The line was lost too often.
    Lost,
    /// What arrived was damaged again and again.
    Damaged,
    /// The peer answered something that makes no sense at this point: an error in one of the two programs.
    Confused,
}

/// The state: where the run stands, and what it has learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    task: Task,
    /// Whether it is only a push that is applied and taken back: nothing is recorded of it.
    rehearses: bool,
    abilities: Abilities,
    phase: Phase,
    /// Whether the frozen stream was left by an earlier run.
    resumed: bool,
    /// Whether the branch has had its range in this run.
    ranged: bool,
    /// Size of the frozen stream; none if it was still being written when sending began.
    stream_bytes: Option<u64>,
    /// Bytes that the shop is known to hold: a line that drops but makes progress may drop for ever.
    held_bytes: u64,
    /// Whether a session was prepared before in this run, so that it may hold something.
    prepared: bool,
    attempts: u32,
    answers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Greeting,
    Freezing,
    /// The frozen stream is useless; a new one is made afterwards, or the run ends.
    Discarding(Option<Ending>),
    Aborting,
    Marking,
    Ranging,
    Cleaning,
    SettingFirst,
    Preparing,
    Asking,
    Waiting(After),
    Sending,
    Finishing,
    RecordingPush,
    RangingAgain,
    SettingAgain,
    OpeningDiff,
    Receiving,
    ApplyingDiff,
    Advancing,
    AskingDiff,
    ApplyingAnswer,
    Confirming,
    RecordingClone,
    Comparing,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Ask,
    Finish,
    Clean,
    Prepare,
    Open,
    Confirm,
}

impl Run {
    /// A run that has not begun; its first event is [`Event::Begin`].
    pub fn new(task: Task) -> Self {
        Self {
            task,
            rehearses: false,
            abilities: Abilities::default(),
            phase: Phase::New,
            resumed: false,
            ranged: false,
            stream_bytes: None,
            held_bytes: 0,
            prepared: false,
            attempts: 0,
            answers: 0,
        }
    }

    /// The push of an update, of so many bytes, into a session that a peer which can do all that applies and takes back.
    pub fn rehearsal(abilities: Abilities, stream_bytes: u64) -> Self {
        Self { rehearses: true, abilities, stream_bytes: Some(stream_bytes), ..Self::new(Task::Update) }
    }

    /// Whether the frozen stream in use was left by an earlier run.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether an action may simply be repeated when its outcome is unknown. The others are reported as [`Event::Lost`].
    pub fn is_repeatable(&self, action: Action) -> bool {
        match action {
            Action::Send { .. } | Action::Finish => false,
            // without a key a repeat only leaves an unused session behind, which expires
            _ => true,
        }
    }

    /// The next state, and what to do in it.
    pub fn step(mut self, event: Event) -> (Self, Action) {
        let action = self.decide(event);
        (self, action)
    }

    fn decide(&mut self, event: Event) -> Action {
        match (self.phase, event) {
            (Phase::Ended, _) => self.end(Ending::Confused),
            (Phase::New, Event::Begin) if self.rehearses => self.prepare(),
            (Phase::New, Event::Begin) => self.go(Phase::Greeting, Action::Greet),
            (Phase::Greeting, Event::Greeted(abilities)) => {
                self.abilities = abilities;
                match self.task {
                    Task::Clone => self.freeze(),
                    Task::Update => self.pull(),
                }
            }
            (Phase::Freezing, Event::NothingToSend) if self.task == Task::Update => self.end(Ending::Done),
            (Phase::Freezing, Event::Frozen { resumed, bytes }) => self.frozen(resumed, bytes),
            (Phase::Discarding(None), Event::Done) => self.freeze(),
            (Phase::Discarding(Some(ending)), Event::Done) => self.end(ending),
            // the session may be gone already; what matters is that nobody finishes it
            (Phase::Aborting, Event::Done | Event::Refused(_)) => self.discard(None),
            (Phase::Marking, Event::Done) => self.go(Phase::Ranging, Action::GiveRange { fresh: true }),
            (Phase::Ranging, Event::Done) => {
                self.ranged = true;
                self.go(Phase::Cleaning, Action::Clean)
            }
            (Phase::Cleaning, Event::Done) => self.go(Phase::SettingFirst, Action::SetIdStart),
            (Phase::Cleaning, Event::Refused(code)) => self.refused_or_wait(code, After::Clean),
            (Phase::SettingFirst, Event::Done) => self.prepare(),
            (Phase::Preparing, Event::Prepared) => {
                let may_hold = self.resumed || self.prepared;
                self.prepared = true;
                if self.abilities.keyed_sessions && may_hold {
                    self.go(Phase::Asking, Action::AskStatus)
                } else {
                    self.send(0, 0)
                }
            }
            (Phase::Preparing, Event::Refused(code)) => self.refused_or_wait(code, After::Prepare),
            (Phase::Asking, Event::Status { state, next_seq, bytes }) => self.status(state, next_seq, bytes),
            (Phase::Asking | Phase::Sending | Phase::Finishing, Event::Refused(code)) => self.session_refused(code),
            (Phase::Waiting(after), Event::Done) => self.after_waiting(after),
            (Phase::Sending, Event::Done) => self.go(Phase::Finishing, Action::Finish),
            (Phase::Sending, Event::Lost) => self.again(|run| {
                if run.abilities.keyed_sessions {
                    run.go(Phase::Asking, Action::AskStatus)
                } else {
                    // nobody can say whether the last chunk arrived: only a new session is certain
                    run.prepare()
                }
            }),
            (Phase::Finishing, Event::Done) => self.applied(),
            (Phase::Finishing, Event::Lost) => self.again(|run| {
                if run.abilities.keyed_sessions {
                    run.go(Phase::Asking, Action::AskStatus)
                } else {
                    // a repeated finish returns the same result and applies nothing twice
                    run.go(Phase::Finishing, Action::Finish)
                }
            }),
            // what an earlier run had frozen is not all that waits now
            (Phase::RecordingPush, Event::Done) if self.resumed => self.freeze(),
            (Phase::RecordingPush, Event::Recorded) => self.freeze(),
            (Phase::RecordingPush, Event::Done) => self.end(Ending::Done),
            (Phase::RangingAgain, Event::Done) => {
                self.ranged = true;
                self.go(Phase::SettingAgain, Action::SetIdStart)
            }
            (Phase::SettingAgain, Event::Done) => self.pull(),
            (Phase::OpeningDiff, Event::DiffOpened { rows: 0 }) => match self.task {
                Task::Clone => self.confirm(),
                Task::Update => self.go(Phase::Advancing, Action::Advance),
            },
            (Phase::OpeningDiff, Event::DiffOpened { .. }) => self.go(Phase::Receiving, Action::ReceiveDiff),
            (Phase::OpeningDiff, Event::Refused(code)) if is_passing(code) => self.refused_or_wait(code, After::Open),
            (Phase::Receiving, Event::Done) => self.go(Phase::ApplyingDiff, Action::ApplyDiff),
            (Phase::Receiving, Event::Damaged) => {
                if self.attempts >= 2 {
                    return self.end(Ending::Damaged);
                }
                self.again(|run| run.go(Phase::OpeningDiff, Action::OpenDiff))
            }
            (Phase::Receiving, Event::Refused(FaultCode::DiffExpired)) => {
                self.again(|run| run.go(Phase::OpeningDiff, Action::OpenDiff))
            }
            (Phase::ApplyingDiff | Phase::Advancing, Event::Done) => self.pulled(),
            (Phase::AskingDiff, Event::Answered { empty: true }) => self.pulled(),
            (Phase::AskingDiff, Event::Answered { empty: false }) => {
                self.go(Phase::ApplyingAnswer, Action::ApplyAnswer)
            }
            (Phase::ApplyingAnswer, Event::AppliedAnswer { advanced }) => {
                self.answers += 1;
                // without a newer watermark the same answer would come for ever
                if advanced && self.task == Task::Update && self.answers < ANSWERS_MAX {
                    self.go(Phase::AskingDiff, Action::AskDiff)
                } else {
                    self.pulled()
                }
            }
            (Phase::Confirming, Event::Status { state: RemoteState::Applied, .. }) => {
                self.go(Phase::RecordingClone, Action::RecordClone)
            }
            (Phase::Confirming, Event::Status { .. }) => self.discard(None),
            (Phase::Confirming, Event::Refused(code)) if is_passing(code) => self.wait(After::Confirm),
            (Phase::Confirming, Event::Refused(FaultCode::UnknownSession | FaultCode::SessionExpired)) => {
                self.again(Self::lost_session)
            }
            (Phase::RecordingClone, Event::Done) => self.go(Phase::Comparing, Action::Compare),
            (Phase::Comparing, Event::Done) => self.end(Ending::Done),
            (_, Event::Refused(code)) if is_passing(code) => self.end(Ending::Busy),
            (_, Event::Refused(_)) => self.end(Ending::Refused),
            (_, Event::Lost) => self.end(Ending::Lost),
            _ => self.end(Ending::Confused),
        }
    }

    fn go(&mut self, phase: Phase, action: Action) -> Action {
        self.phase = phase;
        action
    }

    fn end(&mut self, ending: Ending) -> Action {
        self.go(Phase::Ended, Action::End(ending))
    }

    /// Goes on with another attempt, unless there were too many.
    fn again(&mut self, next: impl FnOnce(&mut Self) -> Action) -> Action {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX { self.end(Ending::Lost) } else { next(self) }
    }

    fn freeze(&mut self) -> Action {
        let action = match self.task {
            Task::Clone => Action::FreezeClone,
            Task::Update => Action::FreezePush,
        };
        self.go(Phase::Freezing, action)
    }

    fn pull(&mut self) -> Action {
        if self.abilities.frozen_diffs {
            self.go(Phase::OpeningDiff, Action::OpenDiff)
        } else {
            self.go(Phase::AskingDiff, Action::AskDiff)
        }
    }

    fn pulled(&mut self) -> Action {
        match self.task {
            Task::Clone => self.confirm(),
            Task::Update => self.freeze(),
        }
    }

    /// The shop is asked once more behind its first watermark: a database that was put back to a backup after the clone
    /// was applied does not know the session, and the clone starts over. One put back later does not know the watermark,
    /// and the next update finds out.
    fn confirm(&mut self) -> Action {
        if self.abilities.keyed_sessions {
            self.go(Phase::Confirming, Action::AskStatus)
        } else {
            self.go(Phase::RecordingClone, Action::RecordClone)
        }
    }

    fn frozen(&mut self, resumed: bool, bytes: Option<u64>) -> Action {
        self.resumed = resumed;
        self.stream_bytes = bytes;
        self.held_bytes = 0;
        self.prepared = false;
        match self.task {
            // without a key the shop cannot be told what an earlier run's stream rests on, and what it has changed since
            // would be overwritten unseen; a newer stream holds all of the older one
            Task::Update if resumed && !self.abilities.keyed_sessions => self.discard(None),
            Task::Update => self.prepare(),
            Task::Clone if resumed && self.abilities.keyed_sessions => self.prepare(),
            Task::Clone if resumed => self.discard(None),
            Task::Clone => self.go(Phase::Marking, Action::MarkStarted),
        }
    }

    fn discard(&mut self, ending: Option<Ending>) -> Action {
        if self.rehearses {
            // the stream is nobody's, and what the next one would tell is for the next dry run
            return self.end(ending.unwrap_or(Ending::Lost));
        }
        if ending.is_none() {
            self.attempts += 1;
            if self.attempts > ATTEMPTS_MAX {
                return self.go(Phase::Discarding(Some(Ending::Refused)), Action::Discard);
            }
        }
        self.go(Phase::Discarding(ending), Action::Discard)
    }

    fn prepare(&mut self) -> Action {
        self.go(Phase::Preparing, Action::Prepare)
    }

    fn send(&mut self, seq: u64, offset: u64) -> Action {
        if self.stream_bytes == Some(offset) {
            return self.go(Phase::Finishing, Action::Finish);
        }
        self.go(Phase::Sending, Action::Send { seq, offset })
    }

    fn wait(&mut self, after: After) -> Action {
        self.go(Phase::Waiting(after), Action::Wait)
    }

    /// How often one waits is bounded by the driver's deadline, not by a count.
    fn after_waiting(&mut self, after: After) -> Action {
        match after {
            After::Ask => self.go(Phase::Asking, Action::AskStatus),
            After::Finish => self.go(Phase::Finishing, Action::Finish),
            After::Clean => self.go(Phase::Cleaning, Action::Clean),
            After::Prepare => self.prepare(),
            After::Open => self.go(Phase::OpeningDiff, Action::OpenDiff),
            After::Confirm => self.confirm(),
        }
    }

    fn refused_or_wait(&mut self, code: FaultCode, after: After) -> Action {
        if is_passing(code) {
            return self.wait(after);
        }
        match after {
            // the copy must not outlive the refusal: an update may run before the next attempt
            After::Clean => self.discard(Some(Ending::Refused)),
            _ => self.end(Ending::Refused),
        }
    }

    fn status(&mut self, state: RemoteState, next_seq: u64, bytes: u64) -> Action {
        match state {
            RemoteState::Applied => self.applied(),
            RemoteState::Applying => self.wait(After::Ask),
            RemoteState::Refused => self.discard(Some(Ending::Refused)),
            RemoteState::Gone => self.discard(None),
            RemoteState::Open if self.stream_bytes.is_some_and(|all| bytes > all) => {
                self.go(Phase::Aborting, Action::Abort)
            }
            RemoteState::Open if bytes == 0 && self.task == Task::Clone && self.resumed => {
                self.go(Phase::Aborting, Action::Abort)
            }
            RemoteState::Open => {
                if bytes > self.held_bytes {
                    self.held_bytes = bytes;
                    self.attempts = 0;
                }
                self.send(next_seq, bytes)
            }
        }
    }

    fn session_refused(&mut self, code: FaultCode) -> Action {
        match code {
            _ if is_passing(code) => match self.phase {
                Phase::Finishing => self.wait(After::Finish),
                Phase::Sending if !self.abilities.keyed_sessions => self.wait(After::Prepare),
                _ => self.wait(After::Ask),
            },
            FaultCode::ChunkGap | FaultCode::SessionEnded
                if self.abilities.keyed_sessions && self.phase != Phase::Asking =>
            {
                self.again(|run| run.go(Phase::Asking, Action::AskStatus))
            }
            FaultCode::UnknownSession | FaultCode::SessionExpired | FaultCode::UncertainRepeat => {
                self.again(Self::lost_session)
            }
            FaultCode::DamagedChunk if self.attempts < 2 => self.discard(None),
            // the stream rests on what the shop no longer keeps: a new one rests on what was pulled just now
            FaultCode::SinceTooOld | FaultCode::UnknownWatermark if self.resumed && self.task == Task::Update => {
                self.discard(None)
            }
            _ => self.discard(Some(Ending::Refused)),
        }
    }

    /// The shop has forgotten the session. What a clone had cleaned is still clean, but the shop may have worked since:
    /// it starts over with a new copy.
    fn lost_session(&mut self) -> Action {
        if self.task == Task::Clone { self.discard(None) } else { self.prepare() }
    }

    fn applied(&mut self) -> Action {
        match self.task {
            Task::Update if self.rehearses => self.end(Ending::Done),
            Task::Update => self.go(Phase::RecordingPush, Action::RecordPush),
            Task::Clone if self.ranged => self.go(Phase::SettingAgain, Action::SetIdStart),
            Task::Clone => self.go(Phase::RangingAgain, Action::GiveRange { fresh: false }),
        }
    }
}

/// Whether the same request may succeed later without anybody acting.
fn is_passing(code: FaultCode) -> bool {
    matches!(code, FaultCode::Busy | FaultCode::DatabaseUnavailable)
}

#[cfg(test)]
mod tests;
