//! Runs played event by event.

use super::*;

const FULL: Abilities = Abilities {
    keyed_sessions: true,
    frozen_diffs: true,
    digests: true,
    repairs: true,
    dry_runs: true,
    freshness: true,
};
const BASE: Abilities = Abilities {
    keyed_sessions: false,
    frozen_diffs: false,
    digests: false,
    repairs: false,
    dry_runs: false,
    freshness: false,
};

/// Plays events against a run and returns the action that each one led to.
fn play(task: Task, events: &[Event]) -> Vec<Action> {
    let mut run = Run::new(task);
    events
        .iter()
        .map(|event| {
            let (next, action) = run.step(*event);
            run = next;
            action
        })
        .collect()
}

fn frozen(resumed: bool) -> Event {
    Event::Frozen { resumed, bytes: Some(100) }
}

fn status(state: RemoteState, next_seq: u64, bytes: u64) -> Event {
    Event::Status { state, next_seq, bytes }
}

#[test]
fn an_empty_update_takes_two_round_trips() {
    let actions = play(
        Task::Update,
        &[Event::Begin, Event::Greeted(FULL), Event::DiffOpened { rows: 0 }, Event::Done, Event::NothingToSend],
    );
    use Action as A;
    assert_eq!(actions, [A::Greet, A::OpenDiff, A::Advance, A::FreezePush, A::End(Ending::Done)]);
}

#[test]
fn a_copy_that_is_still_being_written_is_sent_to_its_end_from_wherever_the_line_dropped() {
    let actions = play(
        Task::Clone,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            Event::Frozen { resumed: false, bytes: None },
            Event::Done,
            Event::Done,
            Event::Done,
            Event::Done,
            Event::Prepared,
            Event::Lost,
            status(RemoteState::Open, 0, 0),
            Event::Lost,
            status(RemoteState::Open, 3, 70),
            Event::Done,
        ],
    );
    use Action as A;
    let after_prepare = actions.iter().position(|action| *action == A::Prepare).unwrap_or(0);
    assert_eq!(
        actions[after_prepare..],
        [
            A::Prepare,
            A::Send { seq: 0, offset: 0 },
            A::AskStatus,
            A::Send { seq: 0, offset: 0 },
            A::AskStatus,
            A::Send { seq: 3, offset: 70 },
            A::Finish
        ]
    );
}

#[test]
fn an_update_pulls_before_it_pushes() {
    let actions = play(
        Task::Update,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            Event::DiffOpened { rows: 3 },
            Event::Done,
            Event::Done,
            frozen(false),
            Event::Prepared,
            Event::Done,
            Event::Done,
            Event::Done,
        ],
    );
    use Action as A;
    assert_eq!(
        actions,
        [
            A::Greet,
            A::OpenDiff,
            A::ReceiveDiff,
            A::ApplyDiff,
            A::FreezePush,
            A::Prepare,
            A::Send { seq: 0, offset: 0 },
            A::Finish,
            A::RecordPush,
            A::End(Ending::Done)
        ]
    );
}

#[test]
fn a_lost_finish_is_asked_for_and_never_assumed() {
    let to_finish = [
        Event::Begin,
        Event::Greeted(FULL),
        Event::DiffOpened { rows: 0 },
        Event::Done,
        frozen(false),
        Event::Prepared,
        Event::Done,
    ];
    let after = |last: Event| {
        let mut events = to_finish.to_vec();
        events.extend([Event::Lost, last]);
        let actions = play(Task::Update, &events);
        assert_eq!(actions[7], Action::AskStatus);
        actions[8]
    };
    assert_eq!(after(status(RemoteState::Applied, 1, 100)), Action::RecordPush);
    assert_eq!(after(status(RemoteState::Applying, 1, 100)), Action::Wait);
    assert_eq!(after(status(RemoteState::Open, 1, 100)), Action::Finish);
    assert_eq!(after(status(RemoteState::Refused, 1, 100)), Action::Discard);
}

#[test]
fn a_lost_chunk_is_resumed_where_the_shop_says() {
    let actions = play(
        Task::Update,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            Event::DiffOpened { rows: 0 },
            Event::Done,
            frozen(false),
            Event::Prepared,
            Event::Lost,
            status(RemoteState::Open, 4, 60),
        ],
    );
    assert_eq!(actions.last(), Some(&Action::Send { seq: 4, offset: 60 }));
}

#[test]
fn a_push_left_by_an_earlier_run_is_asked_for_before_anything_is_sent() {
    let actions = play(
        Task::Update,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            Event::DiffOpened { rows: 0 },
            Event::Done,
            frozen(true),
            Event::Prepared,
            status(RemoteState::Applied, 9, 100),
            Event::Done,
            Event::NothingToSend,
        ],
    );
    use Action as A;
    let expected = [A::Prepare, A::AskStatus, A::RecordPush, A::FreezePush, A::End(Ending::Done)];
    assert_eq!(actions[4..], expected, "what came later is sent in the same run");
}

#[test]
fn a_refused_push_is_dropped_and_the_run_fails() {
    let actions = play(
        Task::Update,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            Event::DiffOpened { rows: 0 },
            Event::Done,
            frozen(false),
            Event::Prepared,
            Event::Done,
            Event::Refused(FaultCode::StatementFailed),
            Event::Done,
        ],
    );
    assert_eq!(actions[7..], [Action::Discard, Action::End(Ending::Refused)][..]);
}

#[test]
fn a_busy_shop_is_asked_again_with_the_session_kept() {
    let actions = play(
        Task::Update,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            Event::DiffOpened { rows: 0 },
            Event::Done,
            frozen(false),
            Event::Prepared,
            Event::Done,
            Event::Refused(FaultCode::Busy),
            Event::Done,
        ],
    );
    assert_eq!(actions[7..], [Action::Wait, Action::Finish][..]);
}

#[test]
fn a_clone_freezes_before_it_cleans_and_sets_the_ids_twice() {
    let actions = play(
        Task::Clone,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            frozen(false),
            Event::Done,
            Event::Done,
            Event::Done,
            Event::Done,
            Event::Prepared,
            Event::Done,
            Event::Done,
            Event::Done,
            Event::DiffOpened { rows: 0 },
            status(RemoteState::Applied, 1, 100),
            Event::Done,
            Event::Done,
        ],
    );
    use Action as A;
    assert_eq!(
        actions,
        [
            A::Greet,
            A::FreezeClone,
            A::MarkStarted,
            A::GiveRange { fresh: true },
            A::Clean,
            A::SetIdStart,
            A::Prepare,
            A::Send { seq: 0, offset: 0 },
            A::Finish,
            A::SetIdStart,
            A::OpenDiff,
            A::AskStatus,
            A::RecordClone,
            A::Compare,
            A::End(Ending::Done)
        ]
    );
}

/// What leads a clone to its first watermark.
const CLONED: [Event; 12] = [
    Event::Begin,
    Event::Greeted(FULL),
    Event::Frozen { resumed: false, bytes: Some(100) },
    Event::Done,
    Event::Done,
    Event::Done,
    Event::Done,
    Event::Prepared,
    Event::Done,
    Event::Done,
    Event::Done,
    Event::DiffOpened { rows: 0 },
];

/// I1, I3, I4: the shop's database was put back to a backup between the apply and the record of the clone.
#[test]
fn a_clone_that_the_shop_no_longer_knows_is_not_recorded() {
    for forgotten in [
        Event::Refused(FaultCode::UnknownSession),
        Event::Refused(FaultCode::SessionExpired),
        status(RemoteState::Gone, 0, 0),
        status(RemoteState::Open, 0, 0),
    ] {
        let actions = play(Task::Clone, &[&CLONED[..], &[forgotten, Event::Done]].concat());
        assert_eq!(actions[12..], [Action::Discard, Action::FreezeClone], "{forgotten:?}");
    }
    let busy = [Event::Refused(FaultCode::Busy), Event::Done, status(RemoteState::Applied, 1, 100)];
    let actions = play(Task::Clone, &[&CLONED[..], &busy].concat());
    assert_eq!(actions[12..], [Action::Wait, Action::AskStatus, Action::RecordClone]);
}

#[test]
fn an_interrupted_clone_never_cleans_a_shop_that_holds_part_of_it() {
    let resume = |state| play(Task::Clone, &[Event::Begin, Event::Greeted(FULL), frozen(true), Event::Prepared, state]);
    let actions = resume(status(RemoteState::Open, 2, 40));
    assert_eq!(actions[2..], [Action::Prepare, Action::AskStatus, Action::Send { seq: 2, offset: 40 }][..]);
    let actions = resume(status(RemoteState::Applied, 2, 100));
    assert_eq!(actions.last(), Some(&Action::GiveRange { fresh: false }));
    let actions = resume(status(RemoteState::Open, 0, 0));
    assert_eq!(actions.last(), Some(&Action::Abort), "without bytes nothing proves that clean was done");
}

#[test]
fn a_refused_clean_ends_the_clone_and_forgets_the_copy() {
    let actions = play(
        Task::Clone,
        &[
            Event::Begin,
            Event::Greeted(FULL),
            frozen(false),
            Event::Done,
            Event::Done,
            Event::Refused(FaultCode::CleanRefused),
            Event::Done,
        ],
    );
    assert_eq!(actions[4..], [Action::Clean, Action::Discard, Action::End(Ending::Refused)][..]);
}

#[test]
fn a_base_peer_is_asked_until_nil_and_gets_a_new_session_after_a_loss() {
    let actions = play(
        Task::Update,
        &[
            Event::Begin,
            Event::Greeted(BASE),
            Event::Answered { empty: false },
            Event::AppliedAnswer { advanced: true },
            Event::Answered { empty: true },
            // what an earlier run left rests on what nobody can tell this peer: it is frozen anew
            frozen(true),
            Event::Done,
            frozen(false),
            Event::Prepared,
            Event::Lost,
            Event::Prepared,
            Event::Done,
            Event::Lost,
            Event::Done,
            Event::Done,
        ],
    );
    use Action as A;
    assert_eq!(
        actions,
        [
            A::Greet,
            A::AskDiff,
            A::ApplyAnswer,
            A::AskDiff,
            A::FreezePush,
            A::Discard,
            A::FreezePush,
            A::Prepare,
            A::Send { seq: 0, offset: 0 },
            A::Prepare,
            A::Send { seq: 0, offset: 0 },
            A::Finish,
            A::Finish,
            A::RecordPush,
            A::End(Ending::Done)
        ]
    );
}

#[test]
fn a_base_peer_without_watermarks_does_not_loop() {
    let actions = play(
        Task::Update,
        &[
            Event::Begin,
            Event::Greeted(BASE),
            Event::Answered { empty: false },
            Event::AppliedAnswer { advanced: false },
        ],
    );
    assert_eq!(actions.last(), Some(&Action::FreezePush));
}

#[test]
fn an_interrupted_base_clone_starts_over_with_a_new_copy() {
    let actions = play(Task::Clone, &[Event::Begin, Event::Greeted(BASE), frozen(true), Event::Done, frozen(false)]);
    assert_eq!(actions[2..], [Action::Discard, Action::FreezeClone, Action::MarkStarted][..]);
}

#[test]
fn a_line_that_never_holds_ends_the_run() {
    let mut run = Run::new(Task::Update);
    for event in
        [Event::Begin, Event::Greeted(FULL), Event::DiffOpened { rows: 0 }, Event::Done, frozen(false), Event::Prepared]
    {
        run = run.step(event).0;
    }
    let mut losses = 0;
    loop {
        let (next, action) = run.step(Event::Lost);
        losses += 1;
        if action == Action::End(Ending::Lost) {
            break;
        }
        assert!(losses <= ATTEMPTS_MAX);
        run = next.step(status(RemoteState::Open, 0, 0)).0;
    }
    assert_eq!(losses, ATTEMPTS_MAX + 1);
}

#[test]
fn a_line_that_drops_but_makes_progress_is_never_given_up() {
    let mut run = Run::new(Task::Update);
    for event in [
        Event::Begin,
        Event::Greeted(FULL),
        Event::DiffOpened { rows: 0 },
        Event::Done,
        Event::Frozen { resumed: false, bytes: Some(1000) },
        Event::Prepared,
    ] {
        run = run.step(event).0;
    }
    for held in 1..=100 {
        let (asking, action) = run.step(Event::Lost);
        assert_eq!(action, Action::AskStatus);
        let (sending, action) = asking.step(status(RemoteState::Open, held, held));
        assert_eq!(action, Action::Send { seq: held, offset: held });
        run = sending;
    }
}

#[test]
fn nothing_makes_a_machine_act_after_its_end() {
    let (run, action) = Run::new(Task::Update).step(Event::Refused(FaultCode::SchemaMismatch));
    assert_eq!(action, Action::End(Ending::Refused));
    assert_eq!(run.step(Event::Begin).1, Action::End(Ending::Confused));
}
