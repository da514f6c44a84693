//! A client that keeps a server busy: HTTP/1.1 over TLS on kept connections, one request under way on each.
//!
//! A thread for each connection and nothing between it and the socket but TLS, since client and server share the
//! processors: what the client needs is missing in the figure.

use super::statistics::{count, percentile};
use anyhow::{Context, Result, anyhow, bail};
use memchr::memmem;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How many connections are kept.
pub const CONNECTIONS: u32 = 16;

/// Answers to the first requests do not count: caches fill, and connections are new.
const WARM_UP: Duration = Duration::from_secs(1);

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server's door.
#[derive(Clone)]
pub struct Target {
    /// Address and port.
    pub address: String,
    /// The name in its certificate.
    pub host: String,
    /// Whom it is trusted by.
    pub tls: Arc<ClientConfig>,
}

/// How it is loaded.
#[derive(Clone, Debug)]
pub struct Load {
    /// The path that is posted to.
    pub path: &'static str,
    /// Headers and body; each connection sends always the same, in turn.
    pub requests: Vec<Posted>,
    /// What each answer's body holds.
    pub expected: &'static str,
    /// For how long, after a second of warming up.
    pub time: Duration,
    /// Requests per second of all connections together; `None` = the next one as soon as the last is answered.
    pub rate: Option<u32>,
}

/// What is posted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Besides those of every request.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// How long each request took: from when it was due to its whole answer.
#[derive(Clone, Debug)]
pub struct Answered {
    sorted: Vec<Duration>,
    time: Duration,
}

impl Answered {
    /// Requests per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        count(self.sorted.len()) / self.time.as_secs_f64()
    }

    /// A percentile over all requests.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.sorted, percent)
    }

    /// How many there were.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.sorted.len()
    }
}

/// Load the server.
///
/// # Errors
/// If a connection fails, or an answer is not as expected.
pub async fn run(target: Target, load: Load) -> Result<Answered> {
    tokio::task::spawn_blocking(move || all(&target, &load)).await.context("the load's threads")?
}

fn all(target: &Target, load: &Load) -> Result<Answered> {
    let connections = (0..CONNECTIONS).map(|_| Connection::open(target)).collect::<Result<Vec<_>>>()?;
    let requests: Vec<_> =
        load.requests.iter().map(|posted| written(&target.host, load.path, posted)).collect();
    let counted = Instant::now() + WARM_UP;
    let times = thread::scope(|scope| {
        let threads: Vec<_> = connections
            .into_iter()
            .zip(requests.iter().cycle())
            .zip(0..)
            .map(|((connection, request), number)| {
                let pace = load.rate.map(|rate| Pace::new(counted, rate, number));
                scope.spawn(move || connection.drive(request, load, counted, pace))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let mut sorted = times.concat();
    sorted.sort_unstable();
    Ok(Answered { sorted, time: load.time })
}

/// When a connection's requests are due, whether or not earlier ones were answered late.
#[derive(Clone, Copy)]
struct Pace {
    next: Instant,
    every: Duration,
}

impl Pace {
    /// The connections take turns, beginning with the warming up.
    fn new(counted: Instant, rate: u32, number: u32) -> Self {
        let every = Duration::from_secs(1) * CONNECTIONS / rate;
        Self { next: counted - WARM_UP + every * number / CONNECTIONS, every }
    }

    fn due(&mut self) -> Instant {
        let due = self.next;
        self.next += self.every;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(target: &Target) -> Result<Self> {
        let socket = TcpStream::connect(&target.address).with_context(|| format!("reach {}", target.host))?;
        socket.set_nodelay(true).context("send at once")?;
        socket.set_read_timeout(Some(PATIENCE)).context("limit the wait")?;
        let name = ServerName::try_from(target.host.clone()).context("name the server")?;
        let session = ClientConnection::new(target.tls.clone(), name).context("begin TLS")?;
        Ok(Self { stream: StreamOwned::new(session, socket), buffer: vec![0; 64 << 10] })
    }

    fn drive(
        mut self,
        request: &[u8],
        load: &Load,
        counted: Instant,
        mut pace: Option<Pace>,
    ) -> Result<Vec<Duration>> {
        let end = counted + load.time;
        let mut times = Vec::new();
        loop {
            let due = pace.as_mut().map_or_else(Instant::now, Pace::due);
            if due >= end {
                return Ok(times);
            }
            self.stream.write_all(request).and_then(|()| self.stream.flush()).context("send a request")?;
            self.answer(load.expected)?;
            if due >= counted {
                times.push(due.elapsed());
            }
        }
    }

    /// Read one answer to its end.
    fn answer(&mut self, expected: &str) -> Result<()> {
        let mut length = 0;
        loop {
            let room = self.buffer.get_mut(length..).filter(|room| !room.is_empty());
            let read = self
                .stream
                .read(room.context("an answer is longer than expected")?)
                .context("read an answer")?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            length += read;
            let Some(answer) = whole(&self.buffer[..length])? else { continue };
            if answer.status != 200 || memmem::find(answer.body, expected.as_bytes()).is_none() {
                bail!("answered {}: {}", answer.status, String::from_utf8_lossy(answer.body));
            }
            return Ok(());
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    status: u16,
    body: &'a [u8],
}

/// The answer, once all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<Answer<'_>>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("an answer's head is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("an answer has no status")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("an answer has no length")?
        .1;
    let length: usize = length.trim().parse().context("an answer's length is no number")?;
    let body = bytes.get(end + 4..end + 4 + length);
    let status = status.parse().context("an answer's status is no number")?;
    Ok(body.map(|body| Answer { status, body }))
}

fn written(host: &str, path: &str, posted: &Posted) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        posted.body.len()
    );
    for (name, value) in &posted.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), &posted.body].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_is_there_and_not_before() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
        for cut in 0..bytes.len() {
            assert_eq!(whole(&bytes[..cut]).unwrap(), None);
        }
        assert_eq!(whole(bytes).unwrap(), Some(Answer { status: 200, body: b"body" }));
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\nbody").is_err());
    }

    #[test]
    fn connections_take_turns_at_a_fixed_rate() {
        let counted = Instant::now();
        let mut pace = Pace::new(counted, 16_000, 0);
        let other = Pace::new(counted, 16_000, 8);
        assert_eq!(other.next - pace.next, Duration::from_micros(500));
        let first = pace.due();
        assert_eq!(pace.due() - first, Duration::from_millis(1));
    }
}
