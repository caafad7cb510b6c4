//! The window of RFC 9438, for paths whose queue others keep full: beside a flow that yields to loss alone, one that
//! yields to delay starves.

use std::time::{Duration, Instant};

/// RFC 9438 §4.6: what is kept of the window after a loss.
pub(super) const BETA: f64 = 0.7;
/// RFC 9438 §5: packets per second cubed.
const C: f64 = 0.4;

/// A window that grows with time since its last loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cubic {
    /// Bytes towards which the window returns: those before the last loss.
    most: f64,
    /// Bytes that were left by it.
    least: f64,
    /// When that was.
    since: Instant,
}

impl Cubic {
    /// Begins with `window` bytes as if they were what a loss left.
    pub(super) const fn new(window: f64, now: Instant) -> Self {
        Self {
            most: window / BETA,
            least: window,
            since: now,
        }
    }

    /// Bytes that may be in flight now; `packet` bytes each.
    pub(super) fn window(&self, now: Instant, round_trip: Duration, packet: f64) -> f64 {
        let (most, least) = (self.most / packet, self.least / packet);
        let since = now.saturating_duration_since(self.since).as_secs_f64();
        let turn = ((most - least) / C).cbrt();
        let cubic = C * (since - turn).powi(3) + most;
        // RFC 9438 §4.3: no slower than Reno would grow.
        let reno = least + 3.0 * (1.0 - BETA) / (1.0 + BETA) * since / round_trip.as_secs_f64().max(1e-3);
        cubic.max(reno) * packet
    }

    /// Packets were lost with `window` bytes in flight. Losses of one round trip count once.
    pub(super) fn lost(&mut self, window: f64, now: Instant, round_trip: Duration) {
        if now.saturating_duration_since(self.since) > round_trip {
            // RFC 9438 §4.7: whoever has less than before makes room for others.
            let less = if window < self.most {
                (1.0 + BETA) / 2.0
            } else {
                1.0
            };
            *self = Self {
                most: window * less,
                least: window * BETA,
                since: now,
            };
        }
    }
}
