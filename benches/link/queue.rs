//! What becomes of a packet on a link: sent one after the other at a rate, lost where too many wait, lost by chance,
//! there after a delay. Pure: the time is told.

use std::time::{Duration, Instant};

/// What a link is like, in each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Bits a second.
    pub rate: u64,
    /// From one end to the other, for the last bit of a packet that left.
    pub delay: Duration,
    /// Share of the packets that are lost.
    pub loss: f64,
    /// Bytes that may wait for being sent; a packet beyond is lost.
    pub queue: u64,
}

/// Megabits.
pub const MBIT: u64 = 1_000_000;
/// A queue holds what a link carries in so long.
const QUEUED: Duration = Duration::from_millis(50);

impl Conditions {
    /// A link without loss, of a round trip without a queue, whose queue holds 50 ms.
    pub fn new(rate: u64, round_trip: Duration) -> Self {
        Self {
            rate,
            delay: round_trip / 2,
            loss: 0.0,
            queue: (rate as f64 / 8.0 * QUEUED.as_secs_f64()) as u64,
        }
    }

    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * 8_000_000_000 / self.rate)
    }
}

/// One direction of a link.
#[derive(Debug)]
pub struct Queue {
    /// When the packets accepted so far are sent.
    sent: Instant,
    /// Of the generator `splitmix64`.
    state: u64,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there at that time.
    Arrives(Instant),
    /// It found the queue full.
    Dropped,
    /// By chance.
    Lost,
}

impl Queue {
    pub fn new(now: Instant, seed: u64) -> Self {
        Self {
            sent: now,
            state: seed,
        }
    }

    /// A packet of `bytes` comes at `now`. Packets arrive in the order they came in.
    pub fn accept(&mut self, conditions: &Conditions, bytes: usize, now: Instant) -> Fate {
        let bytes = bytes as u64;
        let begins = self.sent.max(now);
        let waits = begins.duration_since(now);
        if waits + conditions.time_of(bytes) > conditions.time_of(conditions.queue.max(bytes)) {
            return Fate::Dropped;
        }
        self.sent = begins + conditions.time_of(bytes);
        // What is lost on the way took its time all the same.
        if conditions.loss > 0.0 && self.chance() < conditions.loss {
            return Fate::Lost;
        }
        Fate::Arrives(self.sent + conditions.delay)
    }

    /// Evenly spread from 0 to 1.
    fn chance(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
