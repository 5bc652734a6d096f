//! Both ends compared, table by table.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};

use super::{Frame, number, plan, rows, segment, value};
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::guard::may;
use crate::console::users::Role;
use crate::driver::{self, Comparison, DriveError, Job, RowDifference};
use crate::error;
use crate::output::Board;

/// Rows that differ that are listed: enough to see what they have in common.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "verify.html")]
struct Page {
    frame: Frame,
    branch: String,
    link: String,
    shown: Shown,
}

#[derive(Template)]
#[template(path = "verify_part.html")]
struct Fragment {
    shown: Shown,
}

struct Shown {
    tone: &'static str,
    words: String,
    why: Option<String>,
    tables: Vec<Table>,
    rows: Vec<DifferingRow>,
    /// Rows that differ and are not listed.
    further: i64,
}

/// A row on which the two ends do not agree.
struct DifferingRow {
    table: String,
    key: String,
    words: String,
}

struct Table {
    name: String,
    office: String,
    shop: String,
    equal: bool,
    words: String,
}

/// `GET /branches/NAME/verify`: calls the shop, changes nothing.
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    may(&visitor, Role::Sync)?;
    let compared = compare(&console, &name).await.map(|comparison| shown(&comparison));
    if plan::is_fragment(&headers) {
        return Ok(match compared {
            Ok(shown) => answer::render(&Fragment { shown }),
            Err(error) => error.as_fragment(),
        });
    }
    let frame = Frame::of(&console, &visitor, format!("Verify {name}"), "branches").await?;
    Ok(answer::render(&Page { frame, link: segment(&name), branch: name, shown: compared? }))
}

async fn compare(console: &Console, name: &str) -> Result<Comparison, PageError> {
    let branch = answer::known(console.office.branch(name).await)?;
    let job = Job {
        office: &console.office,
        settings: &console.settings,
        progress: Board::new(false).branch(name),
        branch,
        stop: console.stop.part(),
        force: false,
        typed_password: None,
        by: console.settings.user.clone(),
    };
    let compared = match job.branch.timestamp {
        Some(_) => driver::verify(&job).await,
        None => Err(DriveError::NeverCloned),
    };
    compared.map_err(|error| {
        let shown = PageError::new(StatusCode::UNPROCESSABLE_ENTITY, error::chain(&error));
        match error.hint(name) {
            Some(hint) => shown.with_hint(hint),
            None => shown,
        }
    })
}

fn shown(comparison: &Comparison) -> Shown {
    let differing = comparison.differing().count();
    let (tone, words) = match differing {
        _ if !comparison.offered => ("look", "Nothing was compared".to_owned()),
        0 => ("good", "Both sides agree about every table".to_owned()),
        1 => ("bad", "One table differs".to_owned()),
        count => ("bad", format!("{count} tables differ")),
    };
    let why = if !comparison.offered {
        Some("The shop offers no digests.".to_owned())
    } else if differing > 0 && comparison.waiting_rows > 0 {
        Some(format!(
            "{} of changes wait on either side, which may explain it: update, then verify again.",
            rows(comparison.waiting_rows)
        ))
    } else if differing > 0 && comparison.quarantined > 0 {
        Some(format!("{} wait in quarantine, which may explain it.", rows(comparison.quarantined)))
    } else {
        None
    };
    let mut tables: Vec<Table> = comparison
        .tables
        .iter()
        .map(|table| Table {
            name: table.table.clone(),
            office: number(table.office_rows),
            shop: table.shop_rows.map_or_else(|| "–".to_owned(), number),
            equal: table.equal,
            words: match (table.equal, table.shop_rows) {
                (true, _) => "agrees".to_owned(),
                (false, None) => "the shop has no such table".to_owned(),
                (false, Some(_)) if table.differing_rows.is_some_and(|rows| rows > 0) => {
                    let count = table.differing_rows.unwrap_or_default();
                    format!("{} differ{}", rows(count), if count == 1 { "s" } else { "" })
                }
                (false, Some(shop)) if shop == table.office_rows => "other values".to_owned(),
                (false, Some(shop)) => format!(
                    "{} more at the {}",
                    number((shop - table.office_rows).abs()),
                    if shop > table.office_rows { "shop" } else { "office" }
                ),
            },
        })
        .collect();
    tables.sort_by_key(|table| table.equal);
    let all: i64 = comparison.tables.iter().filter_map(|table| table.differing_rows).sum();
    let rows: Vec<DifferingRow> = comparison.rows.iter().take(ROWS).map(differing_row).collect();
    Shown { tone, words, why, tables, further: all.saturating_sub(rows.len() as i64).max(0), rows }
}

fn differing_row(row: &RowDifference) -> DifferingRow {
    let key: BTreeMap<String, Option<String>> = serde_json::from_str(&row.key).unwrap_or_default();
    let key: Vec<String> =
        key.iter().map(|(column, text)| format!("{column} {}", text.as_deref().unwrap_or("empty"))).collect();
    let words = match row.side {
        "office" => "only the office has it".to_owned(),
        "shop" => "only the shop has it".to_owned(),
        _ => format!("differs in {}", row.columns.join(", ")),
    };
    DifferingRow { table: row.table.clone(), key: value(&key.join(", ")), words }
}
