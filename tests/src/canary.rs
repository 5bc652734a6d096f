//! I21, in every test: what the product's programs write to their logs holds no value of a row and no password.
//!
//! Whatever a program of ours has said on standard error (its log, its messages) is read when its [`Process`] is dropped.
//! Canaries are names and words of the fixtures' data that occur nowhere else, `canary-`, with which tests begin
//! values of their own, and the passwords that the kit gives out.
//!
//! [`Process`]: crate::process::Process

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fixtures::CANARIES;

/// Shorter ones occur by accident.
const PASSWORD_CHARS_MIN: usize = 10;

static PASSWORDS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on, this password must not be found in any log of this process's programs.
pub fn protect(password: &str) {
    if password.chars().count() >= PASSWORD_CHARS_MIN {
        PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner).insert(password.to_owned());
    }
}

/// Whether that is a program of the product, or something that only runs one somewhere else.
pub(crate) fn is_ours(program: &str) -> bool {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["shop-agent", "office-client", "chroot", "nsenter"].contains(&name)
}

/// What must not be in that text, and the line it is in.
fn find(text: &str) -> Option<(String, String)> {
    let passwords = PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = || CANARIES.into_iter().chain(passwords.iter().map(String::as_str));
    text.lines().find_map(|line| {
        let found = wanted().find(|canary| line.contains(canary))?;
        Some((found.to_owned(), line.to_owned()))
    })
}

/// Fails the test in which a log holds what nobody may see.
///
/// # Panics
/// If it does.
pub(crate) fn assert_none(program: &str, log: &str) {
    if let Some((canary, line)) = find(log) {
        panic!("{program} has written {canary:?}, a value of a row or a password, to its log:\n{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_fixtures_and_passwords_are_found_in_a_log() {
        assert_eq!(find("INFO call method=\"sql_finish\" rows=3"), None);
        let found = find("INFO one\nERROR duplicate key (name)=(Elif Haddad)");
        assert_eq!(found, Some(("Haddad".to_owned(), "ERROR duplicate key (name)=(Elif Haddad)".to_owned())));
        protect("only this test knows it");
        assert!(find("password only this test knows it").is_some());
        assert!(is_ours("/target/debug/shop-agent") && is_ours("nsenter") && !is_ours("/usr/bin/psql"));
    }

    #[test]
    fn the_data_of_the_fixtures_hold_the_canaries() {
        let data = crate::kit::Plan::default().data;
        let missing: Vec<_> = CANARIES.into_iter().filter(|word| *word != "canary-" && !data.contains(word)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
