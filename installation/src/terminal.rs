//! Questions to a person: asked on stderr, answered on stdin, so that stdout stays for what was asked for.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// Whether there is somebody to ask.
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks and reads one line; an empty one means the default, if there is one.
///
/// # Errors
/// If the terminal is gone.
pub fn ask(question: &str, default: Option<&str>) -> io::Result<String> {
    match default.filter(|default| !default.is_empty()) {
        Some(default) => say(&format!("{question} [{default}]: "))?,
        None => say(&format!("{question}: "))?,
    }
    let line = line()?;
    Ok(if line.is_empty() { default.unwrap_or_default().to_owned() } else { line })
}

/// Asks until the answer is one that can be used; says each time why it cannot.
///
/// # Errors
/// If the terminal is gone.
pub fn ask_until<T>(question: &str, default: Option<&str>, take: impl Fn(&str) -> Result<T, String>) -> io::Result<T> {
    loop {
        match take(&ask(question, default)?) {
            Ok(taken) => return Ok(taken),
            Err(reason) => say(&format!("  {reason}\n"))?,
        }
    }
}

/// Asks for something that must not be seen: what is typed is not shown.
///
/// # Errors
/// If the terminal is gone.
pub fn ask_hidden(question: &str) -> io::Result<String> {
    // first silence, then the question: nothing that is typed in answer to it can be shown
    let silence = Silence::new()?;
    say(question)?;
    let line = line();
    drop(silence);
    say("\n")?;
    line
}

fn say(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the input has ended before every question was answered",
        ));
    }
    Ok(line.trim().to_owned())
}

/// While it lives, the terminal does not show what is typed.
struct Silence {
    before: Termios,
}

impl Silence {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // a terminal that is gone has nothing to show
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
