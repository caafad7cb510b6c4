//! Whether a peer is still there, noticed sooner than by an idle timeout and without mistaking a slow link for a dead peer;
//! and whether its certificate lets it be.
//!
//! A living peer sends or answers keep-alive pings, so packets arrive at least as often as the connection's [`Pace`]
//! says, plus a round trip. Where that is seldom, this module pings by itself while work waits. A killed process leaves a
//! kernel that answers "port unreachable": after a short silence that is believed if it was said of what was sent
//! ([`super::refusal`]), and otherwise asked for by a probe of the peer's UDP port. A machine or link that is gone answers
//! nothing; then a longer silence decides.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use quicc_protocol::close;
use quinn::VarInt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Pace;
use super::certificate;
use super::refusal::Refusals;
use super::tuning::{PING, PING_PAUSE};
use crate::host::task::{self, Task};
use crate::host::timer;

/// Silence, beyond a keep-alive and a round trip, after which the port is probed.
const SUSPICION: Duration = Duration::from_millis(100);
/// Silence, pings included, after which a connection that work waits for is given up: with the handshake bound it keeps
/// a waiting unit under the 3 s promised for a silent network.
const SILENCE: Duration = Duration::from_millis(2200);
/// How long an answer to a ping of ours takes at most beyond a round trip: the peer may be busy.
const ANSWER: Duration = Duration::from_millis(300);
/// How long a probe waits for the kernel's refusal.
const PROBE: Duration = Duration::from_millis(150);

/// Pause between probes of a peer that stays silent.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// A connection being watched.
#[derive(Debug)]
pub struct Watched {
    shared: Arc<Shared>,
    _watch: Task<()>,
}

/// What the watch and those who wait tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// How many wait.
    waiting: AtomicUsize,
    /// The watch sleeps for longer than anybody who waits may be left without an answer.
    is_resting: AtomicBool,
    /// An answer is due.
    is_expected: AtomicBool,
    wake: Notify,
    gave_up: AtomicBool,
}

/// Work that waits for the peer until this is dropped.
#[derive(Debug)]
pub struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Watched {
    /// Watches `connection`, made at `pace`, until the peer is gone, its certificate has expired, or the connection has
    /// ended; closes it in the first two cases. `refusals` say what of that to the peer was refused. Ends when
    /// dropped.
    pub fn new(connection: quinn::Connection, pace: Pace, refusals: Refusals) -> Self {
        let shared = Arc::<Shared>::default();
        let heeded = Arc::clone(&shared);
        let watch = task::spawn("liveness", async move {
            tokio::select! {
                () = certificate::expiry(&connection) => {}
                () = watch_arrivals(&connection, pace, &refusals, &heeded) => {}
            }
        });
        Self {
            shared,
            _watch: watch,
        }
    }

    /// Whether the connection was closed because nothing was heard.
    pub fn gave_up(&self) -> bool {
        self.shared.gave_up.load(Ordering::Relaxed)
    }

    /// Something was just sent that the peer has to acknowledge, and work waits: it has to be heard soon.
    pub fn expect_answer(&self) {
        self.shared.is_expected.store(true, Ordering::SeqCst);
        self.shared.wake.notify_one();
    }

    /// Work begins to wait for the peer, whose end is noticed within the second from now on.
    pub fn wait(&self) -> Waiting {
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        // Either this sees that the watch rests, or the watch that somebody waits.
        if self.shared.is_resting.swap(false, Ordering::SeqCst) {
            self.shared.wake.notify_one();
        }
        Waiting(Arc::clone(&self.shared))
    }
}

impl Shared {
    /// Whether work waits. If not, who begins to wait will wake the watch.
    fn look(&self) -> bool {
        self.is_resting.store(true, Ordering::SeqCst);
        let is_awaited = self.waiting.load(Ordering::SeqCst) > 0;
        if is_awaited {
            self.is_resting.store(false, Ordering::SeqCst);
        }
        is_awaited
    }
}

async fn watch_arrivals(connection: &quinn::Connection, pace: Pace, refusals: &Refusals, shared: &Shared) {
    let heard = || connection.stats().udp_rx.datagrams;
    let refused = || refusals.last(connection.remote_address());
    let mut ear = Ear::new(pace, heard(), Instant::now());
    ear.refused = refused();
    let gone = |why: &'static [u8]| connection.close(VarInt::from_u32(close::SILENT), why);
    loop {
        let is_awaited = shared.look();
        ear.hear(heard(), Instant::now());
        ear.hear_refusals(refused());
        if shared.is_expected.swap(false, Ordering::SeqCst) {
            ear.expect(heard(), Instant::now());
        }
        let pause = match ear.listen(heard(), Instant::now(), connection.rtt(), is_awaited) {
            Next::Look(pause) => pause,
            Next::Ping => {
                // Whoever takes no datagrams is heard as seldom as before.
                let is_sent = connection.send_datagram(PING.into()).is_ok();
                ear.ping(is_sent, heard(), Instant::now())
            }
            Next::Probe => {
                if ear.is_refused() || port_is_closed(connection.remote_address()).await {
                    return gone(b"the peer's port is closed");
                }
                PROBE_PAUSE
            }
            Next::GiveUp => {
                shared.gave_up.store(true, Ordering::Relaxed);
                return gone(b"nothing was heard");
            }
        };
        tokio::select! {
            _ = connection.closed() => return,
            () = timer::sleep(pause) => {}
            () = shared.wake.notified() => {}
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
    /// Since when work has been waiting, as far as it was seen.
    awaited: Option<Instant>,
    /// When the last ping left for it.
    pinged: Option<Instant>,
    /// The number of the last packet to it that was refused, and of the last that was before its answer was awaited.
    refused: u64,
    refused_before: u64,
    /// One was since a packet came, or shortly before.
    is_refused: bool,
    /// Pings without an answer.
    unanswered: u32,
}

/// What is to be done about a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing for so long.
    Look(Duration),
    /// The peer is to be asked for a sign.
    Ping,
    /// It is long enough to ask the peer's kernel.
    Probe,
    /// It is too long.
    GiveUp,
}

impl Next {
    /// What to do where both are.
    fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::GiveUp, _) | (_, Self::GiveUp) => Self::GiveUp,
            (Self::Ping, _) | (_, Self::Ping) => Self::Ping,
            (Self::Probe, _) | (_, Self::Probe) => Self::Probe,
            (Self::Look(one), Self::Look(other)) => Self::Look(one.min(other)),
        }
    }
}

impl Ear {
    const fn new(pace: Pace, heard: u64, now: Instant) -> Self {
        Self {
            pace,
            heard,
            since: now,
            expected: None,
            awaited: None,
            pinged: None,
            refused: 0,
            refused_before: 0,
            is_refused: false,
            unanswered: 0,
        }
    }

    fn hear(&mut self, heard: u64, now: Instant) {
        if heard != self.heard {
            self.heard = heard;
            self.since = now;
            self.expected = None;
            self.is_refused = false;
            self.unanswered = 0;
        }
    }

    /// The number of the last packet that was refused. What came before this look may have left before that, so only a
    /// later packet belies it.
    fn hear_refusals(&mut self, refused: u64) {
        self.is_refused |= refused > self.refused;
        self.refused = self.refused.max(refused);
    }

    /// Whether a silence is the end: the peer's kernel refused a packet after an answer was awaited or, since it says so
    /// few times a second, before that, and two pings were not answered. Any host on the way may have said it.
    fn is_refused(&self) -> bool {
        self.is_refused
            && self.expected.is_some()
            && (self.refused > self.refused_before || self.unanswered >= 2)
    }

    /// A packet is due from now on.
    fn expect(&mut self, heard: u64, now: Instant) {
        self.hear(heard, now);
        if self.expected.is_none() {
            self.expected = Some(now);
            self.refused_before = self.refused;
        }
    }

    /// Looks as seldom as will do. The counter does not say when the last packet came, so a peer that is heard is
    /// looked at twice in the time after which it would be suspected: then a dead one is suspected after one and a
    /// half of these times at the latest. One that is pinged is looked at when the next ping is due, and the answer to the
    /// last one mostly was before. Where it was not it may be lost: then the next ping is answered sooner than what QUIC
    /// sends again, ever more seldom.
    fn listen(&mut self, heard: u64, now: Instant, round_trip: Duration, is_awaited: bool) -> Next {
        self.hear(heard, now);
        self.awaited = is_awaited.then(|| self.awaited.unwrap_or(now));
        let round_trip = round_trip.min(SILENCE / 2);
        let interval = self.pace.interval(is_awaited);
        // What was due seldom, before work waited, is no silence yet.
        let since = self.awaited.map_or(self.since, |awaited| awaited.max(self.since));
        let suspicious = interval + round_trip + SUSPICION;
        let regular = match judge(
            now - since,
            suspicious,
            SILENCE + interval.saturating_sub(PING_PAUSE),
        ) {
            Next::Look(left) => Next::Look(left.min(suspicious / 2)),
            due => due,
        };
        let expected = self
            .expected
            .map(|since| judge(now - since, ANSWER + round_trip, SILENCE - PING_PAUSE));
        let ping = self
            .awaited
            .filter(|_| self.pace.pings())
            .map(|awaited| self.pinged.map_or(awaited, |pinged| awaited.max(pinged)))
            .map(|last| match PING_PAUSE.saturating_sub(now - last) {
                Duration::ZERO => Next::Ping,
                left => Next::Look(left),
            });
        [expected, ping].into_iter().flatten().fold(regular, Next::sooner)
    }

    /// A ping leaves now, or would if it could be sent. Gives the time until the next look, which is at once where an
    /// earlier one was not answered.
    fn ping(&mut self, is_sent: bool, heard: u64, now: Instant) -> Duration {
        self.hear(heard, now);
        let is_late = self.expected.is_some() || !is_sent;
        if is_sent {
            self.expect(heard, now);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        self.pinged = Some(now);
        if is_late { Duration::ZERO } else { PING_PAUSE }
    }
}

/// What a silence of `silence` means.
fn judge(silence: Duration, suspicious: Duration, hopeless: Duration) -> Next {
    if silence >= hopeless {
        Next::GiveUp
    } else if silence >= suspicious {
        Next::Probe
    } else {
        Next::Look(suspicious - silence)
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
        timer::timeout(PROBE, refused).await,
        Some(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Watches a peer whose packets come at `arrivals` (milliseconds), and that answers pings until `death`, until
    /// something but looking and pinging is due: when, what, and after how many looks.
    fn watched(
        (pace, is_awaited): (Pace, bool),
        arrivals: &[u32],
        death: u32,
        round_trip: u32,
        until: u32,
    ) -> (u32, Next, u32) {
        let start = Instant::now();
        let mut arrivals = arrivals.to_vec();
        let (mut now, mut looks) = (0, 0);
        let heard = |arrivals: &[u32], now: u32| arrivals.iter().filter(|at| **at <= now).count() as u64;
        let mut ear = Ear::new(pace, heard(&arrivals, 0), start);
        loop {
            let at = start + now * MILLISECOND;
            let pause = match ear.listen(heard(&arrivals, now), at, round_trip * MILLISECOND, is_awaited) {
                Next::Look(pause) if now < until => pause,
                Next::Ping if now < until => {
                    if now + round_trip / 2 < death {
                        arrivals.push(now + round_trip + 1);
                    }
                    let pause = ear.ping(true, heard(&arrivals, now), at);
                    if pause.is_zero() {
                        continue;
                    }
                    pause
                }
                next => return (now, next, looks),
            };
            now += u32::try_from(pause.as_millis()).unwrap().max(1);
            looks += 1;
        }
    }

    /// Nothing but the answers to pings.
    const SILENT: &[u32] = &[];

    #[test]
    fn a_dead_peer_is_suspected_within_the_second_whenever_its_last_packet_came() {
        for last in 0..2000 {
            for round_trip in [0, 20, 100] {
                for pace in [Pace::Prompt, Pace::OnDemand] {
                    let (at, next, _) = watched((pace, true), &[last], 0, round_trip, 5000);
                    assert_eq!(next, Next::Probe);
                    assert!(
                        at >= last && at - last <= 900 || at <= 900,
                        "{last} {at} {pace:?}"
                    );
                }
            }
        }
        for death in 0..2000 {
            for round_trip in [0, 20, 100] {
                let (at, next, _) = watched((Pace::OnDemand, true), SILENT, death, round_trip, 5000);
                assert_eq!(next, Next::Probe);
                assert!(at >= death && at - death <= 850, "{death} {at}");
            }
        }
    }

    #[test]
    fn a_living_peer_is_never_suspected_and_seldom_looked_at() {
        for round_trip in [0, 20, 100, 300] {
            let arrivals: Vec<_> = (0..100_000).step_by(400 + round_trip).collect();
            let round_trip = u32::try_from(round_trip).unwrap();
            let (_, next, looks) = watched((Pace::Prompt, true), &arrivals, 0, round_trip, 90_000);
            assert!(matches!(next, Next::Look(_)), "{round_trip}");
            assert!(looks <= 90 * 4 + 1, "{looks}");
            let (_, next, looks) = watched((Pace::OnDemand, true), SILENT, 100_000, round_trip, 90_000);
            assert!(
                matches!(next, Next::Look(_) | Next::Ping),
                "{round_trip} {next:?}"
            );
            assert!(looks <= 90 * 5 / 2 + 1, "{looks}");
            // Its pings are what the other side hears.
            let (_, next, looks) = watched((Pace::Heard, true), &arrivals, 0, round_trip, 90_000);
            assert!(matches!(next, Next::Look(_)), "{round_trip} {next:?}");
            assert!(looks <= 90 * 5 / 2 + 1, "{looks}");
        }
        let slow = watched((Pace::OnDemand, true), SILENT, 100_000, 900, 90_000);
        assert!(matches!(slow.1, Next::Look(_) | Next::Ping), "{slow:?}");
    }

    #[test]
    fn a_leisurely_peer_is_seldom_looked_at_and_its_death_noticed_before_the_idle_timeout() {
        let arrivals: Vec<_> = (0..100_000).step_by(2020).collect();
        for pace in [Pace::Leisurely, Pace::OnDemand, Pace::Heard] {
            let (_, next, looks) = watched((pace, false), &arrivals, 0, 20, 90_000);
            assert!(matches!(next, Next::Look(_)), "{next:?}");
            assert!(looks <= 90 + 1, "{looks}");
        }
        for last in (0..2100).step_by(7) {
            for pace in [Pace::Leisurely, Pace::OnDemand] {
                let (at, next, _) = watched((pace, false), &[last], 0, 20, 9000);
                assert_eq!(next, Next::Probe);
                assert!(at >= last && at - last <= 3500, "{last} {at}");
            }
        }
    }

    #[test]
    fn work_that_begins_is_owed_nothing_of_before() {
        let start = Instant::now();
        let at = |milliseconds: u32| start + milliseconds * MILLISECOND;
        for (pace, next) in [
            (Pace::Heard, Next::Look(450 * MILLISECOND)),
            (Pace::OnDemand, Next::Look(PING_PAUSE)),
        ] {
            let mut ear = Ear::new(pace, 5, start);
            assert!(matches!(
                ear.listen(5, at(1900), Duration::ZERO, false),
                Next::Look(_)
            ));
            assert_eq!(ear.listen(5, at(1950), Duration::ZERO, true), next, "{pace:?}");
        }
        let mut ear = Ear::new(Pace::Heard, 5, start);
        ear.listen(5, at(1950), Duration::ZERO, true);
        assert_eq!(ear.listen(5, at(2850), Duration::ZERO, true), Next::Probe);
        assert!(matches!(
            ear.listen(5, at(2900), Duration::ZERO, false),
            Next::Look(_)
        ));
    }

    #[test]
    fn an_answer_that_is_awaited_is_missed_soon() {
        let start = Instant::now();
        let at = |milliseconds: u32| start + milliseconds * MILLISECOND;
        let listen =
            |ear: &mut Ear, heard, milliseconds| ear.listen(heard, at(milliseconds), MILLISECOND, false);
        let mut ear = Ear::new(Pace::Leisurely, 5, start);
        ear.expect(5, at(1000));
        // Asking again does not put it off.
        ear.expect(5, at(1200));
        assert!(matches!(listen(&mut ear, 5, 1300), Next::Look(_)));
        assert_eq!(listen(&mut ear, 5, 1301), Next::Probe);
        assert_eq!(listen(&mut ear, 5, 2800), Next::GiveUp);
        // What came in between answers it.
        let mut ear = Ear::new(Pace::Leisurely, 5, start);
        ear.expect(5, at(1000));
        assert!(matches!(listen(&mut ear, 6, 1600), Next::Look(_)));
        assert!(matches!(listen(&mut ear, 6, 3000), Next::Look(_)));
    }

    #[test]
    fn a_refusal_counts_until_a_packet_comes_and_only_if_an_answer_is_missing() {
        let now = Instant::now();
        let mut ear = Ear::new(Pace::OnDemand, 5, now);
        ear.hear_refusals(0);
        ear.hear_refusals(1);
        assert!(!ear.is_refused(), "nothing is awaited");
        ear.ping(true, 5, now);
        assert!(!ear.is_refused(), "it may be over");
        ear.hear_refusals(2);
        assert!(ear.is_refused());
        ear.hear(6, now);
        ear.hear_refusals(2);
        assert!(!ear.is_refused());
        // One packet came between two looks, and then or before was another refused.
        ear.hear(7, now);
        ear.hear_refusals(3);
        ear.ping(true, 7, now);
        assert!(!ear.is_refused());
        ear.ping(true, 7, now);
        assert!(ear.is_refused());
        // What is forgotten is none.
        let mut ear = Ear::new(Pace::OnDemand, 5, now);
        ear.refused = 9;
        ear.ping(true, 5, now);
        ear.hear_refusals(0);
        assert!(!ear.is_refused());
    }

    #[test]
    fn a_long_silence_ends_it() {
        let start = Instant::now();
        let mut ear = Ear::new(Pace::Prompt, 5, start);
        let just = SILENCE - MILLISECOND;
        assert_eq!(ear.listen(5, start + just, MILLISECOND, false), Next::Probe);
        assert_eq!(ear.listen(5, start + SILENCE, MILLISECOND, false), Next::GiveUp);
        // Pinged 400 ms later, so the bound is the same.
        let mut ear = Ear::new(Pace::OnDemand, 5, start);
        assert_eq!(ear.listen(5, start, MILLISECOND, true), Next::Look(PING_PAUSE));
        assert_eq!(ear.listen(5, start + PING_PAUSE, MILLISECOND, true), Next::Ping);
        ear.ping(true, 5, start + PING_PAUSE);
        // Another leaves meanwhile, and puts off nothing.
        assert_eq!(ear.listen(5, start + just, MILLISECOND, true), Next::Ping);
        ear.ping(true, 5, start + just);
        assert_eq!(ear.listen(5, start + just, MILLISECOND, true), Next::Probe);
        assert_eq!(ear.listen(5, start + SILENCE, MILLISECOND, true), Next::GiveUp);
    }

    /// QUIC sends again, ever more seldom: too late for a link so long that the first time takes a second.
    #[test]
    fn pings_that_are_lost_are_no_end_of_a_peer_that_answers_others() {
        for round_trip in [0, 100, 300, 600, 1000] {
            for lost in 1..=if round_trip > 600 { 1 } else { 2 } {
                let start = Instant::now();
                let mut ear = Ear::new(Pace::OnDemand, 0, start);
                let (mut pings, mut answers) = (0, Vec::new());
                for now in 0..20_000 {
                    let at = start + now * MILLISECOND;
                    let heard = answers.iter().filter(|answer| **answer <= now).count() as u64;
                    match ear.listen(heard, at, round_trip * MILLISECOND, true) {
                        Next::Ping => {
                            ear.ping(true, heard, at);
                            pings += 1;
                            if pings % (lost + 1) == 0 {
                                answers.push(now + round_trip);
                            }
                        }
                        Next::GiveUp => panic!("given up after {now} ms, {lost} lost, {round_trip} ms"),
                        Next::Look(_) | Next::Probe => {}
                    }
                }
            }
        }
    }

    #[test]
    fn whoever_takes_no_pings_is_heard_as_seldom_as_before() {
        let start = Instant::now();
        let mut ear = Ear::new(Pace::OnDemand, 5, start);
        for pings in 1..=5 {
            let now = start + pings * PING_PAUSE;
            ear.listen(5, now - PING_PAUSE, MILLISECOND, true);
            assert_eq!(ear.listen(5, now, MILLISECOND, true), Next::Ping);
            ear.ping(false, 5, now);
            assert!(matches!(ear.listen(5, now, MILLISECOND, true), Next::Look(_)));
        }
        let late = start + 2200 * MILLISECOND;
        assert_eq!(ear.listen(5, late, MILLISECOND, true), Next::Probe);
        assert_eq!(
            ear.listen(5, start + 2 * SILENCE, MILLISECOND, true),
            Next::GiveUp
        );
    }
}
