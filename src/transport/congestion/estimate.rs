//! What a path is seen to carry, and its round trip when nothing queues; how many bytes in flight follow from both.

use std::time::{Duration, Instant};

use super::rounds::Round;

/// Bytes that may be in flight on any path that does not overflow and on which they make no queue that counts: a job of
/// this size goes out at once.
const FLOOR: f64 = 256.0 * 1024.0;
/// Packets that leave in one burst, and are acknowledged together: they queue on any path.
const BURST: f64 = 10.0;
/// Queueing that counts: an eighth of the round trip within these bounds.
const QUEUE_MIN: Duration = Duration::from_millis(2);
const QUEUE_MAX: Duration = Duration::from_micros(2500);
/// Queueing that is aimed at: the pacer's timers are late by so much, and a link that idles meanwhile is lost.
const SLACK: Duration = Duration::from_millis(2);
/// What a queue that overflows leaves of the queueing aimed at and of the floor, and what each other round gives back.
const EASE_KEEPS: f64 = 0.5;
const EASE_RISES: f64 = 1.02;
/// Rounds whose rates are remembered: those of an attempt and of the hold before it.
const RATES: usize = 12;
/// How long a least round trip is believed, while the window is full: as long, and at most twice as long.
/// Others who keep a queue for so long are rarer than a path that becomes longer.
const BASE_FOR: Duration = Duration::from_secs(30);

/// The path's round trip without a queue.
#[derive(Debug, Clone, Copy)]
struct Base {
    /// Least seen in this stretch of time and the one before.
    least: Duration,
    /// Least seen in this stretch, and its beginning.
    lately: Duration,
    since: Instant,
}

/// What is known of a path.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    /// Bytes of a packet.
    pub(super) packet: f64,
    /// Bytes per second of the last full rounds.
    rates: [f64; RATES],
    next_rate: usize,
    base: Option<Base>,
    /// Share of [`SLACK`] and [`FLOOR`] that the path's queue was found to hold.
    ease: f64,
}

impl Estimate {
    pub(super) const fn new(packet: f64) -> Self {
        Self {
            packet,
            rates: [0.0; RATES],
            next_rate: 0,
            base: None,
            ease: 1.0,
        }
    }

    /// Takes in a time from departure to acknowledgement. Gives the round trip without a queue.
    pub(super) fn note_round_trip(&mut self, took: Duration, now: Instant) -> Duration {
        let base = self.base.get_or_insert(Base {
            least: took,
            lately: took,
            since: now,
        });
        base.least = base.least.min(took);
        base.lately = base.lately.min(took);
        base.least
    }

    /// The round trip without a queue.
    pub(super) fn round_trip(&self) -> Duration {
        self.base.map_or(Duration::ZERO, |base| base.least)
    }

    pub(super) fn note_rate(&mut self, rate: f64) {
        self.rates[self.next_rate] = rate;
        self.next_rate = (self.next_rate + 1) % RATES;
    }

    /// Takes in a round. One that its sender did not fill says that the path carries so much at least, and nothing of
    /// its round trip: acknowledgements of little come late.
    pub(super) fn take_in(&mut self, round: &Round, now: Instant) {
        if !round.is_full {
            if round.duration >= round.least && round.rate() > self.rate() {
                self.rates[self.next_rate] = round.rate();
            }
            return;
        }
        self.note_rate(round.rate());
        if let Some(base) = &mut self.base
            && now.saturating_duration_since(base.since) > BASE_FOR
        {
            *base = Base {
                least: base.lately,
                lately: round.least,
                since: now,
            };
        }
    }

    /// The path's queue overflowed in a round, or did not.
    pub(super) fn ease(&mut self, overflowed: bool) {
        self.ease = if overflowed {
            self.ease * EASE_KEEPS
        } else {
            (self.ease * EASE_RISES).min(1.0)
        };
    }

    /// Bytes per second the path carries.
    pub(super) fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// The window that keeps the path full and its queue short.
    pub(super) fn window(&self) -> f64 {
        let slack = (SLACK + self.burst()).mul_f64(self.ease);
        self.rate() * (self.round_trip() + slack).as_secs_f64() + 2.0 * self.packet
    }

    /// How long a burst takes to leave, or to be acknowledged as one; of a slow path's round trip not more than a part.
    fn burst(&self) -> Duration {
        let burst = Duration::from_secs_f64(BURST * self.packet / self.rate().max(1e4));
        burst.min(self.round_trip() / 4)
    }

    /// The queueing that counts.
    pub(super) fn limit(&self) -> Duration {
        (self.round_trip() / 8).clamp(QUEUE_MIN, QUEUE_MAX) + self.burst()
    }

    /// Bytes in flight that are always granted.
    pub(super) fn floor(&self) -> f64 {
        self.ease * FLOOR
    }

    /// `window` or the floor, as far as that makes no queue that counts.
    pub(super) fn at_least(&self, window: f64) -> f64 {
        let unqueued = self.rate() * (self.round_trip() + self.limit() / 2).as_secs_f64();
        window.max(self.floor().min(unqueued))
    }
}
