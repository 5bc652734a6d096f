//! `office-client init`

use protocol::policy::Policy;

use super::{Opened, Outcome};
use crate::error::CommandError;
use crate::output::Printer;
use crate::settings::Settings;

/// Installs the product's schema; repeatable.
pub(crate) async fn run(settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let opened = Opened::init(settings).await?;
    let result = async {
        let incarnation = opened.office.incarnation().await?;
        let policies = opened.office.policies().await?;
        printer.object(&serde_json::json!({ "incarnation": incarnation, "policies": policies }));
        printer.line(&format!("the office's database is ready (incarnation {incarnation})"));
        if policies.is_empty() {
            printer.line(&format!(
                "next: `office-client branch add NAME --url URL` (policy `{}`; presets: {})",
                settings.policy,
                Policy::presets().join(", ")
            ));
        }
        Ok(Outcome::Done)
    };
    let result = result.await;
    opened.close(result).await
}
