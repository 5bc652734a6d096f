//! A session at the agent: takes chunks in order, is applied once, and remembers how it ended.
//!
//! [`step`] is pure. Its caller carries out the actions in order and only then adopts the new state; if an action
//! fails (a full disk), the old state stands, and the peer is told.

use crate::fault::{Fault, FaultCode};

/// What tells one chunk from the next without keeping it: length and CRC-32.
///
/// Two different chunks that collide are taken for a repeat, which refuses a good session (1 in 2^32) and never
/// applies a bad one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes of the chunk.
    pub bytes: u64,
    /// CRC-32 of the chunk.
    pub crc: u32,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Everything was applied.
    Applied,
    /// Nothing was applied, for that reason.
    Refused(Fault),
    /// Its office dropped it.
    Aborted,
    /// It was idle too long.
    Expired,
}

/// Where a session stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Takes chunks.
    Open(Received),
    /// Is being applied.
    Applying(Received),
    /// Takes nothing any more.
    Ended(Ending),
}

/// What an open session has received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Number of the chunk that comes next, from 0.
    pub next_seq: u64,
    /// Bytes of all chunks, as received.
    pub bytes: u64,
    /// The last chunk.
    pub last: Option<Fingerprint>,
}

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A chunk arrived whole, in a well-formed request.
    Chunk {
        /// Number the sender gave it, from 0; none from a client of the base methods.
        seq: Option<u64>,
        /// What it looks like.
        fingerprint: Fingerprint,
    },
    /// `sql_finish` was called.
    Finish,
    /// The apply that was running succeeded.
    ApplySucceeded,
    /// The apply that was running failed; nothing was applied.
    ApplyFailed {
        /// Why.
        fault: Fault,
        /// Whether the same finish may succeed later (busy, deadlock, no database).
        passing: bool,
    },
    /// `sql_abort` was called.
    Abort,
    /// It has been idle for longer than allowed.
    IdleTooLong,
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Append the chunk to the log, durably.
    Append,
    /// Start the apply; report with [`Event::ApplySucceeded`] or [`Event::ApplyFailed`].
    Apply,
    /// Wait for the apply that is running, and answer as it is answered.
    Wait,
    /// Record the ending, durably.
    Record(Ending),
    /// Drop the chunks.
    DropChunks,
    /// Answer the caller.
    Answer(Result<(), Fault>),
}

/// One step of a session. `bytes_max` bounds what it may receive.
pub fn step(state: &State, event: Event, bytes_max: u64) -> (State, Vec<Action>) {
    let stay = |answer| (state.clone(), vec![Action::Answer(answer)]);
    match (state, event) {
        (State::Open(received), Event::Chunk { seq, fingerprint }) => chunk(*received, seq, fingerprint, bytes_max),
        (State::Applying(received), Event::Chunk { seq: Some(seq), .. }) if seq < received.next_seq => stay(Ok(())),
        (State::Applying(_), Event::Chunk { .. }) => {
            stay(Err(Fault::new(FaultCode::Busy, "the session is being applied and takes no more chunks")))
        }
        (State::Ended(ending), Event::Chunk { .. }) => stay(Err(ended(ending))),

        (State::Open(received), Event::Finish) => (State::Applying(*received), vec![Action::Apply]),
        (State::Applying(_), Event::Finish) => (state.clone(), vec![Action::Wait]),
        (State::Ended(Ending::Applied), Event::Finish) => stay(Ok(())),
        (State::Ended(Ending::Refused(fault)), Event::Finish) => stay(Err(fault.clone())),
        (State::Ended(ending), Event::Finish) => stay(Err(ended(ending))),

        (State::Applying(_), Event::ApplySucceeded) => {
            (State::Ended(Ending::Applied), vec![Action::DropChunks, Action::Answer(Ok(()))])
        }
        (State::Applying(received), Event::ApplyFailed { fault, passing: true }) => {
            (State::Open(*received), vec![Action::Answer(Err(fault))])
        }
        (State::Applying(_), Event::ApplyFailed { fault, passing: false }) => refuse(fault),

        (State::Open(_), Event::Abort) => end(Ending::Aborted, Ok(())),
        (State::Applying(_), Event::Abort) => stay(Err(Fault::new(
            FaultCode::Busy,
            "the session is being applied and can no longer be dropped; call sql_finish to learn its result",
        ))),
        (State::Ended(Ending::Applied), Event::Abort) => stay(Err(ended(&Ending::Applied))),
        // nothing is left to drop: calling it twice equals calling it once
        (State::Ended(_), Event::Abort) => stay(Ok(())),

        (State::Open(_), Event::IdleTooLong) => end(Ending::Expired, Err(ended(&Ending::Expired))),
        // late reports and idle clocks change nothing
        (_, Event::IdleTooLong | Event::ApplySucceeded | Event::ApplyFailed { .. }) => (state.clone(), Vec::new()),
    }
}

fn chunk(received: Received, seq: Option<u64>, fingerprint: Fingerprint, bytes_max: u64) -> (State, Vec<Action>) {
    let stay = |answer| (State::Open(received), vec![Action::Answer(answer)]);
    match seq {
        Some(seq) if seq < received.next_seq => return stay(Ok(())),
        Some(seq) if seq > received.next_seq => {
            let message =
                format!("chunk {seq} does not follow: the next chunk is {}; send that one", received.next_seq);
            return stay(Err(Fault::new(FaultCode::ChunkGap, message)));
        }
        Some(_) => {}
        None if received.last == Some(fingerprint) => {
            let message = format!(
                "chunk {} equals the one before it, and without a number nobody can tell a repeat from a copy; \
                 nothing of the session was applied: open a new one",
                received.next_seq
            );
            return refuse(Fault::new(FaultCode::UncertainRepeat, message));
        }
        None => {}
    }
    let bytes = received.bytes.saturating_add(fingerprint.bytes);
    if bytes > bytes_max {
        let message = format!("the session would exceed {bytes_max} bytes; send less in one session");
        return refuse(Fault::new(FaultCode::ChunkTooLarge, message));
    }
    let next = Received { next_seq: received.next_seq + 1, bytes, last: Some(fingerprint) };
    (State::Open(next), vec![Action::Append, Action::Answer(Ok(()))])
}

fn refuse(fault: Fault) -> (State, Vec<Action>) {
    end(Ending::Refused(fault.clone()), Err(fault))
}

fn end(ending: Ending, answer: Result<(), Fault>) -> (State, Vec<Action>) {
    let actions = vec![Action::Record(ending.clone()), Action::DropChunks, Action::Answer(answer)];
    (State::Ended(ending), actions)
}

/// The fault for a call that needs a session which is over.
pub fn ended(ending: &Ending) -> Fault {
    match ending {
        Ending::Applied => Fault::new(FaultCode::SessionEnded, "the session has been applied; open a new one for more"),
        Ending::Refused(fault) => {
            Fault::new(FaultCode::SessionEnded, format!("the session was refused ({}); open a new one", fault.message))
        }
        Ending::Aborted => Fault::new(FaultCode::SessionEnded, "the session was dropped by sql_abort; open a new one"),
        Ending::Expired => {
            Fault::new(FaultCode::SessionExpired, "the session was idle too long and has been dropped; open a new one")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: u64 = 1000;

    fn fingerprint(n: u32) -> Fingerprint {
        Fingerprint { bytes: 10, crc: n }
    }

    fn numbered(seq: u64) -> Event {
        Event::Chunk { seq: Some(seq), fingerprint: fingerprint(7) }
    }

    fn bare(crc: u32) -> Event {
        Event::Chunk { seq: None, fingerprint: fingerprint(crc) }
    }

    fn open() -> State {
        State::Open(Received::default())
    }

    fn code(actions: &[Action]) -> Option<i32> {
        actions.iter().find_map(|action| match action {
            Action::Answer(Err(fault)) => Some(fault.code),
            _ => None,
        })
    }

    /// I13: calling it twice equals calling it once.
    #[test]
    fn a_numbered_repeat_is_ignored_and_a_gap_is_a_fault() {
        let (state, actions) = step(&open(), numbered(0), MAX);
        assert_eq!(actions, vec![Action::Append, Action::Answer(Ok(()))]);
        let (same, actions) = step(&state, numbered(0), MAX);
        assert_eq!((same, actions), (state.clone(), vec![Action::Answer(Ok(()))]));
        let (same, actions) = step(&state, numbered(2), MAX);
        assert_eq!(same, state);
        assert_eq!(code(&actions), Some(FaultCode::ChunkGap.code()));
    }

    #[test]
    fn an_equal_chunk_without_a_number_ends_the_session_for_good() {
        let (state, _) = step(&open(), bare(1), MAX);
        let (state, actions) = step(&state, bare(1), MAX);
        assert_eq!(code(&actions), Some(FaultCode::UncertainRepeat.code()));
        // the finish must not apply what may lack a chunk, and says the same again
        let (state, actions) = step(&state, Event::Finish, MAX);
        assert_eq!(code(&actions), Some(FaultCode::UncertainRepeat.code()));
        let (_, actions) = step(&state, bare(2), MAX);
        assert_eq!(code(&actions), Some(FaultCode::SessionEnded.code()));
    }

    #[test]
    fn equal_chunks_with_numbers_are_two_chunks() {
        let (state, _) = step(&open(), numbered(0), MAX);
        let (state, actions) = step(&state, numbered(1), MAX);
        assert_eq!(actions.first(), Some(&Action::Append));
        assert!(matches!(state, State::Open(Received { next_seq: 2, bytes: 20, .. })));
    }

    /// I15: one apply at a time.
    #[test]
    fn a_second_finish_waits_and_a_later_one_gives_the_same_result() {
        let (state, actions) = step(&open(), Event::Finish, MAX);
        assert_eq!(actions, vec![Action::Apply]);
        let (state, actions) = step(&state, Event::Finish, MAX);
        assert_eq!(actions, vec![Action::Wait]);
        let (state, _) = step(&state, Event::ApplySucceeded, MAX);
        let (_, actions) = step(&state, Event::Finish, MAX);
        assert_eq!(actions, vec![Action::Answer(Ok(()))]);
    }

    #[test]
    fn a_passing_failure_leaves_the_session_open_with_its_chunks() {
        let (state, _) = step(&open(), numbered(0), MAX);
        let (applying, _) = step(&state, Event::Finish, MAX);
        let fault = Fault::new(FaultCode::DatabaseUnavailable, "no database");
        let (after, actions) = step(&applying, Event::ApplyFailed { fault, passing: true }, MAX);
        assert_eq!(after, state);
        assert!(!actions.contains(&Action::DropChunks));
    }

    #[test]
    fn a_session_too_large_is_refused() {
        let event = Event::Chunk { seq: Some(0), fingerprint: Fingerprint { bytes: MAX + 1, crc: 0 } };
        let (state, actions) = step(&open(), event, MAX);
        assert!(matches!(state, State::Ended(Ending::Refused(_))));
        assert_eq!(code(&actions), Some(FaultCode::ChunkTooLarge.code()));
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0_u64..6).prop_map(numbered),
            4 => (0_u32..3).prop_map(bare),
            2 => Just(Event::Finish),
            1 => Just(Event::ApplySucceeded),
            1 => any::<bool>()
                .prop_map(|passing| Event::ApplyFailed { fault: Fault::new(FaultCode::Busy, "x"), passing }),
            1 => Just(Event::Abort),
            1 => Just(Event::IdleTooLong),
        ]
    }

    proptest! {
        /// I13, I20: a session starts at most one apply at a time, ends once, and never leaves its ending; chunk
        /// numbers grow by one per append; chunks go only when the session has ended.
        #[test]
        fn any_history_keeps_the_promises(events in proptest::collection::vec(any_event(), 0..60)) {
            let mut state = open();
            let mut appended = 0;
            let mut ending: Option<Ending> = None;
            for event in events {
                let before = state.clone();
                let (after, actions) = step(&state, event, MAX);
                if actions.contains(&Action::Append) {
                    appended += 1;
                }
                if actions.contains(&Action::Apply) {
                    prop_assert!(matches!(before, State::Open(_)));
                    prop_assert!(matches!(after, State::Applying(_)));
                }
                if actions.contains(&Action::DropChunks) {
                    prop_assert!(matches!(after, State::Ended(_)));
                }
                match (&ending, &after) {
                    (Some(old), State::Ended(new)) => prop_assert_eq!(old, new),
                    (Some(_), _) => prop_assert!(false, "left its ending"),
                    (None, State::Ended(new)) => ending = Some(new.clone()),
                    (None, State::Open(r) | State::Applying(r)) => prop_assert_eq!(r.next_seq, appended),
                }
                state = after;
            }
        }
    }
}
