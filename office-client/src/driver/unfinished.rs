//! The mark of a branch whose clone was begun and not finished: no update may run.

use std::time::SystemTime;

use replica::office::{Branch, Office};

use super::DriveError;

/// Name of the setting.
const CLONE_UNFINISHED: &str = "clone_unfinished";

/// Whether a clone of the branch was begun and not finished. The mark holds the clone that stood when it was made, so
/// that one left behind by a death just after the clone was recorded means nothing any more.
pub(crate) fn is_clone_unfinished(branch: &Branch) -> bool {
    branch.settings.get(CLONE_UNFINISHED).is_some_and(|mark| *mark == clone_mark(branch))
}

/// Which clone stands: the microsecond in which it was recorded.
fn clone_mark(branch: &Branch) -> String {
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros().to_string();
    branch.cloned_at.map_or_else(|| "never".to_owned(), since)
}

/// From here on the shop's tables may be empty. The branch is as it is stored then.
pub(super) async fn mark_clone(office: &Office, branch: &mut Branch) -> Result<(), DriveError> {
    let mark = |branch: &mut Branch| {
        let mark = clone_mark(branch);
        branch.settings.insert(CLONE_UNFINISHED.to_owned(), mark);
        Ok::<_, DriveError>(())
    };
    *branch = office.change_branch(branch.id, mark).await?;
    Ok(())
}

/// The clone is finished, or has not touched the shop. The branch is as it is stored then.
pub(super) async fn unmark_clone(office: &Office, branch: &mut Branch) -> Result<(), DriveError> {
    let unmark = |branch: &mut Branch| {
        branch.settings.remove(CLONE_UNFINISHED);
        Ok::<_, DriveError>(())
    };
    *branch = office.change_branch(branch.id, unmark).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_mark_left_behind_by_a_recorded_clone_means_nothing() {
        let mut branch = Branch {
            id: 1,
            name: "a".into(),
            url: String::new(),
            policy: String::new(),
            timestamp: None,
            user: None,
            password_file: None,
            id_range: None,
            incarnation: None,
            cloned_at: None,
            pulled_at: None,
            pushed_at: None,
            settings: BTreeMap::new(),
            paused: false,
            retired: false,
            outlived: false,
        };
        assert!(!is_clone_unfinished(&branch));
        branch.settings.insert(CLONE_UNFINISHED.to_owned(), clone_mark(&branch));
        assert!(is_clone_unfinished(&branch));
        branch.cloned_at = Some(SystemTime::UNIX_EPOCH + Duration::from_micros(7));
        assert!(!is_clone_unfinished(&branch), "the clone was recorded after the mark was made");
    }
}
