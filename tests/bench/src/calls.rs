//! Calls per second of the agent, against a handler of hyper that does nothing but answer.

use std::convert::Infallible;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tests::kit::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::measure::{Comparison, Settings, Target, compare};
use crate::world;

/// What this program is told when it is to be the handler that does nothing.
pub(crate) const BARE: &str = "--serve-bare";

const CALLS: usize = 20_000;
const BODY: &str = "<?xml version=\"1.0\"?><methodCall><methodName>sync.echo</methodName><params><param><value><string>north</string></value></param></params></methodCall>";

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let mut world = World::retail(&["north"]);
    // as many callers as are wanted, all of them from one address and without a login
    let config = world.dir().join("bench.toml");
    std::fs::write(&config, "connections_max = 200\n").expect("a file");
    let shop = world.shop_mut("north");
    shop.kill_agent();
    shop.start_with(&["--config", &config.display().to_string()]);
    let agent = address(shop.url());
    let answer = world::wait(first_answer(agent));
    let bare = Bare::start(&answer);
    [1, 64]
        .into_iter()
        .map(|connections| {
            let calls = CALLS / settings.share / connections;
            let what = format!("calls over {connections} kept connection{}", if connections == 1 { "" } else { "s" });
            let time = |to| world::wait(calls_over(to, connections, calls));
            let target = Target::SpeedAtLeast(0.8);
            compare(settings, &what, "a bare hyper handler", target, || time(agent), || time(bare.address))
        })
        .collect()
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address")
}

fn request() -> Vec<u8> {
    let head = format!(
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    [head.as_bytes(), BODY.as_bytes()].concat()
}

/// One call; the body of its answer.
async fn first_answer(to: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.expect("the agent listens");
    stream.write_all(&request()).await.expect("a request");
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let bytes = stream.read(&mut buffer).await.expect("an answer");
        assert!(bytes > 0, "the agent has hung up");
        read.extend_from_slice(&buffer[..bytes]);
        if let Some(length) = whole(&read) {
            let body = read.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            let body = read[body..length].to_vec();
            assert!(String::from_utf8_lossy(&body).contains("north"), "{}", String::from_utf8_lossy(&read));
            return body;
        }
    }
}

/// Length of the first whole answer.
fn whole(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let all = head + length.trim().parse::<usize>().ok()?;
    (read.len() >= all).then_some(all)
}

async fn calls_over(to: SocketAddr, connections: usize, calls: usize) -> Duration {
    let mut callers = tokio::task::JoinSet::new();
    let began = Instant::now();
    for caller in 0..connections {
        callers.spawn(async move {
            let request = request();
            // an agent bounds the connections of one address, and those of the round before may not have ended yet
            let socket = TcpSocket::new_v4().expect("a socket");
            let from = format!("127.0.0.{}:0", 1 + caller % 8);
            socket.bind(from.parse().expect("an address")).expect("a socket of this machine");
            let mut stream = socket.connect(to).await.expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            let (mut buffer, mut length) = (vec![0; 16 << 10], None);
            for _ in 0..calls {
                stream.write_all(&request).await.expect("a request");
                let mut filled = 0;
                loop {
                    let bytes = stream.read(&mut buffer[filled..]).await.expect("an answer");
                    assert!(bytes > 0, "it has hung up");
                    filled += bytes;
                    // all answers are alike, so that the client costs next to nothing
                    length = length.or_else(|| whole(&buffer[..filled]));
                    if length.is_some_and(|length| filled >= length) {
                        break;
                    }
                }
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("a caller");
    }
    began.elapsed()
}

/// The handler that does nothing, as a process of its own like the agent: ends with this.
struct Bare {
    process: Child,
    address: SocketAddr,
}

impl Bare {
    fn start(answer: &[u8]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .arg(BARE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        process.stdin.take().expect("its input").write_all(answer).expect("it reads the answer");
        let mut line = String::new();
        std::io::BufReader::new(process.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
        Self { process, address: line.trim().parse().expect("its address") }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads a request whole and gives the answer that came on stdin to each. Prints where it listens.
pub(crate) fn serve_bare() {
    let mut answer = Vec::new();
    std::io::stdin().read_to_end(&mut answer).expect("the answer");
    let answer = Bytes::from(answer);
    world::wait(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        println!("{}", listener.local_addr().expect("an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let _ = request.into_body().collect().await;
                    let response = Response::builder().header("content-type", "text/xml").body(Full::new(answer));
                    Ok::<_, Infallible>(response.expect("a response"))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}
