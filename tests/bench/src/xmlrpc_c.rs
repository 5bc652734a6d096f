//! The C library xmlrpc-c, timed from within. Where there is no compiler or no library, it says so.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const SOURCE: &str = include_str!("xmlrpc_c.c");

/// The program around the library.
pub(crate) struct XmlrpcC {
    program: PathBuf,
    /// Holds the program.
    _dir: tempfile::TempDir,
}

/// Compiled once.
///
/// # Errors
/// Why it cannot be.
pub(crate) fn program() -> Result<&'static XmlrpcC, String> {
    static PROGRAM: OnceLock<Result<XmlrpcC, String>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("cc")).as_ref().map_err(Clone::clone)
}

fn compile(compiler: &str) -> Result<XmlrpcC, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (source, program) = (dir.path().join("xmlrpc_c.c"), dir.path().join("xmlrpc_c"));
    std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
    let compiled = Command::new(compiler)
        .args(["-O2", "-o"])
        .args([&program, &source])
        .args(["-lxmlrpc", "-lxmlrpc_util"])
        .output()
        .map_err(|_| format!("there is no C compiler ({compiler})"))?;
    if !compiled.status.success() {
        return Err("xmlrpc-c is not there (Debian: libxmlrpc-core-c3-dev)".to_owned());
    }
    Ok(XmlrpcC { program, _dir: dir })
}

impl XmlrpcC {
    /// How long it takes to decode a call, or to encode it again.
    ///
    /// # Panics
    /// If it does not understand the call.
    pub(crate) fn time(&self, kind: &str, document: &[u8]) -> Duration {
        let mut child = Command::new(&self.program)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program that was just compiled");
        child.stdin.take().expect("a pipe").write_all(document).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        Duration::from_secs_f64(text.trim().parse().expect("it tells the time it took"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_compiler_it_says_what_is_missing() {
        let why = compile("no-such-compiler").err().unwrap();
        assert_eq!(why, "there is no C compiler (no-such-compiler)");
    }
}
