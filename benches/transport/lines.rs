//! What asks and is answered, alike over QUIC and TLS: so many bytes up, then so many down. A QUIC connection carries a
//! stream for each request; over TCP a connection carries one request after the other.

use std::io;
use std::time::{Duration, Instant};

use quicc::host::task;
use quicc::transport::{Endpoint, Pace, Peer, tuning};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::account;
use crate::ends::{Ends, hello};

/// Bytes written at once.
const WRITTEN: usize = 64 << 10;
/// Bytes read at once, as the product does with bodies.
const READ: usize = 128 << 10;
/// The lengths before a request's bytes.
const HEADER: usize = 8;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Quic,
    Tls,
}

pub const KINDS: [Kind; 2] = [Kind::Quic, Kind::Tls];

/// What one request after the other is made on.
pub enum Line {
    Quic(quinn::Connection),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Requests on their way at once.
    pub at_once: usize,
    /// Requests that follow each other.
    pub times: usize,
    /// Bytes of each request, and of each answer.
    pub up: usize,
    pub down: usize,
}

/// What that took.
#[derive(Debug)]
pub struct Taken {
    pub wall: Duration,
    /// Of both ends together.
    pub cpu: Duration,
    /// Each request, sorted.
    pub each: Vec<Duration>,
}

/// Warm connections of each kind.
pub struct Lines {
    _endpoint: Endpoint,
    peer: Peer,
    tls: Vec<Line>,
}

impl Lines {
    /// One of QUIC, as many of TLS as there are requests at once.
    pub async fn new(ends: &Ends, at_once: usize) -> Self {
        let endpoint = ends.endpoint();
        let peer = endpoint
            .connect(ends.udp, &ends.builder, &hello(), Pace::Prompt)
            .await;
        let connector = ends.connector();
        let mut tls = Vec::new();
        for _ in 0..at_once {
            tls.push(Line::Tls(Box::new(ends.connect_tls(&connector).await)));
        }
        Self {
            _endpoint: endpoint,
            peer: peer.unwrap(),
            tls,
        }
    }

    pub async fn carry(&mut self, kind: Kind, load: Load) -> Taken {
        let lines = match kind {
            Kind::Quic => (0..load.at_once)
                .map(|_| Line::Quic(self.peer.connection.clone()))
                .collect(),
            Kind::Tls => std::mem::take(&mut self.tls),
        };
        assert_eq!(lines.len(), load.at_once);
        let (cpu, begun) = (cpu(), Instant::now());
        let running: Vec<_> = lines
            .into_iter()
            .map(|line| task::spawn("line", ask_times(line, load)))
            .collect();
        let (mut each, mut lines) = (Vec::new(), Vec::new());
        for task in running {
            let (line, times) = task.await.unwrap();
            lines.push(line);
            each.extend(times);
        }
        let (wall, cpu) = (begun.elapsed(), self::cpu() - cpu);
        if kind == Kind::Tls {
            self.tls = lines;
        }
        each.sort();
        Taken { wall, cpu, each }
    }
}

/// Processor time of this process, both ends of all, so far.
pub fn cpu() -> Duration {
    account::of_process(i32::try_from(std::process::id()).unwrap()).unwrap()
}

async fn ask_times(mut line: Line, load: Load) -> (Line, Vec<Duration>) {
    let mut times = Vec::with_capacity(load.times);
    for _ in 0..load.times {
        let begun = Instant::now();
        line.ask(load.up, load.down).await.unwrap();
        times.push(begun.elapsed());
    }
    (line, times)
}

impl Line {
    pub async fn ask(&mut self, up: usize, down: usize) -> io::Result<()> {
        match self {
            Self::Quic(connection) => {
                let (mut send, mut receive) = connection.open_bi().await?;
                let priority = tuning::run_priority(send.id(), up as u64);
                let _ = send.set_priority(priority);
                write(&mut send, Some((up, down)), up).await?;
                let _ = send.finish();
                read(&mut receive, down).await
            }
            Self::Tls(stream) => {
                write(stream, Some((up, down)), up).await?;
                read(stream, down).await
            }
        }
    }
}

/// Answers one request.
pub async fn answer(
    receive: &mut (impl AsyncRead + Unpin),
    send: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let (up, down) = (receive.read_u32().await?, receive.read_u32().await?);
    read(receive, up as usize).await?;
    write(send, None, down as usize).await
}

/// Writes `length` bytes, those of a request behind its header and in one write with it.
async fn write(
    send: &mut (impl AsyncWrite + Unpin),
    header: Option<(usize, usize)>,
    length: usize,
) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(HEADER + length.min(WRITTEN));
    if let Some((up, down)) = header {
        chunk.extend((up as u32).to_be_bytes());
        chunk.extend((down as u32).to_be_bytes());
    }
    let mut left = length;
    loop {
        let part = left.min(WRITTEN);
        chunk.resize(chunk.len() + part, 7);
        send.write_all(&chunk).await?;
        left -= part;
        if left == 0 {
            return send.flush().await;
        }
        chunk.clear();
    }
}

async fn read(receive: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<()> {
    let mut chunk = vec![0; READ.min(length)];
    let mut left = length;
    while left > 0 {
        let room = left.min(READ);
        let read = receive.read(&mut chunk[..room]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
    }
    Ok(())
}
