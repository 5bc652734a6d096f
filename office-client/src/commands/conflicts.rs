//! `office-client conflicts [list|show ID|resolve ID --take office|shop|VALUE]`

use replica::office::{Side, Take};

use super::{Opened, Outcome};
use crate::cli::{ConflictsArgs, ConflictsCommand, ConflictsList, ConflictsResolve};
use crate::config::nearest;
use crate::error::CommandError;
use crate::output::{self, Printer, Table};
use crate::page::Page;
use crate::settings::Settings;

/// Runs `conflicts ...`.
pub(crate) async fn run(args: ConflictsArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let ConflictsArgs { command, list } = args;
    let command = command.unwrap_or(ConflictsCommand::List(list));
    // what is wrong on the command line needs no database
    let take = match &command {
        ConflictsCommand::List(list) if list.limit < 1 => {
            return Err(CommandError::usage("`--limit` is at least 1"));
        }
        ConflictsCommand::Resolve(args) => Some(choice(args)?),
        _ => None,
    };
    let opened = Opened::open(settings).await?;
    let result = match (&command, take) {
        (ConflictsCommand::List(args), _) => conflicts(args, printer, &opened).await,
        (ConflictsCommand::Resolve(args), Some(take)) => resolve(args.id, take, printer, &opened).await,
        (ConflictsCommand::Show { id } | ConflictsCommand::Resolve(ConflictsResolve { id, .. }), _) => {
            show(*id, printer, &opened).await
        }
    };
    opened.close(result).await
}

/// What was chosen. A word that is nearly a side is more likely a slip than a value.
fn choice(args: &ConflictsResolve) -> Result<Take, CommandError> {
    let word = match (&args.take, &args.value) {
        (_, Some(value)) => return Ok(Take::Value(value.clone())),
        (take, None) => take.clone().unwrap_or_default(),
    };
    match word.as_str() {
        "office" => Ok(Take::Side(Side::Office)),
        "shop" => Ok(Take::Side(Side::Shop)),
        _ => match nearest(&word.to_lowercase(), ["office", "shop"].into_iter()) {
            Some(side) => Err(CommandError::usage(format!("`--take {word}` looks like `--take {side}`"))
                .with_hint(format!("for the text itself write `--value '{word}'`"))),
            None => Ok(Take::Value(word)),
        },
    }
}

async fn conflicts(args: &ConflictsList, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    if let Some(name) = &args.branch {
        opened.office.branch(name).await?;
    }
    let ask = async |limit| opened.office.conflicts(!args.all, args.branch.as_deref(), None, limit).await;
    let Page { shown, more } = Page::of(args.limit, ask).await?;
    let mut table = Table::new(&["id", "branch", "table", "key", "kind", "columns", "stands", "found (UTC)"]);
    for conflict in &shown {
        printer.object(&output::conflict_object(conflict));
        table.line(output::conflict_cells(conflict));
    }
    if shown.is_empty() {
        printer.talk(if args.all { "there has been no conflict" } else { "no conflict is open" });
    } else {
        printer.table(&table);
    }
    if more {
        printer.talk("there are more: `--limit N` shows them");
    }
    Ok(Outcome::Done)
}

async fn show(id: i64, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let standing = opened.office.conflict(id).await?;
    printer.object(&output::standing_object(&standing));
    output::conflict_lines(&standing).iter().for_each(|line| printer.line(line));
    let mut table = Table::new(&["  column", "before", "office", "shop", "now"]);
    output::value_lines(&standing).into_iter().for_each(|cells| table.line(cells));
    printer.table(&table);
    let what = if standing.conflict.columns.len() == 1 { "office|shop|VALUE" } else { "office|shop" };
    printer.talk(&format!("to decide: `office-client conflicts resolve {id} --take {what}`"));
    Ok(Outcome::Done)
}

async fn resolve(id: i64, take: Take, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let resolved = opened.office.resolve_conflict(id, take).await?;
    printer.object(&output::resolved_object(&resolved));
    printer.line(&output::resolved_line(&resolved));
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(take: Option<&str>, value: Option<&str>) -> Result<Take, CommandError> {
        let (take, value) = (take.map(str::to_owned), value.map(str::to_owned));
        choice(&ConflictsResolve { id: 1, take, value })
    }

    #[test]
    fn a_misspelt_side_does_not_become_a_value() {
        assert_eq!(of(Some("shop"), None).unwrap(), Take::Side(Side::Shop));
        assert_eq!(of(Some("+351 21"), None).unwrap(), Take::Value("+351 21".into()));
        assert_eq!(of(None, Some("office")).unwrap(), Take::Value("office".into()));
        for slip in ["ofice", "Shop", "shp"] {
            assert!(of(Some(slip), None).is_err(), "{slip}");
        }
    }
}
