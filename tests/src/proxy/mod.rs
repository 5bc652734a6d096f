//! A line between office and shop that does what lines do: it is slow, drops, stalls, goes dead, loses replies, and
//! delivers requests twice or late. It runs in this process, beside the test.

mod exchange;
mod framing;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use framing::Framing;
pub use framing::Place;

/// How much later than asked for this machine may wake us up.
const LATE_MAX: Duration = Duration::from_millis(50);

/// A direction of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ToAgent,
    /// Answers.
    ToOffice,
}

/// Where the line is cut, once: what arrived before is delivered, what comes later is lost with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// In which direction.
    pub direction: Direction,
    /// In which message, counted from 0 over all connections.
    pub message: u64,
    /// At which place of it.
    pub place: Place,
    /// Whether the line stays down afterwards, until [`Proxy::mend`].
    pub for_good: bool,
}

/// What happens to whole requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// The answer to that request (counted from 0) arrives here, and the connection breaks before it is passed on.
    LoseReply(u64),
    /// Every request is delivered twice, one after the other; the second answer is passed on.
    Twice,
    /// Every request is delivered twice at the same time; the first connection's answer is passed on.
    TwiceAtOnce,
    /// Every request is delivered once more after the next two.
    Late,
    /// What either end says of the version of the protocol it speaks is replaced by this digit: the other one meets a
    /// program of another version. Messages are asked for without compression, so that it can be seen.
    Speaks(Version),
}

/// Versions of the protocol as `sync.hello` tells them, for [`Trick::Speaks`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version {
    /// What the office says it speaks.
    pub office: Option<u8>,
    /// What the agent answers.
    pub agent: Option<u8>,
}

/// How the line is. The default is a sound one.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Bytes per second in each direction.
    pub rate: Option<u64>,
    /// Delay of whatever comes after a silence: there and back, for an answer comes after one, and the next question not.
    pub latency: Duration,
    /// How long it is up before it drops; then it is down for [`Line::down_for`].
    pub up_for: Option<Duration>,
    /// How long it is down after a drop.
    pub down_for: Duration,
    /// After so many bytes, both directions together, nothing moves any more, and nobody is told.
    pub dead_after: Option<u64>,
    /// After every so many bytes of a direction it stands still for that time.
    pub stall: Option<(u64, Duration)>,
    /// One cut at an exact place.
    pub cut: Option<Cut>,
    /// Something done to whole messages; then nothing of the above happens.
    pub trick: Option<Trick>,
}

/// What the line has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes towards the agent, headers and what was lost included.
    pub to_agent: u64,
    /// Bytes towards the office.
    pub to_office: u64,
    /// Bytes of chunks and slices among them, both directions together: of bodies with more than 1 KiB.
    pub bodies: u64,
    /// Whole messages with such bodies.
    pub large: u64,
    /// Whole messages towards the agent.
    pub requests: u64,
    /// Whole messages towards the office.
    pub answers: u64,
    /// Connections.
    pub connections: u64,
    /// How often connections were cut.
    pub cuts: u64,
    /// Requests that were delivered once more.
    pub repeats: u64,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    line: Line,
    counts: Mutex<Counts>,
    /// Counts up whenever everything that is connected is cut.
    epoch: watch::Sender<u64>,
    is_down: watch::Sender<bool>,
    /// When each direction has carried what it was given.
    free: Mutex<[Option<Instant>; 2]>,
}

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts one before an agent's URL.
    ///
    /// # Panics
    /// If it cannot listen, or the URL is none.
    pub fn start(url: &str, line: Line) -> Self {
        let target = url.strip_prefix("http://").and_then(|address| address.parse().ok());
        let target = target.unwrap_or_else(|| panic!("{url} is no address"));
        let shared = Arc::new(Shared {
            target,
            line,
            counts: Mutex::default(),
            epoch: watch::Sender::new(0),
            is_down: watch::Sender::new(false),
            free: Mutex::default(),
        });
        let (end, ended) = tokio::sync::oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let _ = ready.send(listener.local_addr().expect("an address"));
                tokio::select! {
                    () = serve(listener, served) => {}
                    _ = ended => {}
                }
            });
        });
        let address = address.recv().expect("the proxy listens");
        Self { address, shared, end: Some(end), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has carried so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts()
    }

    /// After a cut for good: the line is up again.
    pub fn mend(&self) {
        self.shared.is_down.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // a panic of its thread has been printed
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_all(&self) {
        self.counts().cuts += 1;
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Waits until a direction has carried so many more bytes.
    async fn carry(&self, direction: Direction, bytes: usize) {
        let Some(rate) = self.line.rate else { return };
        let due = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let free = &mut free[usize::from(direction == Direction::ToOffice)];
            let now = Instant::now();
            // after a silence the first byte takes its way; a wake-up that came late on a busy machine is no silence
            let from = free.filter(|free| *free + LATE_MAX >= now).unwrap_or(now + self.line.latency);
            *free.insert(from + Duration::from_secs_f64(bytes as f64 / rate as f64))
        };
        tokio::time::sleep_until(due).await;
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    if let Some(up_for) = shared.line.up_for {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(up_for).await;
                shared.is_down.send_replace(true);
                shared.cut_all();
                tokio::time::sleep(shared.line.down_for).await;
                shared.is_down.send_replace(false);
            }
        });
    }
    loop {
        let Ok((caller, _)) = listener.accept().await else { continue };
        if *shared.is_down.borrow() {
            continue;
        }
        shared.counts().connections += 1;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // an agent that does not answer looks like a line that is down: the caller is hung up on
            let Ok(agent) = TcpStream::connect(shared.target).await else { return };
            let (_, _) = (caller.set_nodelay(true), agent.set_nodelay(true));
            match shared.line.trick {
                Some(trick) => exchange::forward(&shared, trick, caller, agent).await,
                None => forward(&shared, caller, agent).await,
            }
        });
    }
}

/// Forwards until both directions have ended or everything is cut; dropping the sockets hangs up on both sides.
async fn forward(shared: &Shared, mut caller: TcpStream, mut agent: TcpStream) {
    let mut epoch = shared.epoch.subscribe();
    epoch.mark_unchanged();
    let (from_caller, to_caller) = caller.split();
    let (from_agent, to_agent) = agent.split();
    let there = pump(shared, Direction::ToAgent, from_caller, to_agent);
    let back = pump(shared, Direction::ToOffice, from_agent, to_caller);
    tokio::select! {
        _ = async { tokio::try_join!(there, back) } => {}
        _ = epoch.changed() => {}
    }
}

/// The connection broke, or was cut.
#[derive(Debug)]
struct Broken;

async fn pump(
    shared: &Shared,
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Broken> {
    let mut framing = Framing::default();
    // a slow line carries small pieces, so that it is as slow as it says at any time
    let piece = shared.line.rate.map_or(4096, |rate| usize::try_from(rate / 50).unwrap_or(4096).clamp(16, 4096));
    let mut buffer = vec![0; piece];
    let mut carried = 0;
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken)?;
        if read == 0 {
            return to.shutdown().await.map_err(|_| Broken);
        }
        shared.carry(direction, read).await;
        carried += read as u64;
        if let Some((every, pause)) = shared.line.stall
            && carried / every > (carried - read as u64) / every
        {
            tokio::time::sleep(pause).await;
        }
        if let Some(whole) = look(shared, direction, &mut framing, &buffer[..read]) {
            // what arrived before the cut is delivered: half a request, half an answer
            let _ = to.write_all(&buffer[..whole]).await;
            let _ = to.flush().await;
            if shared.line.cut.is_some_and(|cut| cut.for_good) {
                shared.is_down.send_replace(true);
            }
            shared.cut_all();
            return Err(Broken);
        }
        let moved = {
            let counts = shared.counts();
            counts.to_agent + counts.to_office
        };
        if shared.line.dead_after.is_some_and(|bytes| moved >= bytes) {
            std::future::pending::<()>().await;
        }
        to.write_all(&buffer[..read]).await.map_err(|_| Broken)?;
    }
}

/// Counts what passes; the number of bytes before the cut, if it is in them.
fn look(shared: &Shared, direction: Direction, framing: &mut Framing, bytes: &[u8]) -> Option<usize> {
    let mut counts = shared.counts();
    for (at, byte) in bytes.iter().enumerate() {
        match direction {
            Direction::ToAgent => counts.to_agent += 1,
            Direction::ToOffice => counts.to_office += 1,
        }
        let is_large = framing.is_in_large_body();
        counts.bodies += u64::from(is_large);
        for place in framing.byte(*byte) {
            counts.large += u64::from(is_large && place == Place::End);
            let message = match direction {
                Direction::ToAgent => &mut counts.requests,
                Direction::ToOffice => &mut counts.answers,
            };
            let number = *message;
            *message += u64::from(place == Place::End);
            let is_cut = |cut: &Cut| (cut.direction, cut.message, cut.place) == (direction, number, place);
            if counts.cuts == 0 && shared.line.cut.as_ref().is_some_and(is_cut) {
                return Some(at + 1);
            }
        }
    }
    None
}
