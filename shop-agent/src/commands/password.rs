//! Passwords come from a file, a terminal without echo, or a pipe; never from the command line.

use std::io::{self, BufRead};
use std::path::Path;

/// A new password: the first line of the file, else asked for, twice.
pub(super) fn password(file: Option<&Path>) -> io::Result<String> {
    from(file, asked)
}

/// A password that there is already: the same, asked for once.
pub(super) fn existing(file: Option<&Path>) -> io::Result<String> {
    from(file, || installation::ask_hidden("Password: "))
}

fn from(file: Option<&Path>, ask: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    let text = match file {
        Some(path) => return in_file(path),
        None if io::IsTerminal::is_terminal(&io::stdin()) => ask()?,
        None => first_line()?,
    };
    checked(&text)
}

/// The first line of the file.
pub(super) fn in_file(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())))?;
    checked(&text)
}

/// Typed twice at the terminal.
pub(super) fn asked() -> io::Result<String> {
    let first = installation::ask_hidden("Password: ")?;
    if first != installation::ask_hidden("Again: ")? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the two passwords differ"));
    }
    Ok(first)
}

fn checked(text: &str) -> io::Result<String> {
    let password = text.lines().next().unwrap_or_default().to_owned();
    if password.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the password is empty"));
    }
    Ok(password)
}

fn first_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}
