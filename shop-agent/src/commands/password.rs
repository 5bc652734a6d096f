//! Passwords come from a file, a terminal without echo, or a pipe; never from the command line.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// The first line of the file; else asked for.
pub(super) fn password(file: Option<&Path>) -> io::Result<String> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())))?,
        None if io::stdin().is_terminal() => ask()?,
        None => first_line()?,
    };
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

fn ask() -> io::Result<String> {
    let read = |prompt: &str| -> io::Result<String> {
        eprint!("{prompt}");
        io::stderr().flush()?;
        let _quiet = Quiet::new()?;
        let line = first_line();
        eprintln!();
        line
    };
    let first = read("Password: ")?;
    if first != read("Again: ")? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the two passwords differ"));
    }
    Ok(first)
}

/// While it lives, the terminal does not show what is typed.
struct Quiet {
    before: libc::termios,
}

impl Quiet {
    fn new() -> io::Result<Self> {
        let terminal = io::stdin().as_raw_fd();
        let mut before = std::mem::MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the descriptor is open, and tcgetattr fills the structure when it returns 0
        let before = unsafe {
            if libc::tcgetattr(terminal, before.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            before.assume_init()
        };
        let mut quiet = before;
        quiet.c_lflag &= !libc::ECHO;
        // SAFETY: the descriptor is open and the structure is whole
        if unsafe { libc::tcsetattr(terminal, libc::TCSAFLUSH, &raw const quiet) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // SAFETY: as above
        unsafe { libc::tcsetattr(io::stdin().as_raw_fd(), libc::TCSAFLUSH, &raw const self.before) };
    }
}
