//! A new connection and one job on it: what it takes with nothing known, with a session known, and sent early.

use std::time::{Duration, Instant};

use quicc::transport::{Endpoint, Pace, When};
use tokio_rustls::TlsConnector;

use crate::ends::{Ends, hello};
use crate::figures::{median, microseconds};
use crate::lines::{Line, cpu};

/// Times each is measured, in turns.
const ROUNDS: usize = 5;
/// Connections in a turn, one after the other.
const CONNECTIONS: usize = 40;
const UP: usize = 1000;
const DOWN: usize = 10_000;
/// In which a server's tickets come for the next session: they follow the handshake, and a job sent early is answered
/// before that.
const TICKETS: Duration = Duration::from_millis(2);
/// After which a connection that was closed costs nothing more.
const SETTLED: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Full,
    Resumed,
    Early,
    TlsFull,
    TlsResumed,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Full, "QUIC, full handshake"),
    (Kind::Resumed, "QUIC, session resumed"),
    (Kind::Early, "QUIC, job sent early (0-RTT)"),
    (Kind::TlsFull, "TLS over TCP, full handshake"),
    (Kind::TlsResumed, "TLS over TCP, session resumed"),
];

/// Prints the table.
pub async fn run() {
    println!(
        "\nA connection over loopback, both ends with certificates, and a job of {UP} bytes up and {DOWN} down; CPU of both \
         ends; median of {ROUNDS} turns of {CONNECTIONS}:"
    );
    println!("{:32}{:>10}{:>10}", "", "wall µs", "CPU µs");
    let ends = Ends::new().await;
    let (endpoint, connector) = (ends.endpoint(), ends.connector());
    let mut figures = [const { (Vec::new(), Vec::new()) }; KINDS.len()];
    // The first round warms up, and makes acquaintances.
    for round in 0..=ROUNDS {
        for (turn, (kind, _)) in KINDS.into_iter().enumerate() {
            let (wall, cpu) = take(&ends, kind, &endpoint, &connector).await;
            if round > 0 {
                figures[turn].0.push(wall);
                figures[turn].1.push(cpu);
            }
        }
    }
    for ((_, name), (walls, cpus)) in KINDS.into_iter().zip(figures) {
        println!("{name:32}{:10.0}{:10.0}", median(walls), median(cpus));
    }
}

/// Microseconds of wall time, the median, and of processor time, the mean.
async fn take(ends: &Ends, kind: Kind, known: &Endpoint, connector: &TlsConnector) -> (f64, f64) {
    // Whoever has met nobody has no session.
    let (mut endpoints, mut connectors) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        match kind {
            Kind::Full => endpoints.push(ends.endpoint()),
            Kind::TlsFull => connectors.push(ends.connector()),
            _ => {}
        }
    }
    let before = cpu();
    let mut walls = Vec::new();
    for turn in 0..CONNECTIONS {
        let begun = Instant::now();
        let (is_early, connection) = match kind {
            Kind::Full => quic(ends, &endpoints[turn], When::Verified).await,
            Kind::Resumed => quic(ends, known, When::Verified).await,
            Kind::Early => quic(ends, known, When::AtOnce).await,
            Kind::TlsFull => tls(ends, &connectors[turn]).await,
            Kind::TlsResumed => tls(ends, connector).await,
        };
        walls.push(microseconds(begun.elapsed()));
        assert_eq!(is_early, matches!(kind, Kind::Early));
        if let Some(connection) = connection {
            tokio::time::sleep(TICKETS).await;
            connection.close(0_u32.into(), b"");
        }
    }
    tokio::time::sleep(SETTLED).await;
    let cpu = microseconds(cpu() - before) / CONNECTIONS as f64;
    (median(walls), cpu)
}

/// Whether the job was sent early, and the connection.
async fn quic(ends: &Ends, endpoint: &Endpoint, when: When) -> (bool, Option<quinn::Connection>) {
    let opened = endpoint
        .open(ends.udp, &ends.builder, &hello(), Pace::Prompt, when)
        .await
        .unwrap();
    let (is_early, connection) = (opened.is_early(), opened.connection.clone());
    let mut line = Line::Quic(connection.clone());
    let (job, peer) = tokio::join!(line.ask(UP, DOWN), opened.meet());
    job.unwrap();
    peer.unwrap();
    (is_early, Some(connection))
}

async fn tls(ends: &Ends, connector: &TlsConnector) -> (bool, Option<quinn::Connection>) {
    let mut line = Line::Tls(Box::new(ends.connect_tls(connector).await));
    line.ask(UP, DOWN).await.unwrap();
    (false, None)
}
