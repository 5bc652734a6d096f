//! Python's own xmlrpc.client, timed from within, so that its start does not count.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

const SCRIPT: &str = "
import sys, time, xmlrpc.client
kind, document = sys.argv[1], sys.stdin.buffer.read()
params, name = xmlrpc.client.loads(document)
work = (lambda: xmlrpc.client.loads(document)) if kind == 'decode' else (lambda: xmlrpc.client.dumps(params, name))
began = time.perf_counter(); work(); print(time.perf_counter() - began)
";

/// How long it takes to decode a call, or to encode it again.
///
/// # Panics
/// If there is no Python, or it does not understand the call.
pub(crate) fn time(kind: &str, document: &[u8]) -> Duration {
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT, kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program python3");
    child.stdin.take().expect("a pipe").write_all(document).expect("Python reads");
    let output = child.wait_with_output().expect("Python ends");
    let text = String::from_utf8_lossy(&output.stdout);
    Duration::from_secs_f64(text.trim().parse().expect("Python tells the time it took"))
}
