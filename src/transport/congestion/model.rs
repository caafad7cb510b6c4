//! How many bytes may be in flight: what the path was seen to carry, times the round trip it has when nothing queues.
//!
//! The window grows while that shows no queue, and goes back to the model when one builds up, when a larger window
//! carries nothing more, or when more is lost than a lossy link loses by itself. Where a queue stays although the window
//! went back, others keep it: then the window is Cubic's until the queue is seen to go.

use std::time::{Duration, Instant};

use super::cubic::{BETA, Cubic};
use super::estimate::Estimate;
use super::rounds::{Round, Rounds};
use crate::transport::path::Remembered;
use crate::transport::tuning::ACKNOWLEDGED_WITHIN;

/// Bytes in flight on a path of which nothing is known: 200 kB leave in an eighth of a round trip.
pub(super) const INITIAL_WINDOW: f64 = 1.25 * 1024.0 * 1024.0;
/// Packets that may always be in flight: with fewer than a burst every acknowledgement is a late one, and that looks like
/// a queue. As many after a time in which nothing came through (RFC 9002 §7.6.2 has fewer).
const LEAST_PACKETS: f64 = 16.0;
/// Bytes in flight on any path: 10 Gbit/s over 200 ms.
const MOST: f64 = 256e6;
/// Bytes up to which the window grows by what small jobs show, who never fill it.
const PROVEN_BY_JOBS: f64 = 4.0 * 1024.0 * 1024.0;
/// What a burst of jobs may leave at, as a multiple of what the path carries: it makes a short queue at worst.
const BURST_GAIN: f64 = 1.25;
/// What is kept of a window at whose rate a burst of jobs met a queue.
const JOBS_KEEP: f64 = 0.75;
/// Bytes of a round that test the rate they left at, rather than one burst of the pacer.
const TELLING_BYTES: u64 = 64 << 10;
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
/// What is kept of the window per round in which a queue stays, until it is what came through.
const YIELDS: f64 = 0.85;
/// The first step of an attempt, as a share of the window; what each further one is of the one before; the last.
const FIRST_STEP: f64 = 1.0 / 48.0;
const STEP_GROWS: f64 = 2.0;
const LAST_STEP: f64 = 0.5;
/// Rounds of a step: what it does is seen in the second.
const STEP_ROUNDS: u32 = 2;
/// How many more rounds must meet a queue than meet none, for it to be not ours. Our own goes when the window goes back,
/// unless the link became slower: that is known after fewer rounds.
const CONTESTED_AFTER: u32 = 16;
/// What the window gains per round on a contested path until something is lost for the first time.
const CLAIM: f64 = 1.25;
/// How often a contested path is looked at with a small window, for how many rounds, and how many such looks must meet
/// no queue: one may fall into the time after a loss that all flows shared.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_ROUNDS: u32 = 3;
const LOOKS: u32 = 2;

/// What is being done.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The window grows by what is acknowledged, until the path is full.
    Startup { best: f64, in_vain: u32 },
    /// The window is the model's.
    Hold { rounds: u32 },
    /// The window grows by steps.
    Probe { step: f64, rounds: u32 },
    /// Others keep the queue full. The window is claimed first, and Cubic's once something was lost.
    Contested {
        cubic: Option<Cubic>,
        since: Instant,
        free: u32,
    },
    /// They did: do they still?
    Look {
        cubic: Option<Cubic>,
        rounds: u32,
        free: u32,
    },
}

/// The state of one path.
#[derive(Debug, Clone)]
pub(super) struct Model {
    rounds: Rounds,
    phase: Phase,
    window: f64,
    /// Where startup ends growing: a burst of jobs that found a larger window overflowed the path, and the next one that
    /// doubles from here would do so again.
    ceiling: f64,
    path: Estimate,
    /// Share lost in rounds at the model's window.
    usual_loss: f64,
    /// Bytes lost since the round began or the window was halved for that.
    shed: f64,
    /// Full rounds that met a queue, less those that met none.
    queued: u32,
    /// The window of the last one that met none.
    unqueued: f64,
    /// The last round was not full.
    is_bursting: bool,
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
            ceiling: MOST,
            path: Estimate::new(packet.into()),
            usual_loss: 0.0,
            shed: 0.0,
            queued: 0,
            unqueued: INITIAL_WINDOW,
            is_bursting: false,
            remembered,
        }
    }

    /// Bytes that may be in flight.
    pub(super) fn window(&self) -> u64 {
        let gain = if self.is_bursting && !self.is_startup() {
            BURST_GAIN
        } else {
            1.0
        };
        (self.window * gain).clamp(LEAST_PACKETS * self.path.packet, MOST) as u64
    }

    pub(super) fn set_packet(&mut self, bytes: u16) {
        self.path.packet = bytes.into();
    }

    pub(super) fn sent(&mut self, now: Instant, bytes: u64) {
        if 2.0 * self.rounds.sent(now, bytes) as f64 > self.window {
            self.is_bursting = false;
        }
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
        let batch = self
            .rounds
            .batch_ends(now, in_flight, self.window, is_limited_by_sender)?;
        let took = batch.least;
        let base = self.note_base(took, now);
        let queue = took.saturating_sub(base);
        if let Phase::Startup { .. } = self.phase {
            let is_full = self.rounds.is_full();
            if queue <= self.path.limit() {
                if is_full || self.window < PROVEN_BY_JOBS {
                    let more = self.window + batch.bytes as f64;
                    self.window = more.min(self.ceiling).max(self.window);
                }
            } else if is_full
                && queue > 2 * self.path.limit()
                && let Some(rate) = self.rounds.rate_of_half(took)
            {
                // A queue that fills empties at the rate of the path.
                self.path.note_rate(rate);
                self.phase = self.drain();
            }
        }
        let round = batch.ended?;
        self.shed = 0.0;
        self.round_ends(&round, base, now);
        self.seen(&round)
    }

    pub(super) fn lost(&mut self, bytes: u64, is_persistent: bool, now: Instant) {
        self.rounds.lost(bytes);
        if is_persistent {
            *self = Self {
                window: LEAST_PACKETS * self.path.packet,
                ..Self::new(now, self.path.packet as u16, None)
            };
        } else if let Phase::Contested { cubic, .. } = &mut self.phase {
            let round_trip = self.path.round_trip();
            match cubic {
                Some(cubic) => cubic.lost(self.window, now, round_trip),
                None => *cubic = Some(Cubic::new(self.window * BETA, now)),
            }
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
        let base = self.path.note_round_trip(took, now);
        let Some(remembered) = self.remembered.take() else {
            return base;
        };
        if (remembered.round_trip / 2..=remembered.round_trip * 2).contains(&took) {
            let carried = remembered.rate * base.as_secs_f64();
            if remembered.is_full {
                self.window = carried.max(self.path.floor() / 2.0);
                self.phase = Phase::Hold { rounds: HOLD_ROUNDS };
            } else {
                self.window = self.window.max(carried.min(PROVEN_BY_JOBS));
            }
        }
        base
    }

    fn round_ends(&mut self, round: &Round, base: Duration, now: Instant) {
        self.path.take_in(round, now);
        // What follows the last packets of a burst is acknowledged late.
        let late = if round.is_full {
            Duration::ZERO
        } else {
            ACKNOWLEDGED_WITHIN
        };
        let queue = round.latter.saturating_sub(base + late);
        let has_queue = queue > self.path.limit() || round.is_marked;
        let overflows = self.overflows(round);
        // What overflows before the path is known is neither the floor nor the queueing aimed at.
        self.path
            .ease(overflows && round.loss() > LOSS_LIMIT && !self.is_startup());
        self.is_bursting = !round.is_full;
        if self.is_bursting {
            self.jobs_end(round, has_queue, overflows);
            return;
        }
        if has_queue {
            self.queued += 1;
        } else {
            self.queued = self.queued.saturating_sub(1);
            self.unqueued = self.window;
        }
        self.phase = match self.phase {
            Phase::Contested { cubic, since, free } => self.contend(cubic, since, free, now),
            Phase::Look { cubic, rounds, free } => self.look(cubic, rounds, free, has_queue, now),
            _ if self.queued >= CONTESTED_AFTER => {
                self.window = self.unqueued.min(self.path.window()).max(self.window);
                Phase::Contested {
                    cubic: None,
                    since: now,
                    free: 0,
                }
            }
            phase if has_queue || overflows => self.go_back(phase, round),
            Phase::Startup { best, in_vain } => self.start(round, best, in_vain),
            Phase::Hold { rounds: 0 } => self.step(FIRST_STEP),
            Phase::Hold { rounds } => {
                self.usual_loss += (round.loss() - self.usual_loss) / 8.0;
                self.window = self.path.at_least(self.path.window());
                Phase::Hold { rounds: rounds - 1 }
            }
            Phase::Probe { step, rounds: 0 } => self.step((step * STEP_GROWS).min(LAST_STEP)),
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
        round.loss() > limit && round.lost as f64 > LOSS_PACKETS * self.path.packet
    }

    /// Jobs came and went without filling the window. It is proven by them, or found to be too large for the rate
    /// their bytes leave at.
    fn jobs_end(&mut self, round: &Round, has_queue: bool, overflows: bool) {
        let is_telling = round.delivered + round.lost > TELLING_BYTES;
        let known = self.path.window();
        if has_queue || overflows {
            if is_telling {
                let less = (self.window * JOBS_KEEP).max(known);
                self.window = self.path.at_least(less).min(self.window);
                if overflows {
                    self.ceiling = self.window;
                }
            }
            return;
        }
        self.window = self.window.max(known);
        if is_telling && self.window < PROVEN_BY_JOBS && !self.is_startup() {
            self.window *= 1.0 + FIRST_STEP;
        }
    }

    fn start(&mut self, round: &Round, best: f64, in_vain: u32) -> Phase {
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
        self.drain()
    }

    fn step(&mut self, step: f64) -> Phase {
        self.window = (self.window * (1.0 + step)).min(MOST);
        Phase::Probe {
            step,
            rounds: STEP_ROUNDS - 1,
        }
    }

    /// There is a queue, or more is lost than should be. If it stays although the window went back, less is tried:
    /// others of our kind do the same.
    fn go_back(&mut self, phase: Phase, round: &Round) -> Phase {
        match phase {
            Phase::Hold { rounds } if rounds < HOLD_ROUNDS => {
                let carried = round.rate() * self.path.round_trip().as_secs_f64();
                let less = carried.max(self.window * YIELDS).min(self.window);
                self.window = self.path.at_least(less);
                phase
            }
            _ => self.drain(),
        }
    }

    fn drain(&mut self) -> Phase {
        self.window = self.path.at_least(self.path.window() * DRAIN);
        Phase::Hold { rounds: HOLD_ROUNDS }
    }

    fn contend(&mut self, cubic: Option<Cubic>, since: Instant, free: u32, now: Instant) -> Phase {
        if now.saturating_duration_since(since) > LOOK_EVERY {
            self.window = self.path.window() * DRAIN;
            return Phase::Look {
                cubic,
                rounds: LOOK_ROUNDS,
                free,
            };
        }
        let claimed = match &cubic {
            Some(cubic) => cubic.window(now, self.path.round_trip(), self.path.packet),
            None => self.window * CLAIM,
        };
        self.window = claimed.max(self.path.window()).min(MOST);
        Phase::Contested { cubic, since, free }
    }

    /// Whether others still keep a queue, after `free` looks that met none.
    fn look(&mut self, cubic: Option<Cubic>, rounds: u32, free: u32, has_queue: bool, now: Instant) -> Phase {
        let contested = |free| Phase::Contested {
            cubic,
            since: now,
            free,
        };
        match rounds {
            _ if !has_queue && free + 1 >= LOOKS => {
                self.queued = 0;
                Phase::Hold { rounds: HOLD_ROUNDS }
            }
            _ if !has_queue => contested(free + 1),
            0 => contested(0),
            _ => Phase::Look {
                cubic,
                rounds: rounds - 1,
                free,
            },
        }
    }

    /// What the round says of the path to whoever comes later. Jobs say something of a path only while it was never
    /// filled.
    fn seen(&self, round: &Round) -> Option<Remembered> {
        let round_trip = self.path.round_trip();
        let proven = self.window / round_trip.as_secs_f64().max(1e-4);
        let is_new = round.is_full || self.is_startup() && round.delivered > TELLING_BYTES;
        is_new.then_some(Remembered {
            rate: if round.is_full { self.path.rate() } else { proven },
            round_trip,
            is_full: round.is_full,
        })
    }

    const fn is_startup(&self) -> bool {
        matches!(self.phase, Phase::Startup { .. })
    }
}
