//! Exit codes (INTERFACE.md): 0 done, 1 failed, 2 usage, 3 some branches failed, 4 refused to protect data,
//! 5 retry later (unreachable, line lost, outside the window, byte budget used up), 130 interrupted.

use std::process::ExitCode;

use protocol::fault::Outlook;
use replica::ReplicaError;

use crate::commands::Outcome;
use crate::driver::DriveError;
use crate::error::CommandError;
use crate::link::LinkError;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;
/// Some of several branches failed.
pub(crate) const SOME_FAILED: u8 = 3;
/// Refused to protect data.
pub(crate) const PROTECTED: u8 = 4;
/// Unreachable, the link was lost, or the branch may not be called now: retry later.
pub(crate) const UNREACHABLE: u8 = 5;
/// Interrupted, cleanly.
pub(crate) const INTERRUPTED: u8 = 130;

/// The exit code of a finished command.
pub(crate) fn code(result: &Result<Outcome, CommandError>) -> ExitCode {
    ExitCode::from(number(result))
}

fn number(result: &Result<Outcome, CommandError>) -> u8 {
    match result {
        Ok(Outcome::Done) => DONE,
        Ok(Outcome::Differences) => FAILED,
        Ok(Outcome::Reported(code)) => *code,
        Ok(Outcome::SomeFailed) => SOME_FAILED,
        Err(CommandError::Usage { .. }) => USAGE,
        Err(CommandError::Failed { .. }) => FAILED,
        Err(CommandError::Replica(error)) => of_replica(error),
        Err(CommandError::Link(error)) => of_link(error),
        Err(CommandError::Drive { error, .. }) => of_drive(error),
        Err(CommandError::Interrupted) => INTERRUPTED,
    }
}

/// The exit code for a run of one branch.
pub(crate) fn of_drive(error: &DriveError) -> u8 {
    match error {
        DriveError::Interrupted => INTERRUPTED,
        DriveError::Link(error) => of_link(error),
        DriveError::Replica(error) => of_replica(error),
        DriveError::Unusable(_) => USAGE,
        DriveError::WrongShop { .. }
        | DriveError::ProtocolDiffers { .. }
        | DriveError::PolicyDiffers { .. }
        | DriveError::SchemasDiffer(_)
        | DriveError::OtherIncarnation
        | DriveError::Histories(_)
        | DriveError::NeverCloned
        | DriveError::TakenIn
        | DriveError::Disagree(_)
        | DriveError::IdsOfOthers { .. }
        | DriveError::CloneUnfinished
        | DriveError::Retired
        | DriveError::Outlived
        | DriveError::Paused => PROTECTED,
        DriveError::Busy(_) | DriveError::OutsideWindow { .. } | DriveError::BudgetUsed { .. } => UNREACHABLE,
        DriveError::CannotRepair
        | DriveError::CannotAdopt
        | DriveError::Damaged
        | DriveError::Confused(_)
        | DriveError::File { .. }
        | DriveError::Differs(_) => FAILED,
    }
}

fn of_link(error: &LinkError) -> u8 {
    match error {
        LinkError::Refused(fault) => match fault.outlook() {
            Outlook::Protected => PROTECTED,
            Outlook::Passing => UNREACHABLE,
            Outlook::Final => FAILED,
        },
        LinkError::Http { .. } | LinkError::Unwritable(_) => FAILED,
        LinkError::Untrusted { .. } => PROTECTED,
        LinkError::Failed { .. } | LinkError::Unknown { .. } | LinkError::Hook { .. } => UNREACHABLE,
        LinkError::Address(_) | LinkError::Password { .. } | LinkError::Certificate(_) => USAGE,
        LinkError::Stopped => INTERRUPTED,
    }
}

fn of_replica(error: &ReplicaError) -> u8 {
    match error {
        ReplicaError::CleanRefused(_)
        | ReplicaError::Schema(_)
        | ReplicaError::Restored(_)
        | ReplicaError::SinceTooOld(_)
        | ReplicaError::UnknownWatermark(_)
        | ReplicaError::IdRange(_)
        | ReplicaError::FileRefused(_)
        | ReplicaError::Protected(_) => PROTECTED,
        ReplicaError::Invalid(_) => USAGE,
        ReplicaError::Stopped => INTERRUPTED,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use protocol::fault::{Fault, FaultCode};

    use super::*;

    #[test]
    fn every_kind_of_end_has_its_code() {
        let refused = |code| Err(CommandError::Link(LinkError::Refused(Fault::new(code, "no"))));
        assert_eq!(number(&Ok(Outcome::Done)), 0);
        assert_eq!(number(&Ok(Outcome::Differences)), 1);
        assert_eq!(number(&Ok(Outcome::SomeFailed)), 3);
        assert_eq!(number(&Err(CommandError::usage("x"))), 2);
        assert_eq!(number(&refused(FaultCode::StatementFailed)), 1);
        assert_eq!(number(&refused(FaultCode::CleanRefused)), 4);
        assert_eq!(number(&Err(CommandError::Link(LinkError::failed("connect", "refused")))), 5);
        assert_eq!(number(&Err(CommandError::Interrupted)), 130);
        let drive = |error| Err(CommandError::Drive { branch: "a".into(), error });
        assert_eq!(number(&drive(DriveError::Interrupted)), 130);
        assert_eq!(number(&drive(DriveError::NeverCloned)), 4);
    }
}
