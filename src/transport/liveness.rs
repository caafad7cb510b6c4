//! Whether a peer is still there and may still be, the former noticed sooner than an idle timeout and without mistaking a slow link for a
//! dead peer.
//!
//! A living peer sends or answers keep-alive pings, so packets arrive at least as often as the connection's [`Pace`]
//! says, plus a round trip. After a short silence its UDP port is probed: a killed process leaves a kernel that answers
//! "port unreachable", which is proof. A machine or link that is gone answers nothing; then a longer silence
//! decides.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quicc_protocol::close;
use quinn::VarInt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Pace;
use super::certificate;
use crate::host::task::{self, Task};

/// Silence, beyond a keep-alive and a round trip, after which the port is probed.
const SUSPICION: Duration = Duration::from_millis(100);
/// Silence, pings included, after which a connection that work waits for is given up: with the handshake bound it keeps
/// a waiting unit under the 3 s promised for a silent network.
const SILENCE: Duration = Duration::from_millis(2200);
/// How long a probe waits for the kernel's refusal.
const PROBE: Duration = Duration::from_millis(150);

/// Pause between probes of a peer that stays silent.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// A connection being watched.
#[derive(Debug)]
pub struct Watched {
    expected: Arc<Notify>,
    gave_up: Arc<AtomicBool>,
    _watch: Task<()>,
}

impl Watched {
    /// Watches `connection`, made at `pace`, until the peer is gone, its certificate has expired, or the connection has
    /// ended; closes it in the first two cases. Ends when dropped.
    pub fn new(connection: quinn::Connection, pace: Pace) -> Self {
        let expected = Arc::new(Notify::new());
        let gave_up = Arc::<AtomicBool>::default();
        let (heard, given_up) = (Arc::clone(&expected), Arc::clone(&gave_up));
        let watch = task::spawn("liveness", async move {
            tokio::select! {
                () = certificate::expiry(&connection) => {}
                () = watch_arrivals(&connection, pace, &heard, &given_up) => {}
            }
        });
        Self {
            expected,
            gave_up,
            _watch: watch,
        }
    }

    /// Whether the connection was closed because nothing was heard.
    pub fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    /// Something was just sent that the peer has to acknowledge, and work waits: silence counts from now as on a
    /// connection of [`Pace::Prompt`].
    pub fn expect_answer(&self) {
        self.expected.notify_one();
    }
}

async fn watch_arrivals(connection: &quinn::Connection, pace: Pace, expected: &Notify, gave_up: &AtomicBool) {
    let heard = || connection.stats().udp_rx.datagrams;
    let mut ear = Ear::new(pace, heard(), Instant::now());
    let gone = |why: &'static [u8]| connection.close(VarInt::from_u32(close::SILENT), why);
    loop {
        let pause = match ear.listen(heard(), Instant::now(), connection.rtt()) {
            Next::Look(pause) => pause,
            Next::Probe => {
                if port_is_closed(connection.remote_address()).await {
                    return gone(b"the peer's port is closed");
                }
                PROBE_PAUSE
            }
            Next::GiveUp => {
                gave_up.store(true, Ordering::Relaxed);
                return gone(b"nothing was heard");
            }
        };
        tokio::select! {
            _ = connection.closed() => return,
            () = tokio::time::sleep(pause) => {}
            () = expected.notified() => ear.expect(heard(), Instant::now()),
        }
    }
}

/// What was heard of a peer, known by looking at a counter of packets now and then.
#[derive(Debug)]
struct Ear {
    pace: Pace,
    heard: u64,
    /// When the counter was first seen as it is: the last packet came before, by one look at most.
    since: Instant,
    /// Since when a packet is due that was asked for.
    expected: Option<Instant>,
}

/// What is to be done about a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing for so long.
    Look(Duration),
    /// It is long enough to ask the peer's kernel.
    Probe,
    /// It is too long.
    GiveUp,
}

impl Ear {
    const fn new(pace: Pace, heard: u64, now: Instant) -> Self {
        Self {
            pace,
            heard,
            since: now,
            expected: None,
        }
    }

    fn hear(&mut self, heard: u64, now: Instant) {
        if heard != self.heard {
            *self = Self::new(self.pace, heard, now);
        }
    }

    /// A packet is due from now on.
    fn expect(&mut self, heard: u64, now: Instant) {
        self.hear(heard, now);
        self.expected.get_or_insert(now);
    }

    /// Looks as seldom as will do. The counter does not say when the last packet came, so a peer that is heard is
    /// looked at twice in the time after which it would be suspected: then a dead one is suspected after one and a
    /// half of these times at the latest.
    fn listen(&mut self, heard: u64, now: Instant, round_trip: Duration) -> Next {
        self.hear(heard, now);
        let silent = |since: Instant, pace: Pace| {
            let suspicious = pace.keep_alive() + round_trip.min(SILENCE / 2) + SUSPICION;
            let hopeless = SILENCE + pace.keep_alive() - Pace::Prompt.keep_alive();
            let silence = now.duration_since(since);
            if silence >= hopeless {
                Next::GiveUp
            } else if silence >= suspicious {
                Next::Probe
            } else {
                Next::Look((suspicious - silence).min(suspicious / 2))
            }
        };
        let regular = silent(self.since, self.pace);
        match (regular, self.expected.map(|since| silent(since, Pace::Prompt))) {
            (next, None) => next,
            (Next::GiveUp, _) | (_, Some(Next::GiveUp)) => Next::GiveUp,
            (Next::Probe, _) | (_, Some(Next::Probe)) => Next::Probe,
            (Next::Look(regular), Some(Next::Look(expected))) => Next::Look(regular.min(expected)),
        }
    }
}

/// Whether the kernel at `address` says that nobody listens there; silence counts as no.
async fn port_is_closed(address: SocketAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let refused = async {
        let socket = tokio::net::UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        // One byte is no QUIC packet: a living endpoint drops it.
        socket.send(&[0]).await?;
        let mut byte = [0];
        socket.recv(&mut byte).await
    };
    matches!(
        tokio::time::timeout(PROBE, refused).await,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Watches a peer whose packets come at `arrivals` (milliseconds) until something but looking is due: when, what,
    /// and after how many looks.
    fn watched(pace: Pace, arrivals: &[u32], round_trip: Duration, until: u32) -> (u32, Next, u32) {
        let start = Instant::now();
        let heard = |now: u32| arrivals.iter().filter(|at| **at <= now).count() as u64;
        let (mut now, mut looks) = (0, 0);
        let mut ear = Ear::new(pace, heard(0), start);
        loop {
            looks += 1;
            match ear.listen(heard(now), start + now * MILLISECOND, round_trip) {
                Next::Look(pause) if now < until => now += u32::try_from(pause.as_millis()).unwrap().max(1),
                next => return (now, next, looks),
            }
        }
    }

    #[test]
    fn a_dead_peer_is_suspected_within_the_second_whenever_its_last_packet_came() {
        for last in 0..2000 {
            for round_trip in [0, 20, 100] {
                let (at, next, _) = watched(Pace::Prompt, &[last], round_trip * MILLISECOND, 5000);
                assert_eq!(next, Next::Probe);
                assert!(at >= last && at - last <= 900 || at <= 900, "{last} {at}");
            }
        }
    }

    #[test]
    fn a_living_peer_is_never_suspected_and_seldom_looked_at() {
        for round_trip in [0, 20, 100, 300] {
            let arrivals: Vec<_> = (0..100_000).step_by(400 + round_trip).collect();
            let (_, next, looks) = watched(
                Pace::Prompt,
                &arrivals,
                u32::try_from(round_trip).unwrap() * MILLISECOND,
                90_000,
            );
            assert!(matches!(next, Next::Look(_)), "{round_trip}");
            assert!(looks <= 90 * 4 + 1, "{looks}");
        }
    }

    #[test]
    fn a_leisurely_peer_is_seldom_looked_at_and_its_death_noticed_before_the_idle_timeout() {
        let arrivals: Vec<_> = (0..100_000).step_by(2020).collect();
        let (_, next, looks) = watched(Pace::Leisurely, &arrivals, 20 * MILLISECOND, 90_000);
        assert!(matches!(next, Next::Look(_)), "{next:?}");
        assert!(looks <= 90 + 1, "{looks}");
        for last in (0..2100).step_by(7) {
            let (at, next, _) = watched(Pace::Leisurely, &[last], 20 * MILLISECOND, 9000);
            assert_eq!(next, Next::Probe);
            assert!(at >= last && at - last <= 3500, "{last} {at}");
        }
    }

    #[test]
    fn an_answer_that_is_awaited_is_missed_as_soon_as_a_prompt_one() {
        let start = Instant::now();
        let at = |milliseconds: u32| start + milliseconds * MILLISECOND;
        let mut ear = Ear::new(Pace::Leisurely, 5, start);
        ear.expect(5, at(1000));
        // Asking again does not put it off.
        ear.expect(5, at(1300));
        assert!(matches!(ear.listen(5, at(1400), MILLISECOND), Next::Look(_)));
        assert_eq!(ear.listen(5, at(1501), MILLISECOND), Next::Probe);
        assert_eq!(ear.listen(5, at(3200), MILLISECOND), Next::GiveUp);
        // What came in between answers it.
        let mut ear = Ear::new(Pace::Leisurely, 5, start);
        ear.expect(5, at(1000));
        assert!(matches!(ear.listen(6, at(1600), MILLISECOND), Next::Look(_)));
        assert!(matches!(ear.listen(6, at(3000), MILLISECOND), Next::Look(_)));
    }

    #[test]
    fn a_long_silence_ends_it() {
        let start = Instant::now();
        let mut ear = Ear::new(Pace::Prompt, 5, start);
        let just = SILENCE - MILLISECOND;
        assert_eq!(ear.listen(5, start + just, MILLISECOND), Next::Probe);
        assert_eq!(ear.listen(5, start + SILENCE, MILLISECOND), Next::GiveUp);
    }
}
