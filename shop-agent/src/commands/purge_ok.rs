//! `shop-agent purge-ok TABLE KEY`: whether a row has been acknowledged and may be purged.

use std::process::ExitCode;

use installation::said;
use replica::shop::Purgeable;

use super::{CommandError, open};
use crate::cli::PurgeOkArgs;
use crate::settings::Settings;

pub(super) async fn purge_ok(args: PurgeOkArgs) -> Result<ExitCode, CommandError> {
    let settings = Settings::resolve(args.node)?;
    let database = open::database(&settings).await?;
    let answer = match open::shop(&settings, database.clone()).await {
        Ok(shop) => shop.may_purge(&args.table, &args.key).await,
        Err(error) => Err(error),
    };
    database.close().await?;
    let (text, code) = match answer? {
        Purgeable::Yes => ("yes: the office has the row as it is; deleting it here leaves it there".to_owned(), 0),
        Purgeable::Gone => ("yes: there is no such row, and no office waits for word of it".to_owned(), 0),
        Purgeable::No(why) => (format!("no: {why}"), 1),
    };
    said::line(text);
    Ok(ExitCode::from(code))
}
