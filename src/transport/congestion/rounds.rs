//! Acknowledgements gathered into round trips: what a path delivered, lost and how long it took. Decides nothing.

use std::time::{Duration, Instant};

/// What one round trip showed. It begins with an acknowledgement and ends with the first one of a packet sent since, or
/// with the last one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Round {
    /// How long it took: no less than the path takes, if it is full.
    pub(super) duration: Duration,
    /// Bytes acknowledged.
    pub(super) delivered: u64,
    /// Bytes found lost.
    pub(super) lost: u64,
    /// Least time from a packet's departure to its acknowledgement.
    pub(super) least: Duration,
    /// The same in the second half of the round: what packets met that left towards the end of the round before.
    pub(super) latter: Duration,
    /// The window limited what was sent throughout, rather than what there was to send.
    pub(super) is_full: bool,
    /// The network marked packets (RFC 3168).
    pub(super) is_marked: bool,
}

impl Round {
    /// Bytes per second.
    pub(super) fn rate(&self) -> f64 {
        self.delivered as f64 / self.duration.as_secs_f64().max(1e-6)
    }

    /// Share of the bytes sent.
    pub(super) fn loss(&self) -> f64 {
        self.lost as f64 / (self.lost + self.delivered).max(1) as f64
    }
}

/// Acknowledgements that came together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Batch {
    pub(super) bytes: u64,
    /// Least time of its packets.
    pub(super) least: Duration,
    /// The round that ends with it.
    pub(super) ended: Option<Round>,
}

/// The round that runs.
#[derive(Debug, Clone)]
pub(super) struct Rounds {
    began: Instant,
    so_far: Round,
    /// A packet that left in this round was acknowledged: it ends with this batch.
    is_ending: bool,
    /// Nothing is in flight.
    is_idle: bool,
    since_silence: u64,
    /// Bytes of the batch of acknowledgements that is being told, and the least time of its packets.
    batch: (u64, Duration),
}

const EMPTY: Round = Round {
    duration: Duration::ZERO,
    delivered: 0,
    lost: 0,
    least: Duration::MAX,
    latter: Duration::MAX,
    is_full: true,
    is_marked: false,
};

impl Rounds {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            began: now,
            so_far: EMPTY,
            is_ending: false,
            is_idle: true,
            since_silence: 0,
            batch: (0, Duration::MAX),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.began = now;
        self.so_far = EMPTY;
        self.is_ending = false;
    }

    /// Packets leave. After silence that begins a round: the silence is no part of it, nor does it tell a rate, since it
    /// ends with the first packet's acknowledgement. Returns the bytes sent since the silence.
    pub(super) fn sent(&mut self, now: Instant, bytes: u64) -> u64 {
        if std::mem::take(&mut self.is_idle) {
            self.begin(now);
            self.so_far.is_full = false;
            self.since_silence = 0;
        }
        self.since_silence += bytes;
        self.since_silence
    }

    /// A packet that left at `sent` was acknowledged.
    pub(super) fn acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64) {
        let took = now.saturating_duration_since(sent);
        self.batch = (self.batch.0 + bytes, self.batch.1.min(took));
        self.is_ending |= sent >= self.began;
    }

    pub(super) fn lost(&mut self, bytes: u64) {
        self.so_far.lost += bytes;
    }

    pub(super) fn marked(&mut self) {
        self.so_far.is_marked = true;
    }

    /// Whether the window limited what was sent, so far.
    pub(super) const fn is_full(&self) -> bool {
        self.so_far.is_full
    }

    /// The rate of the round so far, once it has lasted for half of `round_trip`.
    pub(super) fn rate_of_half(&self, round_trip: Duration) -> Option<f64> {
        (2 * self.so_far.duration >= round_trip).then(|| self.so_far.rate())
    }

    /// The batch is complete. Half of `window` in flight counts as a full one: a window that doubles is never used up.
    pub(super) fn batch_ends(
        &mut self,
        now: Instant,
        in_flight: u64,
        window: f64,
        is_limited_by_sender: bool,
    ) -> Option<Batch> {
        let (bytes, least) = std::mem::replace(&mut self.batch, (0, Duration::MAX));
        if bytes == 0 {
            return None;
        }
        let round = &mut self.so_far;
        round.duration = now.saturating_duration_since(self.began);
        round.delivered += bytes;
        round.least = round.least.min(least);
        round.is_full &= !is_limited_by_sender && 2.0 * (in_flight + bytes) as f64 > window;
        self.is_idle = in_flight == 0;
        self.is_ending |= self.is_idle;
        if 2 * round.duration >= least || self.is_ending {
            round.latter = round.latter.min(least);
        }
        let ended = self.is_ending.then_some(*round);
        if ended.is_some() {
            self.begin(now);
        }
        Some(Batch { bytes, least, ended })
    }
}
