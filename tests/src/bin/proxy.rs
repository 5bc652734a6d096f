//! A line that drops: forwards TCP connections, and cuts the first few of them in the middle.
//!
//! ```text
//! proxy --target HOST:PORT [--listen ADDR:PORT] [--cut-after BYTES] [--times N]
//! ```
//!
//! Prints `listening on http://ADDR:PORT` when it is ready, and a line for each connection it cuts, to stderr. A
//! connection that carries fewer bytes than `--cut-after`, both ways together, is not cut and does not count. After
//! `--times` cuts the line is sound. It runs until it is ended.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let line = match Line::parse(std::env::args().skip(1)) {
        Ok(line) => Arc::new(line),
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!(
                "usage: proxy --target HOST:PORT [--listen ADDR:PORT, 127.0.0.1:0] [--cut-after BYTES] [--times N, 1]"
            );
            return ExitCode::from(2);
        }
    };
    let Err(error) = serve(line).await;
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// The line, and how often it was cut.
#[derive(Debug)]
struct Line {
    listen: String,
    target: String,
    cut_after: u64,
    times: u64,
    cuts: AtomicU64,
}

impl Line {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut line = Self {
            listen: "127.0.0.1:0".into(),
            target: String::new(),
            cut_after: u64::MAX,
            times: 1,
            cuts: AtomicU64::new(0),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse().map_err(|_| format!("{name} needs a number, and {value:?} is none"));
            match name.as_str() {
                "--listen" => line.listen = value,
                "--target" => line.target = value,
                "--cut-after" => line.cut_after = number()?,
                "--times" => line.times = number()?,
                _ => return Err(format!("unknown flag {name}")),
            }
        }
        if line.target.is_empty() { Err("no --target".into()) } else { Ok(line) }
    }

    /// Whether the connection that has just reached its bytes is cut: only so many are.
    fn cut(&self) -> bool {
        let counted = self
            .cuts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cuts| (cuts < self.times).then_some(cuts + 1));
        if let Ok(before) = counted {
            eprintln!("cut {} of {} after {} bytes", before + 1, self.times, self.cut_after);
        }
        counted.is_ok()
    }
}

async fn serve(line: Arc<Line>) -> Result<std::convert::Infallible, std::io::Error> {
    let listener = TcpListener::bind(&line.listen).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    loop {
        let (caller, _) = listener.accept().await?;
        let line = Arc::clone(&line);
        tokio::spawn(async move {
            // a target that does not answer looks like a line that is down: the caller is hung up on
            if let Ok(target) = TcpStream::connect(&line.target).await {
                forward(&line, caller, target).await;
            }
        });
    }
}

/// Forwards until one direction is cut or both have ended; dropping the sockets hangs up on both sides.
async fn forward(line: &Line, mut caller: TcpStream, mut target: TcpStream) {
    let carried = AtomicU64::new(0);
    let (from_caller, to_caller) = caller.split();
    let (from_target, to_target) = target.split();
    let there = pump(line, &carried, from_caller, to_target);
    let back = pump(line, &carried, from_target, to_caller);
    // an end of one direction is passed on and the other goes on; a cut ends both
    let _ = tokio::try_join!(there, back);
}

/// The connection broke, or was cut.
#[derive(Debug)]
struct Broken;

async fn pump(
    line: &Line,
    carried: &AtomicU64,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Broken> {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| Broken);
        }
        let before = carried.fetch_add(read as u64, Ordering::Relaxed);
        let reaches = before < line.cut_after && before + read as u64 >= line.cut_after;
        if reaches && line.cut() {
            // what arrived before the cut is delivered: half a request, half an answer
            let whole = usize::try_from(line.cut_after - before).unwrap_or(read);
            let _ = to.write_all(&buffer[..whole]).await;
            return Err(Broken);
        }
        to.write_all(&buffer[..read]).await.map_err(|_| Broken)?;
    }
}
