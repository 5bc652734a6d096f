//! What is said at the end of a set-up: what was made, and what to type next, here and at the office.

use std::path::Path;

use super::answers::{Answers, Password};
use crate::config::DEFAULT_PATH;
use installation::said;

/// Prints it.
pub(super) fn print(
    answers: &Answers,
    configuration: &Path,
    policy: &str,
    fingerprint: Option<tls::Fingerprint>,
    is_good: bool,
) {
    said::line("");
    if let Password::Made(password) = &answers.password {
        said::line(format_args!("Password of {} (shown this once):\n\n    {password}\n", answers.user));
    }
    if let Some(fingerprint) = &fingerprint {
        said::line("Fingerprint of the certificate (SHA-256), to be compared over the telephone:\n");
        for line in fingerprint.lines() {
            said::line(format_args!("    {line}"));
        }
        said::line("");
    }
    if !is_good {
        said::line(format_args!("Mend what is WRONG above; `{}` looks again.\n", here("check", configuration)));
    }
    said::line(format_args!("Next, here:\n\n    {}\n", start(configuration)));
    said::line(format_args!("Then, at the office (which needs the same policy, `{policy}`):\n"));
    let password_file = format!("{}.password", answers.branch);
    let mut line =
        format!("office-client branch add {} --url {} --policy {policy}", answers.branch, shell(&answers.url));
    if !matches!(answers.password, Password::None) {
        said::line(format_args!("    (umask 077; cat > {password_file})        # type the password, Enter, Ctrl-D"));
        line += &format!(" --user {} --password-file {password_file}", shell(&answers.user));
    }
    if let Some(fingerprint) = fingerprint {
        line += &format!(" --fingerprint {fingerprint}");
    }
    said::line(format_args!("    {line}\n    office-client clone {}", answers.branch));
}

fn start(configuration: &Path) -> String {
    let is_packaged = configuration == Path::new(DEFAULT_PATH) && Path::new("/run/systemd/system").exists();
    if is_packaged { "systemctl enable --now shop-agent".to_owned() } else { here("run", configuration) }
}

fn here(command: &str, configuration: &Path) -> String {
    if configuration == Path::new(DEFAULT_PATH) {
        return format!("shop-agent {command}");
    }
    format!("shop-agent {command} --config {}", shell(&configuration.display().to_string()))
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,[]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell;

    #[test]
    fn words_are_quoted_for_a_shell_where_they_have_to_be() {
        assert_eq!(shell("https://lisbon:9000"), "https://lisbon:9000");
        assert_eq!(shell("it's me"), r"'it'\''s me'");
        assert_eq!(shell(""), "''");
    }
}
