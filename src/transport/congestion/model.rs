//! How many bytes may be in flight: what the path was seen to carry, times the round trip it has when nothing queues.
//!
//! The window grows while that shows no queue, and goes back to the model when one builds up, when a larger window
//! carries nothing more, or when more is lost than a lossy link loses by itself. Where a queue stays although the window
//! went back, others keep it: then the window is Cubic's until the queue is seen to go.

use std::time::{Duration, Instant};

use super::cubic::Cubic;
use super::rounds::{Round, Rounds};
use crate::transport::path::Remembered;

/// Bytes in flight on a path of which nothing is known: 200 kB leave in an eighth of a round trip.
pub(super) const INITIAL_WINDOW: f64 = 1.25 * 1024.0 * 1024.0;
/// Bytes that may be in flight on any path that does not overflow and on which they make no queue that counts: a job of
/// this size goes out at once.
const FLOOR: f64 = 256.0 * 1024.0;
/// What is added to it per round that loses little, as a share, once it was lowered.
const FLOOR_RISES: f64 = 1.02;
/// Packets that leave in one burst, and are acknowledged together: they queue on any path. As many are in flight after a
/// time in which nothing came through (RFC 9002 §7.2).
const BURST: f64 = 10.0;
/// Bytes in flight on any path: 10 Gbit/s over 200 ms.
const MOST: f64 = 256e6;
/// Bytes up to which the window grows by what small jobs show, who never fill it.
const PROVEN_BY_JOBS: f64 = 4.0 * 1024.0 * 1024.0;
/// Bytes of a round that test the rate they left at, rather than one burst of the pacer.
const TELLING_BYTES: u64 = 64 << 10;
/// Queueing that counts: an eighth of the round trip within these bounds.
const QUEUE_MIN: Duration = Duration::from_millis(2);
const QUEUE_MAX: Duration = Duration::from_millis(5);
/// Queueing that is aimed at: the pacer's timers are late by so much, and a link that idles meanwhile is lost.
const SLACK: Duration = Duration::from_millis(2);
/// Lost share of a round above which it is a queue that overflows: radio and oversubscribed links lose less.
const LOSS_LIMIT: f64 = 0.06;
/// Packets lost in a round below which the share says nothing.
const LOSS_PACKETS: f64 = 8.0;
/// Loss beyond the path's usual that ends an attempt at a larger window.
const LOSS_RISE: f64 = 0.015;
/// Share of the window that is lost before the window is halved at once.
const SHED: f64 = 0.25;
/// Growth of what arrives below which a round's growth of the window was in vain, and how many such rounds end it.
const STARTUP_GAIN: f64 = 1.2;
const STARTUP_ROUNDS: u32 = 3;
/// Rounds at the model's window between two attempts at more.
const HOLD_ROUNDS: u32 = 6;
/// Share of the model's window in the first of them: the queue empties and shows the path's own round trip.
const DRAIN: f64 = 0.9;
/// The first step of an attempt, as a share of the window; each further one is twice as large.
const FIRST_STEP: f64 = 1.0 / 32.0;
/// Rounds of a step: what it does is seen in the second.
const STEP_ROUNDS: u32 = 2;
/// Rounds whose rates are remembered: those of an attempt and of the hold before it.
const RATES: usize = 12;
/// How long a least round trip is believed, while the window is full.
const BASE_FOR: Duration = Duration::from_secs(10);
/// Rounds with a queue after which it is not ours: longer than [`RATES`], so that a link that became slower is none.
const CONTESTED_AFTER: u32 = 16;
/// How often a contested path is looked at with a small window, and for how many rounds.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_ROUNDS: u32 = 3;

/// What is being done.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The window grows by what is acknowledged, until the path is full.
    Startup { best: f64, in_vain: u32 },
    /// The window is the model's.
    Hold { rounds: u32 },
    /// The window grows by steps.
    Probe { step: f64, rounds: u32 },
    /// Others keep the queue full.
    Contested { cubic: Cubic, since: Instant },
    /// They did: do they still?
    Look { cubic: Cubic, rounds: u32 },
}

/// The state of one path.
#[derive(Debug, Clone)]
pub(super) struct Model {
    rounds: Rounds,
    phase: Phase,
    window: f64,
    packet: f64,
    /// Bytes per second of the last full rounds.
    rates: [f64; RATES],
    next_rate: usize,
    /// The path's round trip without a queue, and when it was seen.
    base: Option<(Duration, Instant)>,
    /// Bytes in flight that are always granted, while little is lost.
    floor: f64,
    /// Share lost in rounds at the model's window.
    usual_loss: f64,
    /// Bytes lost since the round began or the window was halved for that.
    shed: f64,
    /// Full rounds in a row that met a queue.
    queued: u32,
    /// What this path carried at another time, until the round trip shows whether it is the same path.
    remembered: Option<Remembered>,
}

impl Model {
    pub(super) fn new(now: Instant, packet: u16, remembered: Option<Remembered>) -> Self {
        Self {
            rounds: Rounds::new(now),
            phase: Phase::Startup {
                best: 0.0,
                in_vain: 0,
            },
            window: INITIAL_WINDOW,
            packet: packet.into(),
            rates: [0.0; RATES],
            next_rate: 0,
            base: None,
            floor: FLOOR,
            usual_loss: 0.0,
            shed: 0.0,
            queued: 0,
            remembered,
        }
    }

    /// Bytes that may be in flight.
    pub(super) fn window(&self) -> u64 {
        self.window.clamp(2.0 * self.packet, MOST) as u64
    }

    pub(super) fn set_packet(&mut self, bytes: u16) {
        self.packet = bytes.into();
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.rounds.sent(now);
    }

    pub(super) fn acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.rounds.acknowledged(now, sent, bytes);
    }

    /// A batch of acknowledgements is complete. What the path is seen to carry, if that changed.
    pub(super) fn batch_ends(
        &mut self,
        now: Instant,
        in_flight: u64,
        is_limited_by_sender: bool,
    ) -> Option<Remembered> {
        let (bytes, took, ended) = self
            .rounds
            .batch_ends(now, in_flight, self.window, is_limited_by_sender);
        let Some(took) = took else { return None };
        let base = self.note_base(took, now);
        let queue = took.saturating_sub(base);
        if let Phase::Startup { .. } = self.phase
            && queue <= self.limit(base)
            && (self.rounds.is_full() || self.window < PROVEN_BY_JOBS)
        {
            self.window += bytes as f64;
        }
        let round = ended?;
        self.shed = 0.0;
        self.round_ends(&round, base, now);
        self.seen(&round, base)
    }

    pub(super) fn lost(&mut self, bytes: u64, is_persistent: bool, now: Instant) {
        self.rounds.lost(bytes);
        if is_persistent {
            *self = Self {
                window: BURST * self.packet,
                ..Self::new(now, self.packet as u16, None)
            };
        } else if let Phase::Contested { cubic, .. } = &mut self.phase {
            let round_trip = self.base.map_or(Duration::ZERO, |base| base.0);
            cubic.lost(self.window, now, round_trip);
        } else {
            self.shed += bytes as f64;
            if self.shed > self.window * SHED {
                self.shed = 0.0;
                self.window *= 0.5;
            }
        }
    }

    pub(super) fn marked(&mut self) {
        self.rounds.marked();
    }

    /// Takes in a time from departure to acknowledgement. The first one tells whether this is the path that is
    /// remembered (careful resume: within a factor of two).
    fn note_base(&mut self, took: Duration, now: Instant) -> Duration {
        let base = match self.base {
            Some((base, _)) if base <= took => base,
            _ => {
                self.base = Some((took, now));
                took
            }
        };
        if let Some(remembered) = self.remembered.take()
            && (remembered.round_trip / 2..=remembered.round_trip * 2).contains(&took)
        {
            self.window = (remembered.rate * base.as_secs_f64()).max(FLOOR / 2.0);
            self.phase = Phase::Hold { rounds: HOLD_ROUNDS };
        }
        base
    }

    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// The window that keeps the path full and its queue short.
    fn modelled(&self, base: Duration) -> f64 {
        self.rate() * (base + SLACK).as_secs_f64() + BURST * self.packet
    }

    fn round_ends(&mut self, round: &Round, base: Duration, now: Instant) {
        if round.is_full {
            self.rates[self.next_rate] = round.rate();
            self.next_rate = (self.next_rate + 1) % RATES;
            if let Some((_, seen)) = self.base
                && now.saturating_duration_since(seen) > BASE_FOR
            {
                self.base = Some((round.least, now));
            }
        } else if round.rate() > self.rate() {
            self.rates[self.next_rate] = round.rate();
        }
        let has_queue = round.latter.saturating_sub(base) > self.limit(base) || round.is_marked;
        let overflows = self.overflows(round);
        self.floor = if overflows {
            self.floor / 2.0
        } else {
            FLOOR.min(self.floor * FLOOR_RISES)
        };
        if !round.is_full {
            self.jobs_end(round, has_queue || overflows);
            return;
        }
        self.queued = if has_queue { self.queued + 1 } else { 0 };
        self.phase = match self.phase {
            Phase::Contested { cubic, since } => self.contend(cubic, since, base, now),
            Phase::Look { cubic, rounds } => self.look(cubic, rounds, has_queue, now),
            _ if self.queued >= CONTESTED_AFTER => Phase::Contested {
                cubic: Cubic::new(self.window, now),
                since: now,
            },
            phase if has_queue || overflows => self.go_back(phase, base),
            Phase::Startup { best, in_vain } => self.start(round, best, in_vain, base),
            Phase::Hold { rounds: 0 } => self.step(FIRST_STEP),
            Phase::Hold { rounds } => {
                self.usual_loss += (round.loss() - self.usual_loss) / 8.0;
                self.window = self.at_least_floor(self.modelled(base), base);
                Phase::Hold { rounds: rounds - 1 }
            }
            Phase::Probe { step, rounds: 0 } => self.step(2.0 * step),
            Phase::Probe { step, rounds } => Phase::Probe {
                step,
                rounds: rounds - 1,
            },
        };
    }

    fn overflows(&self, round: &Round) -> bool {
        let limit = match self.phase {
            Phase::Probe { .. } => LOSS_LIMIT.min(self.usual_loss + LOSS_RISE),
            _ => LOSS_LIMIT,
        };
        round.loss() > limit && round.lost as f64 > LOSS_PACKETS * self.packet
    }

    /// The queueing that counts.
    fn limit(&self, base: Duration) -> Duration {
        let burst = BURST * self.packet / self.rate().max(1e5);
        (base / 8).clamp(QUEUE_MIN, QUEUE_MAX) + Duration::from_secs_f64(burst)
    }

    /// Jobs came and went without filling the window. It is proven by them, or found to be too large for the rate
    /// their bytes leave at.
    fn jobs_end(&mut self, round: &Round, is_too_much: bool) {
        if is_too_much && round.delivered + round.lost > TELLING_BYTES {
            self.window = (self.window * 0.75)
                .max(self.modelled(round.least))
                .max(FLOOR.min(self.window));
        }
    }

    fn start(&mut self, round: &Round, best: f64, in_vain: u32, base: Duration) -> Phase {
        if round.rate() > best * STARTUP_GAIN {
            return Phase::Startup {
                best: round.rate(),
                in_vain: 0,
            };
        }
        if in_vain < STARTUP_ROUNDS {
            return Phase::Startup {
                best,
                in_vain: in_vain + 1,
            };
        }
        self.drain(base)
    }

    fn step(&mut self, step: f64) -> Phase {
        self.window = (self.window * (1.0 + step)).min(MOST);
        Phase::Probe {
            step: step.min(0.5),
            rounds: STEP_ROUNDS - 1,
        }
    }

    /// There is a queue, or more is lost than should be. If it stays although the window went back, less is tried:
    /// others of our kind do the same.
    fn go_back(&mut self, phase: Phase, base: Duration) -> Phase {
        match phase {
            Phase::Hold { rounds } if rounds < HOLD_ROUNDS => {
                self.window = self.at_least_floor(self.window * 0.95, base);
                phase
            }
            _ => self.drain(base),
        }
    }

    fn drain(&mut self, base: Duration) -> Phase {
        self.window = self.at_least_floor(self.modelled(base) * DRAIN, base);
        Phase::Hold { rounds: HOLD_ROUNDS }
    }

    fn at_least_floor(&self, window: f64, base: Duration) -> f64 {
        let queueing = self.rate() * (base + self.limit(base) / 2).as_secs_f64();
        window.max(self.floor.min(queueing)).min(MOST)
    }

    fn contend(&mut self, cubic: Cubic, since: Instant, base: Duration, now: Instant) -> Phase {
        if now.saturating_duration_since(since) > LOOK_EVERY {
            self.window = self.modelled(base) * DRAIN;
            return Phase::Look {
                cubic,
                rounds: LOOK_ROUNDS,
            };
        }
        self.window = cubic
            .window(now, base, self.packet)
            .max(self.modelled(base))
            .min(MOST);
        Phase::Contested { cubic, since }
    }

    fn look(&mut self, cubic: Cubic, rounds: u32, has_queue: bool, now: Instant) -> Phase {
        match rounds {
            _ if !has_queue => {
                self.queued = 0;
                Phase::Hold { rounds: HOLD_ROUNDS }
            }
            0 => Phase::Contested { cubic, since: now },
            _ => Phase::Look {
                cubic,
                rounds: rounds - 1,
            },
        }
    }

    /// What the round says of the path to whoever comes later.
    fn seen(&self, round: &Round, base: Duration) -> Option<Remembered> {
        let proven = if round.is_full {
            self.rate()
        } else {
            self.window / base.as_secs_f64().max(1e-4)
        };
        (round.is_full || round.delivered > TELLING_BYTES).then_some(Remembered {
            rate: proven,
            round_trip: base,
        })
    }
}
