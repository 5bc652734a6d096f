//! `office-client update --watch`: again and again, until the user stops it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;

use super::update::{chosen, tell, typed_passwords};
use super::{Opened, Outcome, lines};
use crate::cli::UpdateArgs;
use crate::driver::{Report, RunResult};
use crate::error::{self, CommandError};
use crate::exit;
use crate::output::{Board, Printer};
use crate::settings::Settings;
use crate::stop::Stop;

/// Updates the branches now and after each `every`. A line that is still busy by then is left alone until the next time,
/// so a shop that is slow or down delays only those that share its line. What cannot be read in the office's database is
/// told, and tried again.
///
/// # Errors
/// If the branches cannot be found at the beginning: a name that is spelled wrong would be wrong every time.
pub(super) async fn run(
    args: &UpdateArgs,
    every: Duration,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let passwords = typed_passwords(&chosen(args, opened).await?, args)?;
    stop.expect_graceful();
    let updates = lines::Updates::new(opened, settings, printer, stop, args.force, passwords);
    let board = &updates.board;
    let slots = Semaphore::new(opened.office.updates_at_a_time(settings.jobs).await?);
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let (mut told, mut busy, mut running) = (Told::default(), BTreeSet::new(), FuturesUnordered::new());
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // a stream of its own, for the runs go on while the database is asked
    let mut looks = pin!(futures_util::stream::unfold(clock, |mut clock| async move {
        clock.tick().await;
        Some((chosen(args, opened).await, clock))
    }));
    loop {
        tokio::select! {
            biased;
            Some(report) = receiver.recv() => told.tell(&report, printer, board),
            Some(names) = running.next() => for name in names { busy.remove(&name); },
            () = stop.wait() => break,
            Some(looked) = looks.next() => {
                let branches = match looked {
                    Ok(branches) => branches,
                    Err(error) => {
                        told.trouble(&error, printer, board);
                        continue;
                    }
                };
                told.trouble_is_over();
                for line in lines::lines(branches) {
                    let names: Vec<String> = line.iter().map(|branch| branch.name.clone()).collect();
                    if names.iter().any(|name| busy.contains(name)) {
                        continue;
                    }
                    busy.extend(names.iter().cloned());
                    let (sender, slots, updates) = (sender.clone(), &slots, &updates);
                    running.push(async move {
                        // the semaphore is never closed
                        let _slot = slots.acquire().await;
                        lines::ended(updates.start(line, sender).await);
                        names
                    });
                }
            }
        }
    }
    while running.next().await.is_some() {}
    while let Ok(report) = receiver.try_recv() {
        told.tell(&report, printer, board);
    }
    Ok(Outcome::Reported(exit::INTERRUPTED))
}

/// What people have been told already: a shop that stays down for a night, or has nothing new, is not told of every
/// minute. Programs that read JSON get everything.
#[derive(Default)]
struct Told {
    last: BTreeMap<String, (RunResult, Option<String>)>,
    trouble: Option<String>,
}

impl Told {
    fn tell(&mut self, report: &Report, printer: &Printer, board: &Board) {
        if self.is_news(report) || printer.is_json() {
            tell(report, printer, board);
        }
    }

    fn is_news(&mut self, report: &Report) -> bool {
        let now = (report.result, report.error.as_ref().map(|error| error::chain(error)));
        let moved = report.pulled_rows + report.pushed_rows + report.quarantined + report.quarantined_at_shop > 0;
        let before = self.last.insert(report.branch.clone(), now.clone());
        moved || before != Some(now)
    }

    fn trouble(&mut self, error: &CommandError, printer: &Printer, board: &Board) {
        let text = error::chain(error);
        if self.trouble.as_ref() != Some(&text) {
            board.suspended(|| printer.error_text(&text, Some("it is tried again until it works; Ctrl-C ends it")));
            self.trouble = Some(text);
        }
    }

    fn trouble_is_over(&mut self) {
        self.trouble = None;
    }
}

#[cfg(test)]
mod tests {
    use protocol::session::office::Task;

    use super::*;
    use crate::driver::DriveError;

    #[test]
    fn what_has_not_changed_is_told_once() {
        let mut told = Told::default();
        let done = || Report { result: RunResult::Done, ..Report::new("north", Task::Update) };
        let down = || Report::not_begun("north", Task::Update, DriveError::Paused);
        assert!(told.is_news(&done()));
        assert!(!told.is_news(&done()));
        assert!(told.is_news(&Report { pulled_rows: 1, ..done() }));
        assert!(!told.is_news(&done()), "rows that moved are told, not that none did afterwards");
        assert!(told.is_news(&down()));
        assert!(!told.is_news(&down()));
        assert!(told.is_news(&done()), "that it is well again");
        assert!(told.is_news(&Report { branch: "south".to_owned(), ..done() }));
    }
}
